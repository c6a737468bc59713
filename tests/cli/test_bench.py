import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.cli import app

SMALL = ["--shape", "2,24,40", "--repeats", 1, "--metadata-size", 0.004, "--doses", "0.5,1", "--threads", "1"]


def test_everything(tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("bench", "codecs", *SMALL, "--threads", 2, "-o", tmp_path / "out")
    assert shown.code == 0
    for text in ("Table 1", "Fig. 2", "Fig. 3", "/ limit", "uint4", "MessagePack", "write 2t"):
        assert text in shown.out
    for name in ("gzip", "pigz", "lbzip2", "xz"):
        assert f"{name} -" in shown.out or f"not installed: {name}" in shown.out
    assert "dose: " in shown.err
    said = json.loads((tmp_path / "out" / "codecs.json").read_text())
    assert said["parameters"]["threads"] == [1, 2]
    assert {row["dose"] for row in said["dose"]} == {0.5, 1.0}
    assert str(tmp_path) not in (tmp_path / "out" / "codecs.json").read_text()


def test_json_is_what_the_file_holds(tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("bench", "codecs", *SMALL, "--only", "dose", "--json", "-o", tmp_path)
    assert json.loads(shown.out) == json.loads((tmp_path / "codecs.json").read_text())


def test_lists_take_commas_and_repetition(mrcz: Any) -> None:
    options = ["--codecs", "zstd:1,LZ4:9:none", "--codecs", "zlib", "--block-sizes", "64K,1m", "--seed", 3]
    shown = mrcz("bench", "codecs", *SMALL, *options, "--only", "dose", "--json")
    asked = json.loads(shown.out)["parameters"]
    assert asked["codecs"] == ["zstd:1", "lz4:9:none", "zlib"]
    assert asked["block_sizes"] == [64 << 10, 1 << 20]
    assert asked["seed"] == 3


def test_a_stack_of_ones_own(tmp_path: Path, mrcz: Any) -> None:
    path = tmp_path / "mine.mrcz"
    mrcz_dask.write(path, np.random.default_rng(0).poisson(1, (2, 24, 40)).astype(np.uint8))
    shown = mrcz("bench", "codecs", "--input", path, "--only", "table1", "--repeats", 1, "--json")
    said = json.loads(shown.out)
    assert said["parameters"]["stack"] == "mine.mrcz"
    assert said["table1"][0]["poisson_limit_bytes"] is None
    assert str(tmp_path) not in shown.out


@pytest.mark.parametrize(
    "wrong",
    [
        ["--shape", "12,13"],
        ["--shape", "a,b,c"],
        ["--doses", "1,x"],
        ["--doses", "-1"],
        ["--threads", "0"],
        ["--codecs", "nonsense"],
        ["--codecs", "none"],
        ["--block-sizes", "64Q"],
        ["--repeats", "0"],
        ["--only", "figure"],
        ["--metadata-size", "-3"],
    ],
)
def test_wrong_usage(tmp_path: Path, mrcz: Any, wrong: list[str]) -> None:
    shown = mrcz("bench", "codecs", *wrong, "-o", tmp_path / "out")
    assert shown.code == 2
    assert wrong[1].split(",")[-1].lstrip("-") in shown.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--doses", "1"], ["--shape", "2,8,8"], ["--table-dose", "1"]])
def test_poisson_options_do_not_go_with_a_stack(tmp_path: Path, mrcz: Any, option: list[str]) -> None:
    shown = mrcz("bench", "codecs", "--input", tmp_path / "a.mrcz", *option)
    assert shown.code == 2
    assert "--input" in shown.err


def test_what_is_measured_has_to_be_said(mrcz: Any) -> None:
    assert mrcz("bench", "disks").code == 2
    assert mrcz("bench").code == 2


def test_its_help_lists_the_options_of_the_benchmark(mrcz: Any) -> None:
    shown = mrcz("bench", "codecs", "--help")
    assert shown.code == 0 and "--table-dose" in shown.out


def test_an_installed_package_says_that_it_needs_the_source_tree(
    mrcz: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "checkout", lambda: None)
    shown = mrcz("bench", "codecs", *SMALL)
    assert shown.code == 2
    assert "pip install -e ." in shown.err


def test_an_earlier_report_is_kept(tmp_path: Path, mrcz: Any) -> None:
    arguments = ["bench", "codecs", *SMALL, "--only", "metadata", "-o", tmp_path]
    assert mrcz(*arguments).code == 0
    shown = mrcz(*arguments)
    assert shown.code == 2
    assert "--overwrite" in shown.err
    assert mrcz(*arguments, "--overwrite").code == 0


def test_a_stack_that_is_not_there(tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("bench", "codecs", "--input", tmp_path / "none.mrcz")
    assert shown.code == 2
    assert "none.mrcz" in shown.err


def test_a_compressor_that_loses_something_fails_the_command(
    tmp_path: Path, mrcz: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xz").write_text(
        '#!/bin/sh\nfor last; do :; done\n[ "$1" = -d ] && exec echo lost\ncat "$last"\n'
    )
    (tmp_path / "xz").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    shown = mrcz("bench", "codecs", *SMALL, "--only", "table1", "-o", tmp_path / "out")
    assert shown.code == 1
    assert "xz -6: decoded to" in shown.err
    assert list((tmp_path / "out").iterdir()) == []


def test_programs_that_are_absent_are_named(
    tmp_path: Path, mrcz: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = mrcz("bench", "codecs", *SMALL, "--only", "table1", "-o", tmp_path / "out")
    assert shown.code == 0
    said = json.loads((tmp_path / "out" / "codecs.json").read_text())
    for name in ("gzip", "pigz", "lbzip2", "xz"):
        assert f"not installed: {name}" in shown.out
        assert {"name": name, "reason": "not installed"} in said["left_out"]

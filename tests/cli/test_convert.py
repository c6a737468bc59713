import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.writers import SUFFIXES
from tests.inputs import as_eer


@pytest.fixture
def stacks(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.mrcz", tmp_path / "b.mrcz"]
    for k, path in enumerate(paths):
        frames = np.random.default_rng(k).poisson(3, (4, 48, 56)).astype(np.uint8)
        frames[:, 9, 9] = 99
        mrcz_dask.write(path, frames)
    return paths


@pytest.mark.parametrize(
    ("command", "suffix"), [("recompress", ".mrcz"), ("decompress", ".mrcs"), ("outliers", ".mrcz")]
)
class TestEach:
    def test_all_done(self, stacks: list[Path], tmp_path: Path, mrcz: Any, command: str, suffix: str) -> None:
        shown = mrcz(command, *stacks, "-o", tmp_path / "out")
        assert shown.code == 0
        assert "a.mrcz" in shown.out and "b.mrcz" in shown.out
        for path in stacks:
            found = mrcz_dask.read(tmp_path / "out" / f"{path.stem}{suffix}")
            same = np.array_equal(found, mrcz_dask.read(path))
            assert same == (command != "outliers")

    def test_json(self, stacks: list[Path], tmp_path: Path, mrcz: Any, command: str, suffix: str) -> None:
        said = json.loads(mrcz(command, *stacks, tmp_path / "no.mrcz", "-o", tmp_path / "out", "--json").out)
        assert [one["name"] for one in said["done"]] == ["a.mrcz", "b.mrcz"]
        assert all(one["bytes_out"] > 0 for one in said["done"])
        assert list(said["failed"]) == [str(tmp_path / "no.mrcz")]

    def test_exit_codes(
        self, stacks: list[Path], tmp_path: Path, mrcz: Any, command: str, suffix: str
    ) -> None:
        (tmp_path / "bad.mrcz").write_bytes(b"bad")
        shown = mrcz(command, tmp_path / "bad.mrcz", *stacks, "-o", tmp_path / "out")
        assert shown.code == 3
        assert "bad.mrcz" in shown.err
        again = mrcz(command, *stacks, "-o", tmp_path / "out")
        assert again.code == 2
        assert "--overwrite" in again.err
        assert mrcz(command, *stacks, "-o", tmp_path / "out", "--overwrite").code == 0
        assert mrcz(command, *stacks).code == 2


@pytest.mark.parametrize("command", ["recompress", "outliers"])
def test_a_codec_that_is_none_is_wrong_usage(
    stacks: list[Path], tmp_path: Path, mrcz: Any, command: str
) -> None:
    shown = mrcz(command, *stacks, "-o", tmp_path / "out", "--codec", "nonsense")
    assert shown.code == 2
    assert "nonsense" in shown.err
    assert not (tmp_path / "out").exists()


def test_outliers_says_what_it_found(stacks: list[Path], tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("outliers", *stacks, "-o", tmp_path / "out")
    assert all(text in shown.out for text in ("hot", "dead", "t dark", "t hot"))


def test_decompress_places_of_provenance(stacks: list[Path], tmp_path: Path, mrcz: Any) -> None:
    for options, count in (([], 2), (["--footer"], 1), (["--no-sidecar"], 1)):
        out = tmp_path / f"out{'-'.join(options)}"
        assert mrcz("decompress", stacks[0], "-o", out, *options).code == 0
        assert len(list(out.iterdir())) == count


@pytest.mark.parametrize("format", list(SUFFIXES))
@pytest.mark.parametrize("command", ["recompress", "outliers"])
def test_formats(stacks: list[Path], tmp_path: Path, mrcz: Any, command: str, format: str) -> None:
    assert mrcz(command, *stacks, "-o", tmp_path / "out", "--format", format).code == 0
    for path in stacks:
        found = mrcz_dask.read(tmp_path / "out" / f"{path.stem}{SUFFIXES[format]}")  # type: ignore[index]
        rows = found[:, ::-1] if format == "tiff" else found
        assert np.array_equal(rows, mrcz_dask.read(path)) == (command == "recompress")


def test_eer_is_summed_as_asked_for(tmp_path: Path, mrcz: Any) -> None:
    counts = np.random.default_rng(0).poisson(3, (2, 16, 32)).astype(np.uint8)
    path = as_eer(tmp_path, "a", counts)
    options = ("--eer-frames", 20, "--eer-upsampling", 2)
    assert mrcz("recompress", path, "-o", tmp_path / "out", *options).code == 0
    found = mrcz_dask.read(tmp_path / "out" / "a.mrcz")
    assert found.shape == (4, 32, 64)
    assert found.sum() == counts.sum()
    step = (mrcz_dask.read_footer(tmp_path / "out" / "a.mrcz") or {})["provenance"][-1]
    assert step["parameters"]["input"]["eer_frames"] == 20
    assert mrcz("recompress", path, "-o", tmp_path / "out", "--eer-frames", 0).code == 2

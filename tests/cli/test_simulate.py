import json
from pathlib import Path
from typing import Any

import pytest

import mrcz_dask


def test_a_session_and_its_truth(tmp_path: Path, mrcz: Any) -> None:
    size = ["--stacks", 2, "--frames", 3, "--shape", "32,48", "--dose", 0.5, "--seed", 4]
    shown = mrcz("simulate", tmp_path / "one", *size)
    assert shown.code == 0
    assert "2 stacks" in shown.out and "truth.zarr" in shown.out
    paths = sorted((tmp_path / "one").glob("*.mrcz"))
    assert [mrcz_dask.read(p).shape for p in paths] == [(3, 32, 48)] * 2
    said = json.loads(mrcz("simulate", tmp_path / "two", *size, "--json").out)
    assert sorted(said["stacks"]) == [p.name for p in paths]
    assert all((tmp_path / "two" / p.name).read_bytes() == p.read_bytes() for p in paths)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--shape", "12"],
        ["--shape", "a,b"],
        ["--stacks", "0"],
        ["--dose", "-1"],
        ["--session", "odd"],
        ["--carbon", "99"],
        ["--new-gain", "99"],
        ["--dose-jump", "30"],
        ["--dose-jump", "a:1.5"],
        ["--coincidence", "-3"],
        ["--codec", "nonsense"],
    ],
)
def test_wrong_usage(tmp_path: Path, mrcz: Any, arguments: list[str]) -> None:
    shown = mrcz("simulate", tmp_path / "out", *arguments)
    assert shown.code == 2
    assert arguments[1].lstrip("-") in shown.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty(tmp_path: Path, mrcz: Any) -> None:
    (tmp_path / "file").write_text("")
    shown = mrcz("simulate", tmp_path)
    assert shown.code == 2
    assert "empty" in shown.err


def test_breaks_coincidence_and_super_resolution_reach_the_truth(tmp_path: Path, mrcz: Any) -> None:
    import zarr

    more = ["--new-gain", 1, "--dose-jump", "1:2.5", "--coincidence", 9, "--super-resolution"]
    shown = mrcz("simulate", tmp_path / "one", "--stacks", 2, "--frames", 3, "--shape", "32,48", *more)
    assert shown.code == 0
    params = zarr.open_group(tmp_path / "one" / "truth.zarr", mode="r").attrs["params"]
    assert isinstance(params, dict)
    assert (params["new_gain"], params["dose_jumps"], params["dose_factors"]) == ([1], [1], [2.5])
    assert params["coincidence"] == 9 and params["super_resolution"]


def test_the_help_names_every_session() -> None:
    from mrcz_dask.cli.simulate import SESSIONS
    from mrcz_dask.numerics import simulate

    assert tuple(simulate.SESSIONS) == SESSIONS

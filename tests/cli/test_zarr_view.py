import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore

import mrcz_dask


def test_it_is_written_once(night: Path, tmp_path: Path, mrcz: Any) -> None:
    out = tmp_path / "view.json"
    shown = mrcz("zarr-view", night, "-o", out)
    assert shown.code == 0
    assert "5 arrays" in shown.out
    assert json.loads(out.read_text())["version"] == 1
    again = mrcz("zarr-view", night, "-o", out)
    assert again.code == 2 and "--overwrite" in again.err
    assert mrcz("zarr-view", night, "-o", out, "--overwrite", "--json").code == 0


def test_stacks_that_cannot_be_in_it_are_named(night: Path, tmp_path: Path, mrcz: Any) -> None:
    shape = mrcz_dask.read(next(night.glob("*.mrcz"))).shape
    mrcz_dask.write(night / "other_2026-01-01_10.10.10.mrcz", np.ones(shape, np.uint8), chunk_version=5)
    shown = mrcz("zarr-view", night, "-o", tmp_path / "view.json")
    assert shown.code == 3
    assert "left out" in shown.err and "version 5" in shown.err


@pytest.mark.parametrize("options", [(), ("--dtype", "float32"), ("--format", "mrcs")])
def test_outputs_of_koma_are_opened_as_they_are(
    night: Path, tmp_path: Path, mrcz: Any, options: tuple[str, ...]
) -> None:
    out, place = tmp_path / "out", tmp_path / "view.json"
    assert mrcz("koma", night, "--radius", 2, "--workers", 0, "-o", out, *options).code == 0
    assert mrcz("zarr-view", out, "-o", place).code == 0
    fs = fsspec.filesystem(
        "reference", fo=str(place), asynchronous=True, remote_options={"asynchronous": True}
    )
    group = zarr.open_group(FsspecStore(fs, read_only=True, path=""), mode="r", zarr_format=2)
    outputs = [*out.glob("*.mrcz"), *out.glob("*.mrcs")]
    assert len(outputs) == 5
    for path in outputs:
        array = group[path.stem]
        pixels = np.asarray(array[...]) * np.float32(array.attrs["scale"])
        assert np.array_equal(pixels, mrcz_dask.read(path))
    assert str(tmp_path) in place.read_text()


def test_a_session_that_has_both_gives_its_stacks(night: Path, tmp_path: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, "--radius", 2, "--workers", 0).code == 0
    shown = mrcz("zarr-view", night, "-o", tmp_path / "view.json", "--recursive", "--json")
    assert len(json.loads(shown.out)["arrays"]) == 5


def test_odd_names_are_reached_and_broken_links_are_named(tmp_path: Path, mrcz: Any) -> None:
    folder, place, frames = tmp_path / "a b", tmp_path / "view.json", np.ones((2, 4, 6), np.int16)
    folder.mkdir()
    names = ["sp ace", "\xfcn\xef", "[red]c", 'q"uote', "100%25"]
    for k, name in enumerate(names):
        mrcz_dask.write(folder / f"{name}.mrcz", frames + np.int16(k))
    (folder / "loop.mrc").symlink_to("loop.mrc")
    shown = mrcz("zarr-view", folder, "-o", place, "--json")
    assert shown.code == 3 and "loop.mrc" in json.loads(shown.out)["left_out"]
    fs = fsspec.filesystem("reference", fo=str(place), asynchronous=True)
    group = zarr.open_group(FsspecStore(fs, read_only=True, path=""), mode="r", zarr_format=2)
    for k, name in enumerate(names):
        assert (np.asarray(group[name][...]) == 1 + k).all()

"""Zarr and xarray read the bytes in the files."""

import gzip
import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
import tifffile
import zarr
from zarr.storage import FsspecStore

import mrcz_dask
from mrcz_dask.convert.zarr_view import view
from mrcz_dask.session.discovery import discover

DTYPES = ["int8", "uint8", "int16", "uint16", "float32", "float16"]


def opened(path: Path) -> zarr.Group:
    """The hierarchy that the references make."""
    fs = fsspec.filesystem(
        "reference", fo=str(path), asynchronous=True, remote_options={"asynchronous": True}
    )
    return zarr.open_group(FsspecStore(fs, read_only=True, path=""), mode="r", zarr_format=2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("codec", ["zstd:1", "lz4:9", "zlib:5", "none"])
def test_the_pixels_are_those_of_the_files(tmp_path: Path, dtype: str, codec: str) -> None:
    frames = np.random.default_rng(1).poisson(3, (4, 32, 24)).astype(dtype)
    mrcz_dask.write(tmp_path / "a.mrcz", frames, codec=codec, pixel_size=1.5)
    made = view(discover(tmp_path).stacks)
    made.write(tmp_path / "view.json")
    array = opened(tmp_path / "view.json")["a"]
    assert isinstance(array, zarr.Array)
    assert array.chunks == (1, 32, 24)
    stored = mrcz_dask.read(tmp_path / "a.mrcz", scaled=False)
    assert np.array_equal(np.asarray(array[...]), stored)
    assert np.array_equal(np.asarray(array[2]), stored[2])
    assert array.attrs["pixel_size"] == 1.5


def test_plain_files_too(tmp_path: Path) -> None:
    frames = np.arange(2 * 6 * 5, dtype=np.int16).reshape(2, 6, 5)
    mrcz_dask.write(tmp_path / "a.mrcs", frames)
    view(discover(tmp_path).stacks).write(tmp_path / "view.json")
    assert np.array_equal(np.asarray(opened(tmp_path / "view.json")["a"][...]), frames)  # type: ignore[index]


def test_what_zarr_cannot_read_is_left_out_with_the_reason(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).poisson(3, (4, 32, 24)).astype(np.uint8)
    mrcz_dask.write(tmp_path / "good.mrcz", frames)
    mrcz_dask.write(tmp_path / "new.mrcz", frames, chunk_version=5)
    mrcz_dask.write(tmp_path / "bits.mrcs", frames % 16, four_bit=True)
    made = view(discover(tmp_path).stacks)
    assert made.arrays == ("good",)
    assert "version 5" in made.left_out["new.mrcz"] and "recompress" in made.left_out["new.mrcz"]
    assert "four bits" in made.left_out["bits.mrcs"]


def test_the_example_session(session_folder: Path) -> None:
    made = view(discover(session_folder).stacks)
    made.write(session_folder / "view.json")
    group = opened(session_folder / "view.json")
    assert len(made.arrays) + len(made.left_out) == 26 and len(made.arrays) >= 20
    for stack in discover(session_folder).stacks:
        if stack.stem in made.arrays:
            array = group[stack.stem]
            assert isinstance(array, zarr.Array)
            assert np.array_equal(np.asarray(array[3]), mrcz_dask.read(stack.path, frames=3))


def test_xarray_opens_it(night: Path) -> None:
    xarray = pytest.importorskip("xarray")
    made = view(discover(night).stacks)
    made.write(night / "view.json")
    store = FsspecStore(
        fsspec.filesystem("reference", fo=str(night / "view.json"), asynchronous=True),
        read_only=True,
        path="",
    )
    dataset = xarray.open_dataset(store, engine="zarr", consolidated=False, zarr_format=2)
    assert set(dataset) == set(made.arrays)
    one = dataset[made.arrays[0]]
    assert one.dims == ("frame", "y", "x")


def test_the_file_is_kerchunks(night: Path) -> None:
    view(discover(night).stacks).write(night / "view.json")
    content = json.loads((night / "view.json").read_text())
    assert content["version"] == 1
    url, start, size = next(ref for key, ref in content["refs"].items() if key.endswith("/0.0.0"))
    assert url.startswith("file:///") and start > 1024 and size > 16


def test_stacks_of_other_formats_are_left_out_with_what_to_do(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).poisson(3, (4, 32, 24)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric="minisblack")
    zarr.save_array(tmp_path / "b.zarr", frames)
    mrcz_dask.write(tmp_path / "c.mrc", frames, codec="none")
    (tmp_path / "c.mrc.gz").write_bytes(gzip.compress((tmp_path / "c.mrc").read_bytes()))
    (tmp_path / "c.mrc").unlink()
    made = view(discover(tmp_path).stacks)
    assert made.arrays == ()
    assert "is TIFF" in made.left_out["a.tif"] and "recompress" in made.left_out["a.tif"]
    assert "compressed as a whole" in made.left_out["c.mrc.gz"]
    assert "is Zarr already" in made.left_out["b.zarr"]

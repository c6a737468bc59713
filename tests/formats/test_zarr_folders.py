"""Arrays that are written file by file: the bytes of Zarr, and damage that is an error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numcodecs import Blosc

from mrcz_dask.formats.zarr_folders import read_array, write_array, write_group
from mrcz_dask.values.errors import DamagedError

ABOUT = {"text": "µ", "values": [1, 2.5, None]}
DTYPES = ["b1", "u1", "i2", "u2", "i4", "u8", "f2", "f4", "f8"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@settings(max_examples=40)
@given(data=st.data())
def test_files_are_those_that_zarr_writes(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    values = data.draw(arrays(st.sampled_from(DTYPES), array_shapes(max_side=6)))
    rows = data.draw(st.integers(1, len(values)))
    cname, shuffle = data.draw(st.sampled_from([("lz4", "bitshuffle"), ("zstd", "shuffle")]))
    folder = tmp_path_factory.mktemp("arrays")
    group = zarr.create_group(folder / "theirs", attributes=ABOUT)
    (folder / "ours").mkdir()
    write_group(folder / "ours", ABOUT)
    array = group.create_array(
        "x",
        shape=values.shape,
        dtype=values.dtype,
        chunks=(rows, *values.shape[1:]),
        compressors=[zarr.codecs.BloscCodec(cname=cname, clevel=1, shuffle=shuffle)],
        fill_value=0,
        config={"write_empty_chunks": True},
        attributes=ABOUT,
    )
    array[...] = values
    number = {"shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}[shuffle]
    write_array(folder / "ours" / "x", values, rows, Blosc(cname, 1, number), ABOUT)
    assert files(folder / "ours") == files(folder / "theirs")
    found, about = read_array(folder / "ours" / "x")
    assert (found.dtype, found.tobytes(), about) == (values.dtype, values.tobytes(), ABOUT)


def test_an_array_without_pixels_comes_back(tmp_path: Path) -> None:
    write_array(tmp_path / "x", np.empty((0, 3), np.float32), 1, Blosc("lz4", 1), {})
    assert read_array(tmp_path / "x")[0].shape == (0, 3)


def changed(name: str, value: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        file = folder / "zarr.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))

    return change


def chunks_of(*shape: Any) -> Callable[[Path], object]:
    return changed("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": shape}})


DAMAGE: dict[str, Callable[[Path], object]] = {
    "metadata gone": lambda folder: (folder / "zarr.json").unlink(),
    "no JSON": lambda folder: (folder / "zarr.json").write_text("{"),
    "chunk gone": lambda folder: (folder / "c/1/0").unlink(),
    "chunk cut off": lambda folder: (folder / "c/1/0").write_bytes((folder / "c/1/0").read_bytes()[:-9]),
    "chunk empty": lambda folder: (folder / "c/0/0").write_bytes(b""),
    "more rows": changed("shape", [1 << 40, 6]),
    "more columns": changed("shape", [5, 1 << 40]),
    "shape no list": changed("shape", 5),
    "wider pixels": changed("data_type", "float64"),
    "objects": changed("data_type", "O"),
    "no rows": chunks_of(0, 6),
    "rows below zero": chunks_of(-3, 6),
    "other chunks": chunks_of(4, 6),
    "text for chunks": chunks_of("a", 6),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_an_error_that_names_the_array(kind: str, tmp_path: Path) -> None:
    write_array(tmp_path / "x", np.arange(30, dtype=np.float32).reshape(5, 6), 3, Blosc("lz4", 1), {})
    DAMAGE[kind](tmp_path / "x")
    with pytest.raises(DamagedError, match=rf"{tmp_path}/x.*; copy it all again"):
        read_array(tmp_path / "x", "copy it all again")


def test_no_folder_above_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_array(tmp_path / "gone" / "x", np.ones((2, 2)), 2, Blosc("lz4", 1), {})
    assert not any(tmp_path.iterdir())

"""Compressed chunks of HDF5: the same pixels as HDF5 reads, and errors where they are damaged."""

import struct
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.values.errors import DamagedError, HeaderError, MrczDaskError
from tests.formats.hostile import NUMBERS, bounded

SHAPE = (3, 97, 131)
COUNTS = np.random.default_rng(1).poisson(2, SHAPE).astype(np.uint16)
FILTERS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip"},
    "shuffled gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf", "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "blosc": dict(hdf5plugin.Blosc(cname="lz4", shuffle=2)),
    "blosc zstd": dict(hdf5plugin.Blosc(cname="zstd", shuffle=1)),
    "lz4": dict(hdf5plugin.LZ4(nbytes=4096)),
    "bitshuffle": dict(hdf5plugin.Bitshuffle(cname="none")),
    "bitshuffle 1024": dict(hdf5plugin.Bitshuffle(cname="none", nelems=1024)),
    "bitshuffle lz4": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    "bitshuffle zstd": dict(hdf5plugin.Bitshuffle(cname="zstd", nelems=1024)),
    "zstd": dict(hdf5plugin.Zstd()),
}
CHUNKS = {"frames": (1, 97, 131), "several": (2, 97, 131), "parts": (1, 40, 50), "blocks": (2, 33, 64)}
UNKNOWN = {
    "blosc2": dict(hdf5plugin.Blosc2()),
    "ZFP": dict(hdf5plugin.Zfp(reversible=True)),
    "szip": {"compression": "szip"},
    "scaleoffset": {"scaleoffset": 0},
}


def stack(path: Path, pixels: Any = COUNTS, **options: Any) -> Path:
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("data", data=pixels, **options)
    return path


def with_chunk(path: Path, chunk: bytes) -> None:
    with h5py.File(path, "r+") as file:
        file["data"].id.write_direct_chunk((0, 0, 0), chunk)


def first_chunk(path: Path) -> bytes:
    with h5py.File(path, "r") as file:
        return bytes(file["data"].id.read_direct_chunk((0, 0, 0))[1])


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("chunks", CHUNKS)
def test_pixels_are_those_of_hdf5(tmp_path: Path, filters: str, chunks: str) -> None:
    path = stack(tmp_path / "a.h5", chunks=CHUNKS[chunks], **FILTERS[filters])
    np.testing.assert_array_equal(read(str(path)), COUNTS)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", ">u2", ">i4", "f4", ">f4", "f2"])
def test_all_types_of_pixels(tmp_path: Path, dtype: str) -> None:
    pixels = COUNTS.astype(dtype)
    for k, filters in enumerate(("shuffled gzip", "bitshuffle lz4", "bitshuffle", "blosc")):
        path = stack(tmp_path / f"{k}.h5", pixels, chunks=(1, 50, 131), **FILTERS[filters])
        np.testing.assert_array_equal(read(str(path)), pixels)


def test_chunks_that_skipped_a_filter(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.h5", chunks=(1, 97, 131), **FILTERS["shuffled gzip"])
    with h5py.File(path, "r+") as file:
        file["data"].id.write_direct_chunk((1, 0, 0), COUNTS[1].tobytes(), 0b111)
    np.testing.assert_array_equal(read(str(path)), COUNTS)


def test_virtual_datasets_of_compressed_parts(tmp_path: Path) -> None:
    """Every second frame from one file, turned into three dimensions from the other, in two halves."""
    stack(tmp_path / "b.h5", COUNTS[::2], chunks=(2, 40, 50), **FILTERS["bitshuffle lz4"])
    stack(tmp_path / "c.h5", COUNTS[1], chunks=(97, 50), **FILTERS["gzip"])
    layout = h5py.VirtualLayout(SHAPE, COUNTS.dtype)
    layout[::2] = h5py.VirtualSource("b.h5", "data", (2, 97, 131))
    for half in (slice(0, 60), slice(60, 131)):
        layout[1, :, half] = h5py.VirtualSource("c.h5", "data", (97, 131))[:, half]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("movie", layout)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        layout = h5py.VirtualLayout((2, 97, 131), COUNTS.dtype)
        layout[...] = h5py.VirtualSource("a.h5", "movie", SHAPE)[1:]
        file.create_virtual_dataset("movie", layout)
    np.testing.assert_array_equal(read(str(tmp_path / "a.h5")), COUNTS)
    np.testing.assert_array_equal(read(str(tmp_path / "d.h5")), COUNTS[1:])


def test_a_master_of_several_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a_master.h5", "w") as file:
        for k, chunks in enumerate(((1, 97, 131), (2, 50, 60))):
            stack(tmp_path / f"{k}.h5", COUNTS + k, chunks=chunks, **FILTERS["bitshuffle lz4"])
            file[f"entry/data/data_{k:06}"] = h5py.ExternalLink(f"{k}.h5", "data")
    np.testing.assert_array_equal(read(str(tmp_path / "a_master.h5")), np.concatenate([COUNTS, COUNTS + 1]))


def test_irregular_virtual_datasets_are_refused(tmp_path: Path) -> None:
    stack(tmp_path / "b.h5", COUNTS[0], chunks=(97, 131), **FILTERS["gzip"])
    layout = h5py.VirtualLayout((2, *SHAPE[1:]), COUNTS.dtype)
    for k in range(2):
        layout[k, [0, 3, 4]] = h5py.VirtualSource("b.h5", "data", SHAPE[1:])[:3]
        layout[k, 1:3] = h5py.VirtualSource("b.h5", "data", SHAPE[1:])[:2]
        layout[k, 5:] = h5py.VirtualSource("b.h5", "data", SHAPE[1:])[5:]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("movie", layout)
    with pytest.raises(HeaderError, match=r"a\.h5: takes irregular blocks from .*; write it as one dataset"):
        open_source(tmp_path / "a.h5")


@pytest.mark.parametrize("filters", ["gzip", "bitshuffle lz4"])
@pytest.mark.parametrize("larger", [(1, 97, 132), (8, 97, 131), (3, 97, 131)])
def test_chunks_that_the_description_makes_larger(
    tmp_path: Path, filters: str, larger: tuple[int, int, int]
) -> None:
    """HDF5 decodes them, and reads on behind what they gave; older descriptions have no checksum."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        file.create_dataset("data", data=COUNTS, chunks=(1, 97, 131), **FILTERS[filters])
    data, sizes = path.read_bytes(), struct.pack("<3I", 1, 97, 131)
    assert data.count(sizes) == 1
    path.write_bytes(data.replace(sizes, struct.pack("<3I", *larger)))
    with pytest.raises(MrczDaskError, match=r"a\.h5"):
        read(str(path))


@pytest.mark.parametrize("filters", UNKNOWN)
def test_filters_that_are_not_read(tmp_path: Path, filters: str) -> None:
    pixels = COUNTS.astype(np.float32) if filters == "ZFP" else COUNTS
    path = stack(tmp_path / "a.h5", pixels, chunks=(1, 97, 131), **UNKNOWN[filters])
    with pytest.raises(HeaderError, match=rf"a\.h5: /data has filter '.*{filters}.*expected gzip.*h5repack"):
        open_source(path)


@pytest.mark.parametrize("filters", FILTERS)
def test_chunks_of_fewer_or_more_pixels(tmp_path: Path, filters: str) -> None:
    """HDF5 reads foreign memory behind those of fewer."""
    path = stack(tmp_path / "a.h5", chunks=(1, 97, 131), **FILTERS[filters])
    for rows in (50, 98):
        part = stack(
            tmp_path / "b.h5", np.ones((1, rows, 131), "u2"), chunks=(1, rows, 131), **FILTERS[filters]
        )
        with_chunk(path, first_chunk(part))
        with pytest.raises(DamagedError, match=r"a\.h5: frame 0"):
            read(str(path))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, 40) | st.integers(0, 30_000), st.sampled_from(NUMBERS), st.sampled_from("BHIQ")
        ),
        min_size=1,
        max_size=3,
    ),
    cut=st.none() | st.integers(1, 3000),
)
@example([(8, 1 << 15, "I")], None)
@example([(12, (1 << 31) - 1, "I")], None)
@example([(0, 1 << 40, "Q")], None)
@example([(12, 1 << 24, "I")], 100)
@pytest.mark.parametrize("filters", FILTERS)
def test_damaged_chunks(
    tmp_path: Path, filters: str, changes: list[tuple[int, int, str]], cut: int | None
) -> None:
    path = tmp_path / "a.h5"
    if not path.exists():
        stack(path, chunks=(1, 97, 131), **FILTERS[filters])
        (tmp_path / "sound").write_bytes(first_chunk(path))
    chunk = bytearray((tmp_path / "sound").read_bytes())
    for place, number, size in changes:
        new = struct.pack(f">{size}", min(number, (1 << 8 * struct.calcsize(size)) - 1))
        place %= len(chunk)
        chunk[place : place + len(new)] = new
    with_chunk(path, bytes(chunk[:cut]))
    try:
        with bounded():
            read(str(path))
    except MrczDaskError as error:
        assert "a.h5" in str(error)

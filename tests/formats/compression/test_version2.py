import struct

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import blosc as blosc1

from mrcz_dask.formats.compression.chunks import ChunkHeader
from mrcz_dask.formats.compression.version2 import block_size, compress, compress5

SHUFFLES = ["none", "byte", "bit"]
NAMES = ["zstd", "lz4", "lz4hc", "zlib", "blosclz"]


def noise(size: int, itemsize: int, dose: float = 1) -> np.ndarray:
    return np.random.default_rng(size).poisson(dose, size).astype(f"u{itemsize}")


def readings(chunk: bytes) -> dict[str, bytes]:
    """Return what each reader of version-2 chunks makes of one."""
    found = {"numcodecs": bytes(blosc1.decompress(chunk)), "blosc2": blosc2.decompress2(chunk)}
    try:
        import blosc
    except ImportError:
        return found
    return {**found, "blosc": blosc.decompress(chunk)}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.integers(1, 9),
    st.sampled_from(SHUFFLES),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 40_000),
    st.sampled_from([64, 4096, 10_000, 1 << 20]),
    st.sampled_from([0.0, 0.001, 1.0, 50.0]),
)
def test_every_reader_gets_what_went_in(
    name: str, level: int, shuffle: str, itemsize: int, size: int, limit: int, dose: float
) -> None:
    items = noise(size, itemsize, dose)
    chunk = compress(items, name, level, shuffle, limit)
    assert ChunkHeader.parse(chunk).version == 2
    assert set(readings(chunk).values()) == {items.tobytes()}


@pytest.mark.parametrize("rest", range(9))
@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("itemsize", [1, 2, 4, 8])
def test_a_tail_of_any_length(rest: int, shuffle: str, itemsize: int) -> None:
    items = noise(30_000 + rest, itemsize, 3)
    for name in ("zstd", "lz4"):
        chunk = compress(items, name, 1, shuffle, 9_000)
        assert set(readings(chunk).values()) == {items.tobytes()}


def test_blocks_of_one_value_and_noise_that_does_not_shrink() -> None:
    random = np.random.default_rng(0).integers(0, 256, 50_003).astype(np.uint8)
    for items in (np.zeros(50_003, "u1"), np.r_[noise(20_000, 1), np.full(30_003, 7, "u1")], random):
        assert set(readings(compress(items, "zstd", 1, "bit", 8_192)).values()) == {items.tobytes()}


@pytest.mark.parametrize(("size", "shuffle"), [(40_000, "bit"), (40_003, "bit"), (40_003, "none")])
def test_streams_are_those_of_blosc2(size: int, shuffle: str) -> None:
    items = noise(size, 1)
    block = block_size(size, 1, 16_384)
    chunk = compress(items, "zstd", 1, shuffle, 16_384)
    (first,) = struct.unpack_from("<i", chunk, 16)
    whole = size // block * block
    theirs = compress5(items[:whole], "zstd", 1, shuffle, block, splitmode=blosc2.SplitMode.NEVER_SPLIT)
    (start,) = struct.unpack_from("<i", theirs, 32)
    length = len(theirs) - start
    assert chunk[first : first + length] == theirs[start:]


def test_blocks_are_of_the_limit_or_leave_hardly_a_tail() -> None:
    assert block_size(4096 * 4092, 2, 1 << 20) == 1 << 20
    assert block_size(3838 * 3710, 1, 1 << 20) * 13 == 3838 * 3710 - 28
    assert (block_size(5, 1, 1 << 20), block_size(800, 4, 1 << 20)) == (0, 3200)


@given(st.integers(8, 10**8), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1 << 16, 1 << 20]))
def test_blocks_are_whole_groups_within_the_limit(items: int, itemsize: int, limit: int) -> None:
    block = block_size(items, itemsize, limit)
    assert 0 < block < 2 * limit and block % (8 * itemsize) == 0
    tail = items * itemsize % block
    assert items % 8 == 0 or tail < (items * itemsize // limit + 1) * 8 * itemsize

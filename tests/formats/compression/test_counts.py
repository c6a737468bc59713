import struct
import threading

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import blosc as blosc1

from mrcz_dask.formats.compression.chunks import ChunkHeader
from mrcz_dask.formats.compression.counts import LEVELS, compress
from mrcz_dask.formats.compression.version2 import compress as plainly

SHUFFLES = ["none", "byte", "bit"]
ZSTD = struct.pack("<I", 0xFD2FB528)


def counts(size: int, itemsize: int, dose: float = 1) -> np.ndarray:
    return np.random.default_rng(size).poisson(dose, size).astype(f"u{itemsize}")


def readings(chunk: bytes) -> set[bytes]:
    """Return what the readers of version-2 chunks make of one."""
    found = {bytes(blosc1.decompress(chunk)), blosc2.decompress2(chunk)}
    try:
        import blosc
    except ImportError:
        return found
    return {*found, blosc.decompress(chunk)}


@settings(max_examples=150, deadline=None)
@given(
    st.integers(*LEVELS),
    st.sampled_from(SHUFFLES),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 40_000),
    st.sampled_from([64, 4096, 10_000, 1 << 20]),
    st.sampled_from([0.0, 0.001, 0.1, 1.0, 50.0]),
)
def test_every_reader_gets_what_went_in(
    level: int, shuffle: str, itemsize: int, size: int, limit: int, dose: float
) -> None:
    items = counts(size, itemsize, dose)
    chunk = compress(items, level, shuffle, limit)
    assert (ChunkHeader.parse(chunk).version, len(readings(chunk))) == (2, 1)
    assert readings(chunk) == {items.tobytes()}


@pytest.mark.parametrize("rest", range(9))
@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("itemsize", [1, 2, 4, 8])
def test_a_tail_of_any_length(rest: int, shuffle: str, itemsize: int) -> None:
    items = counts(30_000 + rest, itemsize, 3)
    assert readings(compress(items, 1, shuffle, 9_000)) == {items.tobytes()}


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_signed_and_random_items_and_blocks_that_do_not_shrink(shuffle: str) -> None:
    rng = np.random.default_rng(0)
    signed = rng.normal(0, 16, 50_003).astype("i2").view("u2")
    random = rng.integers(0, 1 << 16, 50_003).astype("u2")
    for items in (signed, random, np.r_[random[:20_000], counts(30_003, 2)]):
        chunk = compress(items, 1, shuffle, 8_192)
        assert readings(chunk) == {items.tobytes()} and len(chunk) < items.nbytes + 4_000


def test_pixels_that_cannot_be_changed() -> None:
    items = np.frombuffer(bytes(1000), "u2")
    assert readings(compress(items, 1, "bit", 4096)) == {items.tobytes()}


def test_each_used_plane_is_a_frame() -> None:
    items = np.random.default_rng(0).integers(0, 4, 64_000, np.uint8)
    chunk = compress(items, 1, "bit", 1 << 20)
    assert chunk.count(ZSTD) == 3  # two bits, and the empty planes as one


@pytest.mark.parametrize("dose", [0.1, 0.25, 0.5, 1, 2, 4])
def test_counts_are_smaller_than_with_zstd(dose: float) -> None:
    items = counts(1 << 20, 1, dose)
    sizes = [len(compress(items, level, "bit", 1 << 20)) for level in range(1, LEVELS[1] + 1)]
    assert sizes[0] < len(plainly(items, "zstd", 1, "bit", 1 << 20)) and sizes[2] <= 1.001 * sizes[0]


def test_the_same_bytes_in_any_thread() -> None:
    items, found = counts(200_000, 1), []
    threads = [
        threading.Thread(target=lambda: found.append(compress(items, 1, "bit", 65_536))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and set(found) == {compress(items, 1, "bit", 65_536)}

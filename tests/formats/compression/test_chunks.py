import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.formats.compression.chunks import CHUNK_HEADER, ChunkHeader, decompress_into, walk
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.source import ByteSource
from mrcz_dask.values.errors import DamagedError, TruncatedError

FRAME = np.random.default_rng(0).poisson(1, (40, 50)).astype(np.uint16)
CHUNKS = {version: Codec(version=version).compress(FRAME) for version in (2, 5)}
versions = pytest.mark.parametrize("version", [2, 5])


@versions
def test_header_and_content(version: int) -> None:
    header = ChunkHeader.parse(CHUNKS[version])
    assert (header.version, header.typesize, header.nbytes) == (version, 2, FRAME.nbytes)
    assert header.cbytes == len(CHUNKS[version]) and header.codec == "zstd"
    out = np.empty_like(FRAME)
    decompress_into(CHUNKS[version], out)
    np.testing.assert_array_equal(out, FRAME)


def test_what_is_no_chunk_is_refused() -> None:
    with pytest.raises(DamagedError, match="version 0"):
        ChunkHeader.parse(bytes(16))
    with pytest.raises(DamagedError, match="3 bytes"):
        ChunkHeader.parse(bytes(3))


@versions
def test_sizes_are_checked_before_anything_is_decoded(version: int) -> None:
    chunk = bytearray(CHUNKS[version])
    struct.pack_into("<I", chunk, 4, 0xFFFFFFFF)
    with pytest.raises(DamagedError, match="holds 4294967295 bytes, a frame has 4000"):
        decompress_into(bytes(chunk), np.empty_like(FRAME))
    with pytest.raises(DamagedError, match="are there"):
        decompress_into(CHUNKS[version][:-1], np.empty_like(FRAME))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([2, 5]), st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_decodes_to_something_or_is_an_error(version: int, at: int, change: int) -> None:
    chunk = bytearray(CHUNKS[version])
    chunk[at % len(chunk)] ^= change
    guarded = np.full(FRAME.size + 64, 7, np.uint16)
    out = guarded[32:-32].reshape(FRAME.shape)
    with contextlib.suppress(DamagedError):
        decompress_into(bytes(chunk), out)
    assert (guarded[:32] == 7).all() and (guarded[-32:] == 7).all()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([2, 5]), st.binary(max_size=200))
def test_random_bytes_behind_a_good_header(version: int, noise: bytes) -> None:
    head = bytearray(CHUNKS[version][:CHUNK_HEADER])
    struct.pack_into("<I", head, 12, CHUNK_HEADER + len(noise))
    with contextlib.suppress(DamagedError):
        decompress_into(bytes(head) + noise, np.empty_like(FRAME))


def test_walking_reads_headers_alone() -> None:
    file = b"head" + CHUNKS[2] + CHUNKS[5] + CHUNKS[2] + b"tail"
    first, second = len(CHUNKS[2]), len(CHUNKS[5])
    expected = ((4, first), (4 + first, second), (4 + first + second, first))
    assert walk(ByteSource(file), 4, 3, FRAME.nbytes) == expected


def test_walking_says_how_many_frames_are_whole() -> None:
    file = CHUNKS[2] * 3
    for cut in (1, len(CHUNKS[2]) - 20, len(CHUNKS[2]) - 1):
        with pytest.raises(TruncatedError, match="hold 2 whole frames of 3"):
            walk(ByteSource(file[:-cut]), 0, 3, FRAME.nbytes)
    with pytest.raises(DamagedError, match="frame 3 at byte"):
        walk(ByteSource(file + bytes(99)), 0, 4, FRAME.nbytes)
    with pytest.raises(DamagedError, match="frame 0 at byte 0: the chunk holds 4000 bytes, a frame has 10"):
        walk(ByteSource(file), 0, 3, 10)

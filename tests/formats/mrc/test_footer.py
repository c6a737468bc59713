import contextlib
import struct
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.mrc.footer import MAGIC, TRAILER_SIZE, encode, find, unpack
from mrcz_dask.formats.source import ByteSource
from mrcz_dask.values.errors import FooterError

FRAMES = b"frames" * 10
PAYLOAD = {"meta": {"a": 1, "ü": [1.5, None, True, "x"]}, "unknown": {"kept": 2**63}}
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def file_with(payload: dict[str, Any], **options: Any) -> bytes:
    return FRAMES + encode(payload, len(FRAMES), **options)


def sealed(stored: bytes, *fields: int) -> bytes:
    """A file whose checksum is right, whatever is in it: version, encoding, compression, decoded bytes."""
    version, encoding, compression, decoded = fields
    head = struct.pack(
        "<8sHBBIQQQ", MAGIC, version, encoding, compression, 0, len(FRAMES), len(stored), decoded
    )
    return FRAMES + stored + head + struct.pack("<Q", checksum(stored + head))


@given(st.dictionaries(st.text(), values), st.sampled_from(["msgpack", "json"]))
@settings(deadline=None)
def test_there_and_back(payload: dict[str, Any], encoding: str) -> None:
    found = find(ByteSource(file_with(payload, encoding=encoding)))
    assert found is not None and found.payload == payload
    assert (found.version, found.offset) == (1, len(FRAMES))


def test_the_trailer_is_laid_out_as_documented() -> None:
    data = file_with(PAYLOAD)
    trailer = data[-TRAILER_SIZE:]
    payload = msgpack.packb({"meta": {"a": 1, "ü": [1.5, None, True, "x"]}, "unknown": {"kept": 2**63}})
    assert data[len(FRAMES) : -TRAILER_SIZE] == payload
    fields = struct.unpack("<8sHBBIQQQQ", trailer)
    assert fields[:-1] == (b"MRCZFOOT", 1, 0, 0, 0, len(FRAMES), len(payload), len(payload))
    assert fields[-1] == checksum(payload + trailer[:40])


def test_equal_payloads_give_equal_bytes() -> None:
    assert encode({"b": {"y": 1, "x": 2}, "a": 0}, 0) == encode({"a": 0, "b": {"x": 2, "y": 1}}, 0)


def test_large_payloads_are_compressed() -> None:
    payload = {"steps": [{"name": "koma", "at": i % 7} for i in range(5000)]}
    data = file_with(payload)
    assert len(data) < 5000
    found = find(ByteSource(data))
    assert found is not None and found.payload == payload


@pytest.mark.parametrize("data", [b"", b"short", bytes(500), FRAMES * 10])
def test_files_without_any(data: bytes) -> None:
    assert find(ByteSource(data)) is None


def test_every_flipped_bit_is_an_error() -> None:
    data = file_with(PAYLOAD)
    for at in range(len(FRAMES) * 8, len(data) * 8):
        broken = bytearray(data)
        broken[at // 8] ^= 1 << at % 8
        with pytest.raises(FooterError, match="broken footer"):
            find(ByteSource(bytes(broken)))


def test_a_newer_version_is_read_and_reported() -> None:
    found = find(ByteSource(file_with(PAYLOAD, version=7)))
    assert found is not None and found.version == 7 and found.payload == PAYLOAD


@pytest.mark.parametrize(("encoding", "compression"), [(2, 0), (0, 2)])
def test_a_way_of_packing_that_is_not_known_is_said(encoding: int, compression: int) -> None:
    with pytest.raises(FooterError, match="newer than this package; update it"):
        find(ByteSource(sealed(b"\x80", 9, encoding, compression, 1)))


def test_a_small_payload_cannot_ask_for_gigabytes() -> None:
    zeros = np.zeros(64 << 20, np.uint8)
    bomb = Codec(filter="none").compress(zeros)
    tracemalloc.start()
    with pytest.raises(FooterError, match="at most"):
        find(ByteSource(sealed(bomb, 1, 0, 1, zeros.size)))
    with pytest.raises(FooterError, match="at most"):
        find(ByteSource(sealed(b"x" * 1024, 1, 0, 1, 4 << 30)))
    deep = (b"\xdd" + struct.pack(">I", 1 << 20)) * 400
    with pytest.raises(FooterError, match="expected a MessagePack map"):
        find(ByteSource(sealed(deep, 1, 0, 0, len(deep))))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_sizes_that_disagree() -> None:
    chunk = Codec(filter="none").compress(np.frombuffer(b"\x80" * 99, np.uint8))
    with pytest.raises(FooterError, match="decodes to 99 bytes, the trailer says 98"):
        find(ByteSource(sealed(chunk, 1, 0, 1, 98)))
    with pytest.raises(FooterError, match="has 1 bytes, the trailer says 2"):
        find(ByteSource(sealed(b"\x80", 1, 0, 0, 2)))
    with pytest.raises(FooterError, match="no blosc chunk"):
        find(ByteSource(sealed(bytes(32), 1, 0, 1, 99)))


@given(st.binary(max_size=300), st.sampled_from([0, 1]), st.sampled_from([0, 1]), st.integers(0, 2**64 - 1))
@settings(max_examples=300, deadline=None)
def test_random_payloads_under_a_good_seal(
    stored: bytes, encoding: int, compression: int, decoded: int
) -> None:
    for size in (decoded, len(stored)):
        try:
            found = find(ByteSource(sealed(stored, 1, encoding, compression, size)))
        except FooterError:
            continue
        assert found is not None and isinstance(found.payload, dict)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_random_bytes_behind_the_frames(noise: bytes) -> None:
    with contextlib.suppress(FooterError):
        find(ByteSource(FRAMES + MAGIC + noise))
        find(ByteSource(FRAMES + noise))


@pytest.mark.parametrize(
    "raw", [b"\x01", b"\x81\x01\x02", b"\xc1", b"\x80\x80", b"\x81\xa1\xff\x01", b"\x81\xd9", b"\x91" * 5000]
)
def test_what_is_no_map_with_text_keys(raw: bytes) -> None:
    with pytest.raises(FooterError):
        unpack(raw, "msgpack")
    with pytest.raises(FooterError):
        unpack(b"[" * 100000, "json")

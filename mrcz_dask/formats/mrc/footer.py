"""Reads and writes the footer: metadata and checksums behind the last frame of an MRCZ file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgpack
import numpy as np

from mrcz_dask.formats.compression.chunks import CHUNK_HEADER, ChunkHeader, decompress_into
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.metadata import COPY_AGAIN, parse_json, parse_msgpack
from mrcz_dask.formats.provenance import canonical
from mrcz_dask.formats.sidecar import VERSION
from mrcz_dask.formats.source import ByteSource
from mrcz_dask.values.errors import DamagedError, FooterError

MAGIC = b"MRCZFOOT"
TRAILER_SIZE = 48
Encoding = Literal["msgpack", "json"]
_ENCODINGS: dict[Encoding, int] = {"msgpack": 0, "json": 1}
_PLAIN, _BLOSC = 0, 1
_FIELDS = struct.Struct("<8sHBBIQQQ")
_SMALLEST_COMPRESSED = 1024
# a reader allocates at most so much for so few bytes
_MAX_RATIO = 256
MAX_DECODED = 1 << 28


@dataclass(frozen=True, slots=True)
class Footer:
    """Record of a footer read from a file: its content (payload), version and place.

    Attributes
    ----------
    payload
        Content of the footer, unknown keys included.
    version
        Version of the footer; a newer one than `VERSION` is read as far as it is understood.
    offset, nbytes
        Where the payload begins, and its bytes as stored (the trailer follows).
    """

    payload: dict[str, Any]
    version: int
    offset: int
    nbytes: int


def encode(
    payload: dict[str, Any], offset: int, *, encoding: Encoding = "msgpack", version: int = VERSION
) -> bytes:
    """Return the bytes of a footer: its content (payload) and the 48-byte trailer by which it is found.

    Equal payloads give equal bytes: keys are sorted.
    """
    raw = canonical(payload) if encoding == "json" else cast(bytes, msgpack.packb(_sorted(payload)))
    stored, compression = raw, _PLAIN
    if len(raw) >= _SMALLEST_COMPRESSED:
        packed = Codec(filter="none").compress(np.frombuffer(raw, np.uint8))
        if len(packed) < len(raw) <= _MAX_RATIO * len(packed):
            stored, compression = packed, _BLOSC
    head = _FIELDS.pack(MAGIC, version, _ENCODINGS[encoding], compression, 0, offset, len(stored), len(raw))
    return stored + head + struct.pack("<Q", checksum(stored + head))


def find(source: ByteSource) -> Footer | None:
    """Read the footer at the end of a file; None if there is none.

    Raises
    ------
    FooterError
        There is one that cannot be trusted or understood.
    """
    try:
        return _decode(source) if source.size >= TRAILER_SIZE else None
    except (FooterError, DamagedError) as error:
        raise FooterError(f"{source.name}: broken footer: {error}") from error


def unpack(raw: bytes | memoryview, encoding: Encoding) -> dict[str, Any]:
    """Decode a footer's content from MessagePack or JSON; only plain values can result.

    Raises
    ------
    FooterError
        It is not such a payload.
    """
    if encoding == "json":
        return parse_json(bytes(raw), "the payload", COPY_AGAIN, FooterError)
    return parse_msgpack(raw, "the payload", COPY_AGAIN, FooterError)


def _decode(source: ByteSource) -> Footer | None:
    trailer = bytes(source.read_at(source.size - TRAILER_SIZE, TRAILER_SIZE))
    magic, version, encoding, compression, _, offset, nbytes, decoded = _FIELDS.unpack_from(trailer)
    same = sum(a == b for a, b in zip(magic, MAGIC, strict=True))
    if same < len(MAGIC) - 2:
        return None
    if magic != MAGIC:
        raise FooterError(f"it is marked {magic!r}, expected {MAGIC!r}")
    if offset + nbytes + TRAILER_SIZE != source.size:
        raise FooterError(f"payload at {offset} of {nbytes} bytes does not end at the trailer")
    stored = source.read_at(offset, nbytes)
    if checksum(bytes(stored) + trailer[:40]) != struct.unpack_from("<Q", trailer, 40)[0]:
        raise FooterError("its checksum does not match")
    names = {number: name for name, number in _ENCODINGS.items()}
    if encoding not in names or compression not in (_PLAIN, _BLOSC):
        raise FooterError(
            f"version {version} with encoding {encoding} and compression {compression} is newer than "
            "this package; update it"
        )
    raw = stored
    if compression == _BLOSC:
        limit = min(MAX_DECODED, _MAX_RATIO * len(stored))
        if not 0 < decoded <= limit or len(stored) < CHUNK_HEADER:
            raise FooterError(f"{len(stored)} bytes ask for {decoded}; at most {limit} are decoded")
        chunk = ChunkHeader.parse(stored)
        if chunk.nbytes != decoded:
            raise FooterError(f"the payload decodes to {chunk.nbytes} bytes, the trailer says {decoded}")
        unpacked = np.empty(decoded, np.uint8)
        decompress_into(stored, unpacked)
        raw = unpacked.data
    if len(raw) != decoded:
        raise FooterError(f"the payload has {len(raw)} bytes, the trailer says {decoded}")
    return Footer(unpack(raw, names[encoding]), version, offset, nbytes)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value

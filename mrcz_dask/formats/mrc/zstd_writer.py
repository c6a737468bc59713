"""Writes .mrcs.zst files: plain MRC compressed by zstd, each frame by itself, with a sidecar.

Whoever unpacks it gets a plain .mrcs. The header's statistics are known last, so that room is kept for it:
its zstd frame, and a skippable one that fills the room.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import xxhash
import zstandard
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.compression.codecs import AIMS
from mrcz_dask.formats.mrc.body import Body, Encoded, encode
from mrcz_dask.formats.mrc.header import HEADER_SIZE
from mrcz_dask.formats.mrc.layout import FrameIndex
from mrcz_dask.formats.mrc.writer import StackWriter
from mrcz_dask.formats.stats import FrameStats
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.timing import phase

ROOM = 2048
_SKIPPABLE = struct.Struct("<II")
_MAGIC = 0x184D2A50
_LEVEL, _LARGEST_LEVEL = 1, 19


class ZstdWriter(StackWriter):
    """Writes a stack to an .mrcs.zst file with a sidecar; uint8 becomes uint16, to hold counts beyond 127.

    Parameters
    ----------
    target
        A path.
    shape, dtype
        (n, ny, nx), of any dtype that MRC holds.
    codec
        ``auto`` or ``zstd[:LEVEL]`` (1 to 19).
    **about
        As `StackWriter` takes it; an extended header is kept in the sidecar.

    Raises
    ------
    DtypeError
        MRC cannot hold such pixels; names the type to cast to.
    ParameterError
        Another codec.
    SpaceError
        The folder cannot take the file.
    """

    def __init__(
        self, target: Path, shape: tuple[int, ...], dtype: DTypeLike, *, codec: str = "auto", **about: Any
    ) -> None:
        self._level = parse_level(codec)
        super().__init__(target, shape, dtype, codec="none", kind="mrcs", footer="sidecar", **about)
        if self._stored.may_overflow:
            self._stored = self._stored.widened
        self._hash = xxhash.xxh3_128()

    def _new_body(self) -> Body:
        return Body(self._target, durable=self._durable, base=ROOM)

    def _take(self, frame: NDArray[Any], stats: FrameStats | None) -> None:
        self._pipeline.submit(partial(self._pack, frame, stats))

    def _pack(self, frame: NDArray[Any], stats: FrameStats | None) -> Encoded:
        plain = encode(frame, self._stored, None, stats)
        with phase("encode"):
            return replace(plain, raw=self._compress(plain.raw))

    def _store(self, encoded: Encoded) -> None:
        with phase("sum"):
            self._hash.update(encoded.raw)
        super()._store(encoded)

    def _compress(self, data: bytes | memoryview) -> bytes:
        """Return a zstd frame that says its size and has a checksum."""
        zstd = zstandard.ZstdCompressor(level=self._level, write_checksum=True, write_content_size=True)
        return zstd.compress(data)

    def _finish(self) -> None:
        header = self._header()
        header_bytes = header.to_bytes()
        packed = self._compress(header_bytes)
        filling = ROOM - len(packed) - _SKIPPABLE.size
        beginning = packed + _SKIPPABLE.pack(_MAGIC, filling) + bytes(filling)
        self._body.write(beginning, at=0)
        self._hash.update(beginning)
        n, nbytes, index = self.shape[0], self._stored.nbytes, self._body.index
        unpacked = FrameIndex(
            tuple(HEADER_SIZE + k * nbytes for k in range(n)), (nbytes,) * n, index.checksums
        )
        payload = self._stack_payload(header, header_bytes, unpacked)
        places = {"offset": list(index.offsets), "nbytes": list(index.nbytes)}
        whole = {"bytes": index.end, "begin": ROOM, "digest": self._hash.hexdigest()}
        self._commit(payload | {"packed": places, "file": whole})


def parse_level(codec: str) -> int:
    """Read the zstd level from the text of a codec, such as ``zstd:3``.

    Raises
    ------
    ParameterError
        Another codec, or no such level.
    """
    name, _, level = ("zstd" if codec in AIMS else codec).partition(":")
    if name != "zstd" or (level and not (level.isdecimal() and 1 <= int(level) <= _LARGEST_LEVEL)):
        expected = f"auto or zstd[:LEVEL] with a level of 1 to {_LARGEST_LEVEL}"
        raise ParameterError(f"codec is {codec!r} for .mrcs.zst; expected {expected}")
    return int(level or _LEVEL)

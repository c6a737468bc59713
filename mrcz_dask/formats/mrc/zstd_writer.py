"""Plain MRC within zstd: the header, then each frame, as zstd frames of their own; with a sidecar.

Whoever unpacks it gets a plain .mrcs. The header's statistics are known last, so that room is kept for it:
its zstd frame, and a skippable one that fills the room.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.formats.compression.codecs import AIMS
from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.mrc.body import Body
from mrcz_dask.formats.mrc.encode import Encoded, Stored, encode
from mrcz_dask.formats.mrc.header import HEADER_SIZE, Header
from mrcz_dask.formats.mrc.index import FrameIndex
from mrcz_dask.formats.mrc.options import PixelSize, pixel_size_of
from mrcz_dask.formats.parallel import Pipeline
from mrcz_dask.formats.payload import WRITER, build
from mrcz_dask.formats.sidecar import sidecar
from mrcz_dask.formats.stats import FrameStats
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.timing import phase

ROOM = 2048
_SKIPPABLE = struct.Struct("<II")
_MAGIC = 0x184D2A50
_LEVEL, _LARGEST_LEVEL = 1, 19


class ZstdWriter(FrameWriter):
    """An .mrcs.zst file on its way.

    Parameters
    ----------
    target
        A path.
    shape, dtype
        (n, ny, nx), of any dtype that MRC holds; uint8 becomes uint16, as counts beyond 127 may come.
    codec
        ``auto`` or ``zstd[:LEVEL]`` (1 to 19).
    pixel_size
        In Angstrom: a number, (x, y) or (x, y, z).
    extended, extended_type
        An extended header, which is kept in the sidecar.
    durable
        Wait until the file is on the disk.
    nthreads
        Threads that compress frames.
    **about
        As `FrameWriter` takes it.

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
        self,
        target: Path,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        *,
        codec: str = "auto",
        pixel_size: PixelSize = None,
        extended: bytes = b"",
        extended_type: str = "",
        durable: bool = True,
        nthreads: int = 1,
        **about: Any,
    ) -> None:
        super().__init__(shape, dtype, **about)
        plain = Stored.of(self.dtype, self.shape[1:])
        self._stored = plain.widened if self.dtype == np.uint8 else plain
        self._level, self._pixel_size = parse_level(codec), pixel_size_of(pixel_size)
        self._carried = (extended_type, extended)
        self._path, self._durable = Path(target), durable
        self._sums: list[int] = []
        self._body = Body(target, durable=durable, base=ROOM)
        self._pipeline = Pipeline[tuple[int, Encoded]](nthreads, self._keep)
        self._shared_buffers = nthreads > 1

    def _take(self, frame: NDArray[Any], *, owned: bool, stats: FrameStats | None) -> None:
        if self._shared_buffers and not owned:
            frame = frame.copy()
        self._pipeline.submit(partial(self._packed, frame, stats))

    def _packed(self, frame: NDArray[Any], stats: FrameStats | None) -> tuple[int, Encoded]:
        plain = encode(frame, self._stored, None, stats)
        with phase("encode"):
            return plain.checksum, replace(plain, raw=_compress(plain.raw, self._level))

    def _keep(self, found: tuple[int, Encoded]) -> None:
        self._sums.append(found[0])
        self._body.append(found[1])

    def _drain(self) -> None:
        self._pipeline.drain()

    def _finish(self) -> None:
        header = Header(
            shape=self.shape,
            mode=self._stored.mode,
            pixel_size=self._pixel_size,
            stats=self._body.statistics,
            mz=1,
            labels=(WRITER,),
        )
        header = header.carry(self._mrc_header) if self._mrc_header else header
        raw = header.to_bytes()
        self._body.write(_in_room(_compress(raw, self._level)), at=0)
        with sidecar(self._path, self._payload(header, raw), durable=self._durable):
            self._body.commit()

    def _payload(self, header: Header, raw: bytes) -> dict[str, Any]:
        n, nbytes = self.shape[0], self._stored.nbytes
        starts = tuple(HEADER_SIZE + k * nbytes for k in range(n))
        pixels = {**self.pixels, "dtype": self.restored.newbyteorder("<").str}
        if self._pixel_size is not None:
            pixels["pixel_size"] = self._pixel_size
        payload = build(
            header,
            raw,
            FrameIndex(starts, (nbytes,) * n, tuple(self._sums)),
            pixels=pixels,
            meta=self.meta,
            provenance=self.provenance,
            recipe=self.recipe,
            codec=None,
            extended=self._carried,
            mrc_header=self._mrc_header,
        )
        found = self._body.index
        return payload | {"packed": {"offset": list(found.offsets), "nbytes": list(found.nbytes)}}

    def _discard(self) -> None:
        self._pipeline.close()
        self._body.discard()


def parse_level(codec: str) -> int:
    """Return the level of zstd.

    Raises
    ------
    ParameterError
        Another codec, or no such level.
    """
    name, _, level = codec.partition(":")
    if codec in ("zstd", *AIMS):
        return _LEVEL
    if name == "zstd" and level.isdecimal() and 1 <= int(level) <= _LARGEST_LEVEL:
        return int(level)
    raise ParameterError(
        f"codec is {codec!r} for .mrcs.zst; expected auto or zstd[:LEVEL] with a level of 1 to "
        f"{_LARGEST_LEVEL}"
    )


def _compress(data: bytes | memoryview, level: int) -> bytes:
    """Return a zstd frame that says its size and has a checksum."""
    return zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True).compress(data)


def _in_room(head: bytes) -> bytes:
    filling = ROOM - len(head) - _SKIPPABLE.size
    return head + _SKIPPABLE.pack(_MAGIC, filling) + bytes(filling)

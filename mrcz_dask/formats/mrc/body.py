"""Encodes frames for an MRC file and writes them one after the other, with checksums and statistics."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.atomic import Target, explain, open_sink, start_writeback, target_path
from mrcz_dask.formats.compression.chunks import ChunkHeader, check_size, decompress_into
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.mrc.header import Statistics
from mrcz_dask.formats.mrc.layout import FrameIndex
from mrcz_dask.formats.mrc.modes import FOUR_BIT, PIXELS_OF_MODE, pack, packed_row, pixel_mode
from mrcz_dask.formats.stats import FrameStats, combine, frame_stats
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.timing import phase

INT8_MAX = 127
_INT8, _UINT16 = 0, 6


@dataclass(frozen=True, slots=True)
class Stored:
    """Record of how pixels of a dtype are stored in an MRC file: MODE,
    and uint8 as int8 or widened to uint16.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, int]
    mode: int

    @classmethod
    def of(cls, dtype: np.dtype[Any], shape: tuple[int, int], *, four_bit: bool = False) -> Stored:
        """Return how frames (ny, nx) of a dtype are stored, as long as no count needs more room.

        Raises
        ------
        DtypeError
            MRC cannot hold them.
        """
        if four_bit:
            return cls(np.dtype(np.uint8), shape, FOUR_BIT)
        native = dtype.newbyteorder("=")
        return cls(native, shape, _INT8 if native == np.uint8 else pixel_mode(native))

    @property
    def widened(self) -> Stored:
        """Return the same with uint16 pixels, for counts beyond 127, which int8 cannot hold."""
        return replace(self, mode=_UINT16)

    @property
    def file_dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels in the file, little-endian."""
        return np.dtype("<" + PIXELS_OF_MODE[self.mode])

    @property
    def file_shape(self) -> tuple[int, int]:
        """Shape of a frame in the file: rows, and items in a row (4-bit pixels are two to an item)."""
        ny, nx = self.shape
        return ny, packed_row(nx) if self.mode == FOUR_BIT else nx

    @property
    def nbytes(self) -> int:
        """Bytes of one frame in the file before compression."""
        rows, items = self.file_shape
        return rows * items * self.file_dtype.itemsize

    @property
    def may_overflow(self) -> bool:
        """True if uint8 counts are stored as int8, which holds counts up to 127 only."""
        return self.dtype == np.uint8 and self.mode == _INT8

    def items(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Return a frame's pixels in the form in which they are stored, C-contiguous and little-endian."""
        if self.mode == FOUR_BIT:
            return pack(frame)
        if self.mode == _INT8 and frame.dtype == np.uint8:
            frame = frame.view(np.int8)
        return np.ascontiguousarray(frame, self.file_dtype)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Record of a frame ready to be written: its bytes, their checksum, and the statistics of its pixels."""

    raw: bytes | memoryview
    checksum: int
    stats: FrameStats | None
    stored: Stored


def encode(
    frame: NDArray[Any], stored: Stored, codec: Codec | None, stats: FrameStats | None = None
) -> Encoded:
    """Encode a frame (ny, nx) for an MRC file: compress it, and compute checksum and statistics."""
    with phase("encode", stored.nbytes):
        items = stored.items(frame)
        raw = items.reshape(-1).view(np.uint8).data if codec is None else codec.compress(items)
        sum_of_bytes = checksum(raw)
    with phase("sum"):
        return Encoded(raw, sum_of_bytes, stats or frame_stats(frame), stored)


def encode_copy(
    raw: bytes | memoryview,
    stored: Stored,
    version: int,
    stats: FrameStats | None,
    frame: NDArray[Any] | None,
) -> Encoded:
    """Encode a frame from its compressed chunk in another file, which is copied unchanged.

    Raises
    ------
    DamagedError
        It is no chunk of such a frame, or of another version.
    """
    chunk = ChunkHeader.parse(raw)
    check_size(chunk, stored.nbytes)
    if chunk.version != version:
        raise DamagedError(
            f"the chunk has version {chunk.version}, this file {version}; decode and append it"
        )
    if stats is None:
        stats = frame_stats(decode(raw, stored) if frame is None else frame)
    return Encoded(raw, checksum(raw), stats, stored)


def decode(raw: bytes | memoryview, stored: Stored, *, compressed: bool = True) -> NDArray[Any]:
    """Return the pixels of a frame from its stored bytes in an MRC file; not for 4-bit pixels."""
    if compressed:
        items = np.empty(stored.file_shape, stored.file_dtype)
        decompress_into(raw, items)
    else:
        items = np.frombuffer(raw, stored.file_dtype).reshape(stored.file_shape)
    return items.astype(stored.dtype, copy=False)


class Body:
    """Writes the encoded frames of a new file one after the other, and leaves `base` bytes for the headers.

    Parameters
    ----------
    target
        Where the file goes.
    durable
        Whether it must be on the disk when it gets its name.
    base
        Where the first frame begins.
    """

    def __init__(self, target: Target, *, durable: bool, base: int) -> None:
        self._target, self._durable, self.base = target, durable, base
        self._path = target_path(target)
        self._sink = open_sink(target, durable=durable)
        self._sizes: list[int] = []
        self._sums: list[int] = []
        self._stats: list[FrameStats | None] = []

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def nbytes(self) -> int:
        """Bytes of all frames written so far."""
        return sum(self._sizes)

    @property
    def index(self) -> FrameIndex:
        """Offset, size in bytes and checksum of each frame written so far."""
        starts = accumulate(self._sizes[:-1], initial=self.base)
        return FrameIndex(tuple(starts), tuple(self._sizes), tuple(self._sums))

    @property
    def statistics(self) -> Statistics:
        """Minimum, maximum, mean and standard deviation of all pixels written so far."""
        return combine(self._stats)

    def append(self, frame: Encoded) -> None:
        """Write the next encoded frame to the new MRC file."""
        start, count = self.base + self.nbytes, len(frame.raw)
        self.write(frame.raw, start)
        if self._durable and self._path is not None:
            start_writeback(self._sink.stream, start, count)
        self._sizes.append(count)
        self._sums.append(frame.checksum)
        self._stats.append(frame.stats)

    def write(self, data: bytes | memoryview, at: int) -> None:
        """Write bytes at an offset of the new MRC file, such as its header.

        Raises
        ------
        SpaceError
            The disk is full.
        """
        try:
            with phase("disk", len(data)):
                self._sink.stream.seek(at)
                self._sink.stream.write(data)
        except OSError as error:
            raise (explain(error, self._path) if self._path else error) from error

    def read(self, i: int) -> bytes:
        """Return the stored bytes of frame `i` from the unfinished MRC file."""
        index = self.index
        self._sink.stream.seek(index.offsets[i])
        return self._sink.stream.read(index.nbytes[i])

    def move(self, base: int) -> None:
        """Move the frames to begin at byte `base`, to make room for headers of another size."""
        old, sink = self._sink, open_sink(self._target, durable=self._durable)
        old.stream.seek(self.base)
        sink.stream.seek(base)
        shutil.copyfileobj(old.stream, sink.stream, 1 << 20)
        old.discard()
        self._sink, self.base = sink, base

    def commit(self) -> None:
        """Rename the finished MRC file to its target, so that readers see it whole."""
        self._sink.commit()

    def discard(self) -> None:
        """Delete the unfinished MRC file; what was at the target stays."""
        self._sink.discard()

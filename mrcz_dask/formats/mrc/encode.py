"""From a frame of pixels to the bytes that are stored, with their checksum and the frame's statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import ChunkHeader, check_size, decompress_into
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.digest import checksum
from mrcz_dask.formats.mrc.modes import FOUR_BIT, PIXELS, pixel_mode
from mrcz_dask.formats.mrc.packing import pack, packed_row
from mrcz_dask.formats.stats import FrameStats, frame_stats
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.timing import phase

INT8_MAX = 127
_INT8, _UINT16 = 0, 6


@dataclass(frozen=True, slots=True)
class Stored:
    """How pixels of a dtype are kept: `mode` says it; uint8 as int8, or widened to uint16."""

    dtype: np.dtype[Any]
    shape: tuple[int, int]
    mode: int

    @classmethod
    def of(cls, dtype: np.dtype[Any], shape: tuple[int, int], *, four_bit: bool = False) -> Stored:
        """Return how frames (ny, nx) of a dtype are kept at first.

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
        """The same pixels with room for counts beyond 127."""
        return Stored(self.dtype, self.shape, _UINT16)

    @property
    def file_dtype(self) -> np.dtype[Any]:
        """Of the stored items, little-endian."""
        return np.dtype("<" + PIXELS[self.mode])

    @property
    def file_shape(self) -> tuple[int, int]:
        """Rows and stored items in a row."""
        ny, nx = self.shape
        return ny, packed_row(nx) if self.mode == FOUR_BIT else nx

    @property
    def nbytes(self) -> int:
        """Bytes of one decoded frame as stored."""
        rows, items = self.file_shape
        return rows * items * self.file_dtype.itemsize

    def fits(self, stats: FrameStats | None) -> bool:
        """Whether a frame with these statistics can be kept this way."""
        is_uint8_as_int8 = self.dtype == np.uint8 and self.mode == _INT8
        return not is_uint8_as_int8 or stats is None or stats.maximum <= INT8_MAX

    def items(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Return the items to store, C-contiguous and little-endian; a view where that is possible."""
        if self.mode == FOUR_BIT:
            return pack(frame)
        if self.mode == _INT8 and frame.dtype == np.uint8:
            frame = frame.view(np.int8)
        return np.ascontiguousarray(frame, self.file_dtype)

    def pixels(self, items: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels of stored items (not of packed ones)."""
        return items.astype(self.dtype, copy=False)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A frame as it goes to the file."""

    raw: bytes | memoryview
    checksum: int
    stats: FrameStats | None
    stored: Stored


def encode(
    frame: NDArray[Any], stored: Stored, codec: Codec | None, stats: FrameStats | None = None
) -> Encoded:
    """Encode a frame (ny, nx) of the dtype that `stored` is about; its statistics may be known already."""
    with phase("encode", stored.nbytes):
        items = stored.items(frame)
        raw = items.reshape(-1).view(np.uint8).data if codec is None else codec.compress(items)
        sum_of_bytes = checksum(raw)
    with phase("sum"):
        return Encoded(raw, sum_of_bytes, stats or frame_stats(frame), stored)


def copied(
    raw: bytes | memoryview,
    stored: Stored,
    version: int,
    stats: FrameStats | None,
    frame: NDArray[Any] | None,
) -> Encoded:
    """Take a compressed chunk as it is; without statistics or the decoded frame it is decoded for them.

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
    """Return the pixels of a stored frame (not of a packed one)."""
    if not compressed:
        return stored.pixels(np.frombuffer(raw, stored.file_dtype).reshape(stored.file_shape))
    items = np.empty(stored.file_shape, stored.file_dtype)
    decompress_into(raw, items)
    return stored.pixels(items)

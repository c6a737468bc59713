"""Convert events to whole numbers and compressed bytes, as they are stored and sent.

A position is a whole number of 1/32 pixels, rounded down; it stands for the middle of its step. All edges of
pixels and of their halves and quarters are edges of steps, so that counted images are exact. The error
1/32/sqrt(12) = .009 pixels adds a few thousandths to that of a fit, a tenth of a pixel. A charge is in 1/16
of the typical read noise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import ChunkHeader, check_size, decompress_into
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.digest import digest_bytes
from mrcz_dask.values.errors import DamagedError

STEPS = 32
CHARGE_STEPS = 16
LARGEST_CHARGE = np.iinfo(np.uint16).max
_CODEC = Codec("zstd", 1, "bit")
_HEAD = struct.Struct("<QQ3Q")

Triple = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class EventArrays:
    """Events of consecutive frames as arrays of whole numbers: positions, charges, numbers per frame.

    Attributes
    ----------
    counts
        (frames,) uint32: number of events of each frame.
    y, x
        (n,) int32, frame after frame: positions in 1/32 pixel; k stands for k/32 <= y < (k + 1)/32.
    charge
        (n,) uint16 in 1/16 of the typical read noise.
    """

    counts: NDArray[np.uint32]
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    charge: NDArray[np.uint16]

    def frames(self, start: int, stop: int) -> EventArrays:
        """Return the events of frames start <= k < stop, as a smaller `EventArrays`."""
        bounds = np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
        here = slice(int(bounds[start]), int(bounds[stop]))
        return EventArrays(self.counts[start:stop], self.y[here], self.x[here], self.charge[here])

    def digest(self) -> str:
        """Return the xxh3-128 digest of all arrays, by which equal events are recognized."""
        arrays = (self.counts, self.y, self.x, self.charge)
        return digest_bytes(
            b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays)
        )


def quantized(frames: Iterable[Triple], shape: tuple[int, int], unit: float) -> EventArrays:
    """Round positions and charges of events to the whole steps in which they are stored.

    Parameters
    ----------
    frames
        For each frame y, x in pixels and charge in ADU, (n,) each. Positions beyond an edge, where a fit may
        put them, are moved to the edge.
    shape
        (ny, nx) of the frames.
    unit
        Typical read noise, ADU.
    """
    counts: list[int] = []
    columns: tuple[list[NDArray[Any]], ...] = [np.empty(0)], [np.empty(0)], [np.empty(0)]
    for y, x, charge in frames:
        counts.append(y.size)
        for column, places, edge in zip(columns, (y, x), shape, strict=False):
            column.append(np.clip(np.floor(places.astype(np.float64) * STEPS), 0, edge * STEPS - 1))
        steps = np.rint(charge.astype(np.float64) * (CHARGE_STEPS / unit))
        columns[2].append(np.clip(steps, 0, LARGEST_CHARGE))
    y, x, charge = map(np.concatenate, columns)
    return EventArrays(
        np.array(counts, np.uint32), y.astype(np.int32), x.astype(np.int32), charge.astype(np.uint16)
    )


def pixels(steps: NDArray[Any]) -> NDArray[np.float64]:
    """Convert stored steps to positions in pixels: the middle of each step."""
    return np.asarray((steps + 0.5) / STEPS, np.float64)


def joined(parts: Sequence[EventArrays]) -> EventArrays:
    """Join the events of consecutive parts of a stack."""
    names = ("counts", "y", "x", "charge")
    return EventArrays(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def pack(events: EventArrays) -> bytes:
    """Compress events to bytes, for the spool and for sending between workers."""
    chunks = [
        _CODEC.compress(column) if column.size else b"" for column in (events.y, events.x, events.charge)
    ]
    head = _HEAD.pack(events.counts.size, events.y.size, *map(len, chunks))
    return b"".join([head, events.counts.astype("<u4").tobytes(), *chunks])


def unpack(data: bytes) -> EventArrays:
    """Decompress events from the bytes that `pack` made.

    Raises
    ------
    DamagedError
        If the bytes are not packed events.
    """
    try:
        frames, n, *sizes = _HEAD.unpack_from(data)
    except struct.error as error:
        raise DamagedError(f"{len(data)} bytes; expected packed events") from error
    start = _HEAD.size + 4 * frames
    if start + sum(sizes) != len(data):
        raise DamagedError(f"packed events of {len(data)} bytes; expected {start + sum(sizes)}")
    counts = np.frombuffer(data, "<u4", frames, _HEAD.size).astype(np.uint32)
    columns: list[NDArray[Any]] = []
    for size, dtype in zip(sizes, ("<i4", "<i4", "<u2"), strict=True):
        chunk = data[start : start + size]
        if n:  # before memory is taken for them
            check_size(ChunkHeader.parse(chunk), n * np.dtype(dtype).itemsize)
        column = np.empty(n, dtype)
        if n:
            decompress_into(chunk, column)
        columns.append(column.astype(column.dtype.newbyteorder("="), copy=False))
        start += size
    return EventArrays(counts, *columns)

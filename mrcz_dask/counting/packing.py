"""Electrons as they are kept and sent: whole numbers, compressed.

A place is a whole number of 1/32 pixels, rounded down and meant as the middle of its step. All edges of
pixels and of their halves and quarters are edges of steps, so that no counted image knows the difference;
and the error 1/32/sqrt(12) = .009 adds a few thousandths to that of a fit, a tenth of a pixel. A charge is in
1/16 of the typical read noise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import decompress_into
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
class Found:
    """Electrons of consecutive frames.

    Attributes
    ----------
    counts
        (frames,) uint32: how many each frame has.
    y, x
        (n,) int32, frame after frame: place in 1/32 pixel; k is k/32 <= y < (k + 1)/32.
    charge
        (n,) uint16 in 1/16 of the typical read noise.
    """

    counts: NDArray[np.uint32]
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    charge: NDArray[np.uint16]

    def frames(self, start: int, stop: int) -> Found:
        """Return the electrons of frames start <= k < stop."""
        bounds = np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
        here = slice(int(bounds[start]), int(bounds[stop]))
        return Found(self.counts[start:stop], self.y[here], self.x[here], self.charge[here])

    def digest(self) -> str:
        """Return xxh3-128 of all of it."""
        parts = (self.counts, self.y, self.x, self.charge)
        return digest_bytes(b"".join(one.astype(one.dtype.newbyteorder("<")).tobytes() for one in parts))


def quantised(frames: Iterable[Triple], shape: tuple[int, int], unit: float) -> Found:
    """Return electrons in whole steps.

    Parameters
    ----------
    frames
        For each frame y, x in pixels and charge in ADU, (n,) each. Those beyond an edge, where a fit may put
        them, are taken to it.
    shape
        (ny, nx) of the frames.
    unit
        The typical read noise, ADU.
    """
    made = [_steps(*one, shape, unit) for one in frames]
    counts = np.array([one[0].size for one in made], np.uint32)
    y, x, charge = (np.concatenate([one[k] for one in made] or [np.empty(0)]) for k in range(3))
    return Found(counts, y.astype(np.int32), x.astype(np.int32), charge.astype(np.uint16))


def _steps(
    y: NDArray[Any], x: NDArray[Any], charge: NDArray[Any], shape: tuple[int, int], unit: float
) -> Triple:
    places = [
        np.clip(np.floor(one.astype(np.float64) * STEPS), 0, edge * STEPS - 1)
        for one, edge in zip((y, x), shape, strict=True)
    ]
    steps = np.rint(charge.astype(np.float64) * (CHARGE_STEPS / unit))
    return (
        places[0].astype(np.int32),
        places[1].astype(np.int32),
        np.clip(steps, 0, LARGEST_CHARGE).astype(np.uint16),
    )


def pixels(steps: NDArray[Any]) -> NDArray[np.float64]:
    """Return places in pixels: the middles of steps."""
    return np.asarray((steps + 0.5) / STEPS, np.float64)


def joined(parts: Sequence[Found]) -> Found:
    """Return the electrons of parts that follow each other."""
    names = ("counts", "y", "x", "charge")
    return Found(*(np.concatenate([getattr(one, name) for one in parts]) for name in names))


def pack(found: Found) -> bytes:
    """Return electrons as bytes."""
    chunks = [_CODEC.compress(one) if one.size else b"" for one in (found.y, found.x, found.charge)]
    head = _HEAD.pack(found.counts.size, found.y.size, *map(len, chunks))
    return b"".join([head, found.counts.astype("<u4").tobytes(), *chunks])


def unpack(data: bytes) -> Found:
    """Return the electrons of `pack`.

    Raises
    ------
    DamagedError
        The bytes are not those.
    """
    try:
        frames, n, *sizes = _HEAD.unpack_from(data)
    except struct.error as error:
        raise DamagedError(f"{len(data)} bytes; expected packed events") from error
    at = _HEAD.size + 4 * frames
    if at + sum(sizes) != len(data):
        raise DamagedError(f"packed events of {len(data)} bytes; expected {at + sum(sizes)}")
    counts = np.frombuffer(data, "<u4", frames, _HEAD.size).astype(np.uint32)
    columns = []
    for size, dtype in zip(sizes, ("<i4", "<i4", "<u2"), strict=True):
        columns.append(_column(data[at : at + size], n, dtype))
        at += size
    return Found(counts, *columns)


def _column(chunk: bytes, n: int, dtype: str) -> NDArray[Any]:
    made = np.empty(n, dtype)
    if n:
        decompress_into(chunk, made)
    return made.astype(made.dtype.newbyteorder("="), copy=False)

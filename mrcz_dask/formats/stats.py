"""Minimum, maximum, mean and standard deviation of a stack, gathered frame by frame.

Small integers are summed exactly; other pixels in float64, two passes a block. Either way the result depends
on the frames and their order alone, never on threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from math import gcd, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.header import Statistics

# pieces that stay in the caches and are long enough to hide the cost of a call
_LINE = 4096
_BLOCK = 1 << 20
_FOLD = 64


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Of one frame's finite pixels: count, extremes, mean, and sum of squared deviations from it."""

    count: int
    minimum: float
    maximum: float
    mean: float
    squares: float


def frame_stats(frame: NDArray[Any]) -> FrameStats | None:
    """Return the statistics of a frame (ny, nx), or None if there are none (complex, nothing finite)."""
    if frame.dtype.kind == "c":
        return None
    if frame.dtype.kind in "iu":
        return _integers(frame.astype(frame.dtype.newbyteorder("="), copy=False))
    return _float(frame)


def combine(parts: Iterable[FrameStats | None]) -> Statistics:
    """Return the statistics of the whole, from its frames in their order."""
    total: FrameStats | None = None
    for part in parts:
        if part is not None:
            total = part if total is None else _merge(total, part)
    if total is None:
        return Statistics()
    return Statistics(total.minimum, total.maximum, total.mean, sqrt(max(0.0, total.squares / total.count)))


def _integers(frame: NDArray[Any]) -> FrameStats:
    if frame.itemsize <= 2:
        return _exact(frame)
    low, high = int(frame.min()), int(frame.max())
    return _exact(frame) if max(-low, high) < 1 << 16 else _inexact(frame, float(low), float(high))


def _exact(frame: NDArray[Any]) -> FrameStats:
    """Integers below 2^16: a block is read once from memory and summed in the smallest types that hold it."""
    buffer = np.empty(_BLOCK // frame.itemsize, np.uint32)
    lows, highs, totals, squares = zip(*(_sums(block, buffer) for block in _blocks(frame)), strict=True)
    total = sum(totals)
    spread = (sum(squares) * frame.size - total**2) / frame.size
    return FrameStats(frame.size, min(lows), max(highs), total / frame.size, spread)


def _sums(block: NDArray[Any], buffer: NDArray[np.uint32]) -> tuple[int, int, int, int]:
    """Return minimum, maximum, sum, and sum of squares."""
    low, high = int(block.min()), int(block.max())
    largest = max(-low, high)
    unsigned = f"u{block.itemsize}"
    if low >= 0:
        block = block.view(unsigned)
    kind = np.promote_types(unsigned, np.min_scalar_type(largest**2))
    square = _square(block, buffer.view(kind)[: block.size])
    return low, high, _sum(block, largest, signed=low < 0), _sum(square, largest**2)


def _square(block: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
    if block.itemsize == out.itemsize:
        block = block.view(out.dtype)  # modulo 2^n a negative number squares to the same
    np.multiply(block, block, out=out, dtype=out.dtype, casting="unsafe")
    return out


def _sum(block: NDArray[Any], largest: int, *, signed: bool = False) -> int:
    room = min(max(1, int(np.iinfo(block.dtype).max) // max(largest, 1)), _FOLD)
    fold = gcd(block.size, 1 << (room.bit_length() - 1))
    if fold > 2:
        # adding a type to itself is several times faster than adding it to a wider one
        block = np.add.reduce(block.reshape(fold, -1), axis=0, dtype=block.dtype)
        largest *= fold
    lines = block.reshape(-1, gcd(block.size, _LINE))
    bound = len(lines) * largest
    narrow = np.min_scalar_type(-bound if signed else bound)
    return int(np.add.reduce(lines, axis=0, dtype=narrow).sum(dtype=np.int64 if signed else np.uint64))


def _float(frame: NDArray[Any]) -> FrameStats | None:
    frame = frame.astype(np.promote_types(frame.dtype, np.float32), copy=False)
    low, high = float(frame.min()), float(frame.max())
    if np.isfinite(low) and np.isfinite(high):
        return _inexact(frame, low, high)
    finite = frame[np.isfinite(frame)]
    if not finite.size:
        return None
    return _inexact(finite, float(finite.min()), float(finite.max()))


def _inexact(frame: NDArray[Any], low: float, high: float) -> FrameStats:
    buffer = np.empty(_BLOCK // frame.itemsize)
    parts, total = [], 0.0
    for block in _blocks(frame):
        pixels = buffer[: block.size]
        pixels[:] = block
        part = float(pixels.sum())
        pixels -= part / block.size
        squares = float(np.square(pixels, out=pixels).sum())
        parts.append(FrameStats(block.size, low, high, part / block.size, squares))
        total += part
    return replace(reduce(_merge, parts), mean=total / frame.size)


def _blocks(frame: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Cut a frame into cache-sized pieces of whole lines, and what is left."""
    pixels, size = frame.reshape(-1), _BLOCK // frame.itemsize
    whole = pixels.size // _LINE * _LINE
    for start in range(0, whole, size):
        yield pixels[start : min(start + size, whole)]
    if whole < pixels.size:
        yield pixels[whole:]


def _merge(a: FrameStats, b: FrameStats) -> FrameStats:
    """Chan's update: no cancellation when the mean is far from 0."""
    count = a.count + b.count
    step = b.mean - a.mean
    return FrameStats(
        count,
        min(a.minimum, b.minimum),
        max(a.maximum, b.maximum),
        a.mean + step * b.count / count,
        a.squares + b.squares + step**2 * a.count * b.count / count,
    )

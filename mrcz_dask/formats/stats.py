"""Computes minimum, maximum, mean and standard deviation of a stack, frame by frame.

Small integers are summed exactly; other pixels in float64, two passes a block. Either way the result depends
on the frames and their order alone, never on threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.mrc.header import Statistics

# float64 sums of lines in pieces that stay in the caches
_LINE = 4096
_BLOCK = 1 << 20
# pixels whose squares can be summed in 63 bits
_MOST = 1 << 30


@dataclass(frozen=True, slots=True)
class FrameStats:
    """Statistics of a frame's finite pixels: count, minimum, maximum, mean, sum of squared deviations."""

    count: int
    minimum: float
    maximum: float
    mean: float
    squares: float


def frame_stats(frame: NDArray[Any]) -> FrameStats | None:
    """Return the statistics of a frame's pixels (ny, nx); None if they are complex or none is finite."""
    if frame.dtype.kind == "c":
        return None
    if frame.dtype.kind in "iu":
        frame = frame.astype(frame.dtype.newbyteorder("="), copy=False)
        if frame.itemsize <= 2:
            return _exact(frame)
        low, high = int(frame.min()), int(frame.max())
        return _exact(frame) if max(-low, high) < 1 << 16 else _inexact(frame, float(low), float(high))
    frame = frame.astype(np.promote_types(frame.dtype, np.float32), copy=False)
    least, most = float(frame.min()), float(frame.max())
    if not (np.isfinite(least) and np.isfinite(most)):
        frame = frame[np.isfinite(frame)]
        if not frame.size:
            return None
        least, most = float(frame.min()), float(frame.max())
    return _inexact(frame, least, most)


def from_moments(count: int, moments: tuple[int, int, int, int]) -> FrameStats:
    """Return the statistics of `count` integer pixels from their minimum, maximum, sum and sum of squares."""
    low, high, total, squares = map(int, moments)
    return FrameStats(count, low, high, total / count, (squares * count - total**2) / count)


def combine(parts: Iterable[FrameStats | None]) -> Statistics:
    """Return minimum, maximum, mean and standard deviation of a stack from the statistics of its frames."""
    total: FrameStats | None = None
    for part in parts:
        if part is not None:
            total = part if total is None else _merge(total, part)
    if total is None:
        return Statistics()
    return Statistics(total.minimum, total.maximum, total.mean, sqrt(max(0.0, total.squares / total.count)))


def _exact(frame: NDArray[Any]) -> FrameStats:
    """Sum integers of magnitude below 2^16."""
    from mrcz_dask.numerics.moments import moments  # numba takes long to import

    pixels = frame.reshape(-1).view()
    pixels.flags.writeable = False  # or each kind of array is compiled for itself
    parts = (moments(pixels[start : start + _MOST]) for start in range(0, pixels.size, _MOST))
    lows, highs, totals, squares = zip(*parts, strict=True)
    return from_moments(frame.size, (min(lows), max(highs), sum(totals), sum(squares)))


def _inexact(frame: NDArray[Any], low: float, high: float) -> FrameStats:
    """Sum in float64, in cache-sized pieces of whole lines; what is left behind them is one piece more."""
    pixels, size = frame.reshape(-1), _BLOCK // frame.itemsize
    whole = pixels.size // _LINE * _LINE
    starts = [*range(0, whole, size), *([whole] if whole < pixels.size else [])]
    buffer = np.empty(size)
    parts, total = [], 0.0
    for start, stop in pairwise([*starts, pixels.size]):
        block = buffer[: stop - start]
        block[:] = pixels[start:stop]
        part = float(block.sum())
        block -= part / block.size
        squares = float(np.square(block, out=block).sum())
        parts.append(FrameStats(block.size, low, high, part / block.size, squares))
        total += part
    return replace(reduce(_merge, parts), mean=total / frame.size)


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

"""Measure R of a stack (Eq. 7) with its standard error, and the error of a difference between two R.

Pairs of frames share frames, so that their scatter is no measure of the error of their mean. Here it comes
from the image's blocks, as shot noise is independent from one to the next. What is fixed - pattern, hot
pixels, specimen - differs between blocks as well, and is no error: a second recording would have it again. It
drops out of what is compared: the frames are dealt in turn into two groups, each of which gives its own R.

With a = sum mu^2 v and c = sum v^2 over pixels (mu the fixed part, v the variance of the rest), and groups of
m1 and m2 frames, block sums scatter by

    var(R1 - R2)          = 4 a (1/m1 + 1/m2) + 2 c (1/(m1 (m1-1)) + 1/(m2 (m2-1)))
    var(R1 + R2 - 2 R12)  = 2 c (1/(m1 (m1-1)) + 1/(m2 (m2-1)) + 2/(m1 m2))
    var(R)                = 4 a / n + 2 c / (n (n-1))

where R12 is of pairs with one frame of each group: two measurements, two unknowns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.numerics.kernels import compiled, inner, native
from mrcz_dask.numerics.noise.correlation import standardization
from mrcz_dask.values.errors import ParameterError

BLOCKS = 16
SMALLEST = 8
FEWEST = 4


NO_BLOCKS = np.zeros(0)


@dataclass(frozen=True, slots=True, eq=False)
class Correlation:
    """R of a stack, with values from blocks of the image from which its standard error is computed.

    Attributes
    ----------
    value
        R; not a number for fewer than two frames.
    n
        Frames that went into it.
    halves, apart
        (blocks,) R1 - R2 and R1 + R2 - 2 R12 of each block; empty for fewer than four frames.
    """

    value: float
    n: int
    halves: Floats
    apart: Floats

    @property
    def error(self) -> float:
        """Standard error of R: how much a second recording's R would differ; NaN below four frames."""
        return _error(self.n, self.halves, self.apart)

    def less(self, other: Correlation) -> tuple[float, float]:
        """Return the difference to another R of the same frames, such as before correction, with its error.

        Raises
        ------
        ParameterError
            For other numbers of frames or blocks.
        """
        if (self.n, self.halves.shape) != (other.n, other.halves.shape):
            raise ParameterError(
                f"scores of {self.n} frames in {self.halves.size} blocks and of {other.n} in "
                f"{other.halves.size}; expected scores of the same frames"
            )
        error = _error(self.n, self.halves - other.halves, self.apart - other.apart)
        return self.value - other.value, error


def _error(n: int, halves: Floats, apart: Floats) -> float:
    if halves.size < 2 or n < FEWEST:
        return math.nan
    first, second = n - n // 2, n // 2
    within = 1 / (first * (first - 1)) + 1 / (second * (second - 1))
    noise = _variance(apart) / (2 * (within + 2 / (first * second)))
    fixed = max(0.0, _variance(halves) - 2 * noise * within) / (4 * (1 / first + 1 / second))
    return math.sqrt(4 * fixed / n + 2 * noise / (n * (n - 1)))


def _variance(blocks: Floats) -> float:
    """Return the variance of the sum of block values."""
    apart = blocks - blocks.mean()
    return float((apart * apart).sum()) * blocks.size / (blocks.size - 1)


class BlockedCorrelation:
    """Accumulates, frame by frame, R of a stack and its standard error: the mean Pearson correlation over all
    pairs of frames.

    Frames that are constant or hold anything not finite are left out. Memory: 8 bytes a pixel, and 256 a
    column.

    Parameters
    ----------
    shape
        (ny, nx) of the frames.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        blocks = [max(1, min(BLOCKS, length // SMALLEST)) for length in shape]
        self._edges = [np.arange(n + 1) * length // n for n, length in zip(blocks, shape, strict=True)]
        self._totals = np.zeros((2, *shape), np.float32)
        self._squares = np.zeros((2, self._edges[0].size - 1, shape[1]))
        self.n = 0

    def add(self, frame: NDArray[Any]) -> None:
        """Add one frame (ny, nx), of any real dtype, to the measurement.

        Raises
        ------
        ParameterError
            For another shape.
        """
        shape = self._totals.shape[1:]
        if frame.shape != shape:
            raise ParameterError(f"a frame of shape {frame.shape}; expected {shape}, as the others have")
        values, group = np.ascontiguousarray(native(frame)), self.n % 2
        self.n += _add(values, self._edges[0], self._totals[group], self._squares[group])

    def result(self) -> Correlation:
        """Return R of the frames added so far, with its error."""
        n = self.n
        if n < 2:
            return Correlation(math.nan, n, NO_BLOCKS, NO_BLOCKS)
        first, second = self._totals
        t1, t2, both = (self._products(*pair) for pair in ((first, first), (second, second), (first, second)))
        value = float((t1 + t2 + 2 * both).sum() - n) / (n * (n - 1))
        if n < FEWEST:
            return Correlation(value, n, NO_BLOCKS, NO_BLOCKS)
        m1, m2 = n - n // 2, n // 2
        q1, q2 = (self._by_columns(squares) for squares in self._squares)
        r1, r2 = (t1 - q1) / (m1 * (m1 - 1)), (t2 - q2) / (m2 * (m2 - 1))
        # R is a ratio: what a block has of the variance counts against it
        halves = r1 - r2 - value * (q1 / m1 - q2 / m2)
        return Correlation(value, n, halves, r1 + r2 - 2 * both / (m1 * m2))

    def _products(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> Floats:
        """Return the sums of products over blocks."""
        rows = pairwise(self._edges[0])
        lines = [(one[a:b].astype(np.float64) * other[a:b]).sum(axis=0) for a, b in rows]
        return self._by_columns(np.stack(lines))

    def _by_columns(self, lines: Floats) -> Floats:
        """Return the sums over blocks, one after the other, of sums over their rows."""
        return np.asarray(np.add.reduceat(lines, self._edges[1][:-1], axis=1), np.float64).reshape(-1)


@compiled
def _add(values: NDArray[Any], edges: NDArray[np.intp], total: NDArray[np.float32], squares: Floats) -> bool:
    """Add an image, without its mean and of unit norm; its squares by strips of rows and columns.

    Return False, and add nothing, if it is constant or not finite.
    """
    middle, factor = standardization(values.reshape(-1))
    if factor == 0:
        return False
    for k in range(edges.size - 1):
        for y in range(edges[k], edges[k + 1]):
            _add_line(values[y], middle, factor, total[y], squares[k])
    return True


@inner
def _add_line(
    line: NDArray[Any], middle: float, factor: float, total: NDArray[np.float32], squares: Floats
) -> None:
    for x in range(total.size):
        d = (np.float64(line[x]) - middle) * factor
        total[x] += np.float32(d)
        squares[x] += d * d

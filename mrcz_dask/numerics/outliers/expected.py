"""Expect counts of good pixels: a stack's local brightness times the pattern of the detector's lines."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from mrcz_dask.numerics.arrays import Floats, Singles
from mrcz_dask.numerics.kernels import compiled, inner

FINEST = 16  # pixels along each side over which the brightness of a stack is averaged, at least
BOX = 32  # pixels along a line whose mean tells the pattern of the line
ODD = 0.2  # pixels that differ by more from those around are not in that mean
SAMPLE, CLIP, ROUNDS = 1 << 17, 16.0, 4  # pixels and rounds for the noise, and where it is clipped

Lines = tuple[Singles, Singles, Singles]
"""Ratios of a sum to what is expected: means over BOX pixels of columns, of rows, and over squares."""


class ExpectedCounts(NamedTuple):
    """Expected counts of good pixels, for each of several stacks: means of blocks, interpolated to pixels.

    Attributes
    ----------
    grids
        (t, b, c) counts.
    above, down, left, right
        For each row of the strip, and for each column: the block before it, and how far it is on the way to
        the next.
    """

    grids: Singles
    above: NDArray[np.intp]
    down: Singles
    left: NDArray[np.intp]
    right: Singles

    @classmethod
    def of(cls, grids: Floats, shape: tuple[int, int], rows: slice) -> ExpectedCounts:
        """Prepare the means of blocks, which are averaged first where they are small."""
        sizes = [max(1, math.ceil(FINEST * b / n)) for b, n in zip(grids.shape[1:], shape, strict=True)]
        smooth = uniform_filter(grids, (1, *(size + 1 - size % 2 for size in sizes)), mode="nearest")
        places = []
        for b, n in zip(grids.shape[1:], shape, strict=True):
            edges = np.arange(b + 1) * n // b
            place = np.interp(np.arange(n), (edges[:-1] + edges[1:] - 1) / 2, np.arange(b))
            places.append((place.astype(np.intp), np.asarray(place % 1, np.float32)))
        (above, down), columns = places
        padded = np.pad(smooth, ((0, 0), (0, 1), (0, 1)), mode="edge")
        return cls(padded.astype(np.float32), above[rows], down[rows], *columns)

    def summed(self, starts: NDArray[np.intp]) -> ExpectedCounts:
        """Return the expected sums of groups of stacks that begin at `starts`."""
        return self._replace(grids=np.add.reduceat(self.grids, starts))

    def across(self) -> Singles:
        """Return the expected counts of all columns at the rows of the blocks' centers, (t, b, nx)."""
        left, right = self.grids[..., self.left], self.grids[..., self.left + 1]
        return np.ascontiguousarray(left * (1 - self.right) + right * self.right)


def line_means(total: Singles, whole: ExpectedCounts) -> Lines:
    """Measure the pattern of rows and columns in the sum of stacks, of which `whole` is expected."""
    ny, nx = total.shape
    columns = np.zeros((-(-ny // BOX), nx), np.float32)
    rows = np.zeros((ny, -(-nx // BOX)), np.float32)
    _add_ratios(total, whole, columns, rows)
    tall, wide = (np.diff(np.append(np.arange(0, n, BOX), n)).astype(np.float32) for n in (ny, nx))
    squares = np.add.reduceat(columns, np.arange(0, nx, BOX), axis=1) / (tall[:, None] * wide)
    columns /= tall[:, None]
    rows /= wide
    return columns, rows, squares.astype(np.float32)


@inner
def expected_at(level: Any, t: int, y: int, x: int) -> Any:
    """Return the expected counts of a pixel."""
    grids, above, down, left, right = level
    grid, i, j = grids[t], above[y], left[x]
    upper = grid[i, j] * (np.float32(1) - right[x]) + grid[i, j + 1] * right[x]
    lower = grid[i + 1, j] * (np.float32(1) - right[x]) + grid[i + 1, j + 1] * right[x]
    return upper + (lower - upper) * down[y]


@inner
def pattern_at(lines: Any, y: int, x: int) -> Any:
    """Return the pattern of lines at a pixel: those of its column and of its row, less their mean."""
    columns, rows, squares = lines
    return columns[y // BOX, x] + rows[y, x // BOX] - squares[y // BOX, x // BOX]


@compiled
def _add_ratios(total: Singles, whole: Any, columns: Singles, rows: Singles) -> None:
    """Add the ratios of a sum to what is expected along pieces of columns and rows, without odd pixels."""
    least, most = np.float32(1 - ODD), np.float32(1 + ODD)
    for y in range(total.shape[0]):
        for x in range(total.shape[1]):
            expected = expected_at(whole, 0, y, x)
            ratio = total[y, x] / expected if expected > 0 else np.float32(1)
            ratio = least if ratio < least else most if ratio > most else ratio
            columns[y // BOX, x] += ratio
            rows[y, x // BOX] += ratio


def noise_of_stacks(strip: NDArray[Any], level: ExpectedCounts) -> Floats:
    """Return the variance of each stack's sum over its expected counts, 1 for counting and never less."""
    noise = np.full(len(strip), np.inf)
    for _ in range(ROUNDS):
        _add_variances(strip, level, max(1, strip[0].size // SAMPLE), CLIP * noise, noise)
    np.maximum(noise, 1, out=noise)
    return noise


@compiled
def _add_variances(strip: NDArray[Any], level: Any, every: int, limits: Floats, out: Floats) -> None:
    """Put the mean of (S - level)^2 / level of each stack into out, without what is above its limit."""
    for t in range(strip.shape[0]):
        total, number = 0.0, 0
        for y in range(0, strip.shape[1], every):
            for x in range(strip.shape[2]):
                expected = expected_at(level, t, y, x)
                if expected > 0:
                    square = (np.float32(strip[t, y, x]) - expected) ** 2 / expected
                    if square <= limits[t]:
                        total += square
                        number += 1
        out[t] = total / max(number, 1)


def spread_of_pattern(total: Singles, whole: ExpectedCounts, lines: Lines, noise: float) -> float:
    """Return the standard deviation of pixels beyond counting and the pattern of lines, relative to the mean.

    Outliers are left out. `noise` is the variance of a sum over its mean.
    """
    variance = 1.0
    for _ in range(ROUNDS):
        variance = _spread(total, whole, lines, max(1, total.size // SAMPLE), variance, noise)
    return math.sqrt(variance)


@compiled
def _spread(total: Singles, whole: Any, lines: Any, every: int, variance: float, noise: float) -> float:
    """Return the variance beyond counting among pixels that are near to it."""
    beyond, number = 0.0, 0
    for y in range(0, total.shape[0], every):
        for x in range(total.shape[1]):
            expected = expected_at(whole, 0, y, x) * pattern_at(lines, y, x)
            if expected > 0:
                square = (total[y, x] / expected - 1) ** 2
                if square < CLIP * (variance + noise / expected):
                    beyond += square - noise / expected
                    number += 1
    return max(0.0, beyond / max(number, 1))

"""High-contrast stacks: carbon edges and thick ice, which must not become part of a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled
from mrcz_dask.values.params import ContrastParams

ITERATIONS = 5
FEWEST = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BlockMeans:
    """Means of the unmasked sum on a coarse grid.

    Attributes
    ----------
    means
        (by, bx) float64, counts of the sum; not a number where a block has no unmasked pixel.
    pixels
        (by, bx) int64, unmasked pixels in each block.
    """

    means: Floats
    pixels: NDArray[np.int64]

    @cached_property
    def relative(self) -> Floats:
        """The means divided by their mean."""
        return self.means / np.nanmean(self.means)

    @cached_property
    def poisson(self) -> float:
        """The variance that counting alone gives to the relative means."""
        expected = self.pixels * self.means
        good = expected > 0
        return float(np.mean(1 / expected[good])) if good.any() else 0.0


@dataclass(frozen=True, slots=True)
class Usability:
    """Whether a stack may be a reference for others.

    Attributes
    ----------
    usable
        True = may be a reference.
    score
        Relative standard deviation of the block means beyond Poisson; not a number where not assessed.
    limit
        The score above which a stack counts as high contrast.
    """

    usable: bool
    score: float
    limit: float


def block_means(total: NDArray[Any], mask: NDArray[np.bool_], blocks: int, scale: float = 1.0) -> BlockMeans:
    """Return the means of the unmasked pixels of a sum on a grid of blocks x blocks (fewer if tiny).

    Parameters
    ----------
    total
        (ny, nx) sum over frames; total * scale is in counts.
    mask
        (ny, nx) bool, True = outlier, left out.
    blocks
        Blocks along each axis.
    scale
        Counts per unit of `total`.
    """
    block_of = []
    for n in total.shape:
        starts = np.arange(min(blocks, n)) * n // min(blocks, n)
        block_of.append(np.searchsorted(starts, np.arange(n), side="right") - 1)
    sums = np.zeros((block_of[0][-1] + 1, block_of[1][-1] + 1))
    pixels = np.zeros(sums.shape, np.int64)
    _grid_sums(total, mask, block_of[0], block_of[1], sums, pixels)
    means = np.where(pixels > 0, sums * scale / np.maximum(pixels, 1), np.nan)
    return BlockMeans(means, pixels)


@compiled
def _grid_sums(
    values: NDArray[Any],
    mask: NDArray[np.bool_],
    row_of: NDArray[np.intp],
    column_of: NDArray[np.intp],
    sums: Floats,
    pixels: NDArray[np.int64],
) -> None:
    """Add unmasked integers to sums, their number to pixels: (rows, columns) of a grid, zero at the start."""
    nx = values.shape[1]
    for y in range(values.shape[0]):
        into, count = sums[row_of[y]], pixels[row_of[y]]
        start = 0
        while start < nx:
            stop = np.searchsorted(column_of, column_of[start], "right")
            part, masked = values[y, start:stop], mask[y, start:stop]
            total, good = np.int64(0), np.int64(0)
            for x in range(part.size):
                total += np.int64(0) if masked[x] else np.int64(part[x])
                good += not masked[x]
            into[column_of[start]] += np.float64(total)
            count[column_of[start]] += good
            start = stop


def assess_contrast(
    grids: Sequence[BlockMeans | None], radius: int, params: ContrastParams, start: int = 0
) -> list[Usability]:
    """Decide for every stack of a session, or those from `start` on, whether it may be a reference.

    Stack j is decided from the at most `history` stacks that end with j + radius, so that later stacks
    change nothing that is final.

    Parameters
    ----------
    grids
        Block means of the stacks in order of time; None for a stack without a sound mask (never usable).
    radius
        Window radius of the moving average, less than the history.
    params
        Grid, floor and factor.
    start
        Index of the first stack to decide.

    Notes
    -----
    A stack that has no two others to compare with is usable, without a score.
    """
    verdicts = [Usability(False, np.nan, np.nan)] * len(grids)
    for shape in {grid.means.shape for grid in grids if grid is not None}:
        alike = {j: grid for j, grid in enumerate(grids) if grid is not None and grid.means.shape == shape}
        places = np.array(list(alike))
        assessed = places[np.searchsorted(places, start) :]
        if not assessed.size:
            continue
        relative = np.stack([grid.relative.ravel() for grid in alike.values()])
        poisson = np.array([grid.poisson for grid in alike.values()])
        last = np.minimum(assessed + radius + 1, len(grids))
        first = np.minimum(np.maximum(0, last - params.history), assessed)
        groups = np.searchsorted(places, np.stack([first, last], axis=1))
        scores = np.full((assessed.size, 2), np.nan)
        _score_groups(relative, poisson, groups, params.floor, params.factor, scores)
        few = groups[:, 1] - groups[:, 0] < FEWEST
        for j, (score, limit), alone in zip(assessed, scores, few, strict=True):
            verdicts[j] = Usability(bool(alone or score <= limit), float(score), float(limit))
    return verdicts[start:]


@compiled
def _score_groups(
    relative: Floats,
    poisson: Floats,
    groups: NDArray[np.intp],
    floor: float,
    factor: float,
    scores_and_limits: Floats,
) -> None:
    """Score the last stacks within their groups; groups of fewer than `FEWEST` are left as they are.

    Parameters
    ----------
    relative
        (stacks, blocks) block means divided by their mean; not a number where there are none.
    poisson
        (stacks,) variance that counting gives to them.
    groups
        (scored, 2) first stack of a stack's group, and the one after the last; neither ever goes back.
    floor, factor
        Least limit of a score, and factor of the lower quartile; see `ContrastParams`.
    scores_and_limits
        (scored, 2) score and limit, filled in.

    Notes
    -----
    Each block keeps its values in order while the group moves, so that a median is looked up.
    """
    most = (groups[:, 1] - groups[:, 0]).max()
    values = np.empty((relative.shape[1], most))
    rows = np.empty((relative.shape[1], most), np.int64)
    counts = np.zeros(relative.shape[1], np.int64)
    typical = np.empty(relative.shape[1])
    first, after = groups[0, 0], groups[0, 0]
    for k in range(len(groups)):
        for row in range(first, groups[k, 0]):
            _take_out(relative[row], row, values, rows, counts)
        for row in range(after, groups[k, 1]):
            _put_in(relative[row], row, values, rows, counts)
        first, after = groups[k]
        if after - first < FEWEST:
            continue
        accepted = np.ones(after - first, np.bool_)
        for _ in range(ITERATIONS):
            _medians(values, rows, counts, first, accepted, typical)
            scores = _scores(relative[first:after], typical, poisson[first:after])
            limit = max(floor, factor * _lower_quartile(scores))
            before, accepted = accepted, scores <= limit
            if (before == accepted).all() or accepted.sum() < FEWEST:
                break
        scores_and_limits[k] = scores[len(relative) - len(groups) + k - first], limit


@compiled
def _put_in(
    relative: Floats, row: int, values: Floats, rows: NDArray[np.int64], counts: NDArray[np.int64]
) -> None:
    for b in range(len(relative)):
        if not np.isnan(relative[b]):
            count = counts[b]
            place = np.searchsorted(values[b, :count], relative[b])
            for i in range(count, place, -1):
                values[b, i], rows[b, i] = values[b, i - 1], rows[b, i - 1]
            values[b, place], rows[b, place] = relative[b], row
            counts[b] += 1


@compiled
def _take_out(
    relative: Floats, row: int, values: Floats, rows: NDArray[np.int64], counts: NDArray[np.int64]
) -> None:
    for b in range(len(relative)):
        if not np.isnan(relative[b]):
            place = np.searchsorted(values[b, : counts[b]], relative[b])
            while rows[b, place] != row:
                place += 1
            counts[b] -= 1
            for i in range(place, counts[b]):
                values[b, i], rows[b, i] = values[b, i + 1], rows[b, i + 1]


@compiled
def _medians(
    values: Floats,
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    first: int,
    accepted: NDArray[np.bool_],
    typical: Floats,
) -> None:
    """Put in the median of each block; not a number without pixels in accepted stacks, or if not above 0."""
    all_accepted = accepted.sum()
    for b in range(len(typical)):
        left = all_accepted
        if counts[b] < len(accepted):
            left = 0
            for i in range(counts[b]):
                left += accepted[rows[b, i] - first]
        middle = (left - 1) // 2
        i, seen = 0, -1
        if left == counts[b]:
            i, seen = middle, middle
        while seen < middle:
            seen += accepted[rows[b, i] - first]
            i += seen < middle
        low = high = values[b, i] if left else np.nan
        if left % 2 == 0 and left:
            i += 1
            while not accepted[rows[b, i] - first]:
                i += 1
            high = values[b, i]
        median = (low + high) / 2
        typical[b] = median if median > 0 else np.nan


@compiled
def _scores(relative: Floats, typical: Floats, poisson: Floats) -> Floats:
    """Return the standard deviation of relative / typical beyond Poisson; not a number without a block."""
    scores = np.empty(len(relative))
    ratio = np.empty(len(typical))
    for k in range(len(relative)):
        np.divide(relative[k], typical, ratio)
        variance = _variance(ratio)
        scores[k] = np.nan if np.isnan(variance) else np.sqrt(max(variance - poisson[k], 0.0))
    return scores


@compiled
def _variance(values: Floats) -> float:
    """Return the variance without values that are no numbers, as `np.nanvar`; values are overwritten."""
    seen = np.ones(0, np.bool_)
    left = len(values)
    total = pairwise_sum(values)
    if np.isnan(total):
        seen = ~np.isnan(values)
        left = seen.sum()
        if left == 0:
            return np.nan
        values[:] = np.where(seen, values, 0.0)
        total = pairwise_sum(values)
    mean = total / left
    for b in range(len(values)):
        values[b] = (values[b] - mean) * (values[b] - mean)
    if left < len(values):
        values[:] = np.where(seen, values, 0.0)
    return pairwise_sum(values) / left


@compiled
def pairwise_sum(values: Floats) -> float:
    """Return the sum of contiguous values, added in the order of NumPy."""
    n = len(values)
    if n > 128:
        half = n // 2 - n // 2 % 8
        return pairwise_sum(values[:half]) + pairwise_sum(values[half:])
    total = 0.0
    even = 0
    if n >= 8:
        even = n - n % 8
        a, b, c, d = values[0], values[1], values[2], values[3]
        e, f, g, h = values[4], values[5], values[6], values[7]
        for i in range(8, even, 8):
            a += values[i]
            b += values[i + 1]
            c += values[i + 2]
            d += values[i + 3]
            e += values[i + 4]
            f += values[i + 5]
            g += values[i + 6]
            h += values[i + 7]
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(even, n):
        total += values[i]
    return total


@compiled
def _lower_quartile(scores: Floats) -> float:
    """Return the quantile .25 as `np.quantile` interpolates; not a number if a score is none."""
    if np.isnan(scores).any():
        return np.nan
    ordered = np.sort(scores)
    place = (len(scores) - 1) * 0.25
    low = int(place)
    t = place - low
    a, b = ordered[low], ordered[min(low + 1, len(scores) - 1)]
    return float(a + (b - a) * t if t < 0.5 else b - (b - a) * (1 - t))

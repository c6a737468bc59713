"""High-contrast stacks: carbon edges and thick ice, which must not become part of a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled, grid_sums
from mrcz_dask.values.params import ContrastParams

ITERATIONS = 5
FEWEST = 3


@dataclass(frozen=True, slots=True)
class BlockMeans:
    """Means of the unmasked sum on a coarse grid.

    Attributes
    ----------
    means
        (by, bx) float64, counts of the sum; not a number where a block has no unmasked pixel.
    pixels
        (by, bx) int64, unmasked pixels in each block.
    """

    means: NDArray[np.float64]
    pixels: NDArray[np.int64]

    def relative(self) -> NDArray[np.float64]:
        """Return the means divided by their mean."""
        return self.means / np.nanmean(self.means)

    def poisson(self) -> float:
        """Return the variance that counting alone gives to the relative means."""
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
        Relative standard deviation of the block means beyond Poisson; not a number where not judged.
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
    row_of, column_of = (_block_of(n, min(blocks, n)) for n in total.shape)
    sums = np.zeros((row_of[-1] + 1, column_of[-1] + 1))
    pixels = np.zeros(sums.shape, np.int64)
    grid_sums(total, mask, row_of, column_of, sums, pixels)
    means = np.where(pixels > 0, sums * scale / np.maximum(pixels, 1), np.nan)
    return BlockMeans(means, pixels)


def _block_of(n: int, blocks: int) -> NDArray[np.intp]:
    """Return the block of each of n pixels."""
    starts = np.arange(blocks) * n // blocks
    return np.asarray(np.searchsorted(starts, np.arange(n), side="right") - 1, np.intp)


def judge(
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
        Index of the first stack that is asked for.

    Notes
    -----
    A stack that has no two others to compare with is usable, without a score.
    """
    verdicts = [Usability(False, np.nan, np.nan)] * len(grids)
    for shape in {g.means.shape for g in grids if g is not None}:
        places = np.array([j for j, g in enumerate(grids) if g is not None and g.means.shape == shape])
        alike = [g for g in grids if g is not None and g.means.shape == shape]
        wanted = places[np.searchsorted(places, start) :]
        if len(wanted):
            found = _judge_alike(alike, places, wanted, len(grids), radius, params)
            for j, verdict in zip(wanted, found, strict=True):
                verdicts[j] = verdict
    return verdicts[start:]


def _judge_alike(
    grids: Sequence[BlockMeans],
    places: NDArray[np.intp],
    wanted: NDArray[np.intp],
    number: int,
    radius: int,
    params: ContrastParams,
) -> list[Usability]:
    """Return the verdicts on the last grids of one shape.

    The grids are at `places` among the `number` of the session, the wanted ones at the last of these.
    """
    relative = np.stack([g.relative().ravel() for g in grids])
    poisson = np.array([g.poisson() for g in grids])
    stop = np.minimum(wanted + radius + 1, number)
    start = np.minimum(np.maximum(0, stop - params.history), wanted)
    groups = np.searchsorted(places, np.stack([start, stop], axis=1))
    found = np.full((len(wanted), 2), np.nan)
    score_groups(relative, poisson, groups, params.floor, params.factor, found)
    few = groups[:, 1] - groups[:, 0] < FEWEST
    usable = few | (found[:, 0] <= found[:, 1])
    return [Usability(bool(u), float(s), float(limit)) for u, (s, limit) in zip(usable, found, strict=True)]


@compiled
def score_groups(
    relative: NDArray[np.float64],
    poisson: NDArray[np.float64],
    groups: NDArray[np.intp],
    floor: float,
    factor: float,
    found: NDArray[np.float64],
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
        Of `ContrastParams`.
    found
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
        found[k] = scores[len(relative) - len(groups) + k - first], limit


@compiled
def _put_in(
    relative: NDArray[np.float64],
    row: int,
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
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
    relative: NDArray[np.float64],
    row: int,
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
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
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    first: int,
    accepted: NDArray[np.bool_],
    typical: NDArray[np.float64],
) -> None:
    """Median of each block; not a number where no accepted stack has pixels, or most have no counts."""
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
def _scores(
    relative: NDArray[np.float64], typical: NDArray[np.float64], poisson: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Standard deviation of relative / typical beyond Poisson; not a number where there is no block."""
    scores = np.empty(len(relative))
    ratio = np.empty(len(typical))
    for k in range(len(relative)):
        np.divide(relative[k], typical, ratio)
        variance = _variance(ratio)
        scores[k] = np.nan if np.isnan(variance) else np.sqrt(max(variance - poisson[k], 0.0))
    return scores


@compiled
def _variance(values: NDArray[np.float64]) -> float:
    """Variance of what is a number, as `np.nanvar`; the values are overwritten."""
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
def pairwise_sum(values: NDArray[np.float64]) -> float:
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
def _lower_quartile(scores: NDArray[np.float64]) -> float:
    """As `np.quantile` interpolates; not a number if a score is none."""
    if np.isnan(scores).any():
        return np.nan
    ordered = np.sort(scores)
    place = (len(scores) - 1) * 0.25
    low = int(place)
    t = place - low
    a, b = ordered[low], ordered[min(low + 1, len(scores) - 1)]
    return float(a + (b - a) * t if t < 0.5 else b - (b - a) * (1 - t))

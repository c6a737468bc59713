"""Recognize high-contrast stacks (carbon edges, thick ice), which must not be used to correct others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.numerics.moments import block_sums
from mrcz_dask.values.params import ContrastParams

ITERATIONS = 5
FEWEST = 3


@dataclass(frozen=True, eq=False)
class BlockMeans:
    """Means of a stack's sum over a coarse grid, outliers left out, from which contrast is measured.

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
        """(by, bx) The block means divided by their mean."""
        return self.means / np.nanmean(self.means)

    @cached_property
    def poisson(self) -> float:
        """The mean variance that counting noise alone gives to the relative block means."""
        expected = self.pixels * self.means
        good = expected > 0
        return float(np.mean(1 / expected[good])) if good.any() else 0.0


@dataclass(frozen=True, slots=True)
class Usability:
    """The decision whether a stack may be used to correct others, with its contrast score and the limit.

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
    """Return the means of a sum on a grid of blocks x blocks (fewer in tiny images), outliers left out.

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
    rows, columns = (np.arange(min(blocks, n) + 1) * n // min(blocks, n) for n in total.shape)
    sums, pixels = block_sums(total, mask, rows, columns)
    means = np.where(pixels > 0, sums * scale / np.maximum(pixels, 1), np.nan)
    return BlockMeans(means, pixels.astype(np.int64))


def judge_contrast(
    grids: Sequence[BlockMeans | None], radius: int, params: ContrastParams, start: int = 0
) -> list[Usability]:
    """Decide for each stack, or those from `start` on, whether its contrast allows it to correct others.

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
        groups = [tuple(group) for group in np.searchsorted(places, np.stack([first, last], axis=1)).tolist()]
        scored = {
            group: _score(relative[slice(*group)], poisson[slice(*group)], params) for group in set(groups)
        }
        for j, group in zip(assessed, groups, strict=True):
            scores, limit = scored[group]
            score = scores[int(np.searchsorted(places, j)) - group[0]]
            verdicts[j] = Usability(bool(math.isnan(limit) or score <= limit), float(score), limit)
    return verdicts[start:]


def _score(relative: Floats, poisson: Floats, params: ContrastParams) -> tuple[Floats, float]:
    """Return the scores of a group of stacks and their limit; of fewer than `FEWEST` no numbers.

    Parameters
    ----------
    relative
        (stacks, blocks) block means divided by their mean; not a number where there are none.
    poisson
        (stacks,) variance that counting gives to them.
    params
        Floor and factor of the limit.
    """
    if len(relative) < FEWEST:
        return np.full(len(relative), np.nan), math.nan
    accepted = np.ones(len(relative), bool)
    for _ in range(ITERATIONS):
        scores = _deviations(relative, _medians(relative[accepted]), poisson)
        limit = max(params.floor, params.factor * float(np.quantile(scores, 0.25)))
        before, accepted = accepted, scores <= limit
        if (before == accepted).all() or accepted.sum() < FEWEST:
            break
    return scores, limit


def _medians(relative: Floats) -> Floats:
    """Return the median of each block over stacks; not a number without pixels, or if not above 0."""
    ordered = np.sort(relative.T, axis=1)  # what is not a number comes last
    number, blocks = np.count_nonzero(~np.isnan(ordered), axis=1), np.arange(len(ordered))
    median = (ordered[blocks, (number - 1) // 2] + ordered[blocks, number // 2 - (number == 0)]) / 2
    return np.where(median > 0, median, np.nan)


def _deviations(relative: Floats, typical: Floats, poisson: Floats) -> Floats:
    """Return the standard deviation of relative / typical beyond Poisson; not a number without a block."""
    ratio = relative / typical
    known = ~np.isnan(ratio)
    number = np.count_nonzero(known, axis=1)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, ratio, 0).sum(axis=1) / number
        deviation = np.where(known, ratio - mean[:, None], 0)
        variance = (deviation * deviation).sum(axis=1) / number
        return np.asarray(np.sqrt(np.maximum(variance - poisson, 0)))

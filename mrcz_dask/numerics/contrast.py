"""High-contrast stacks: carbon edges and thick ice, which must not become part of a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import grid_sums
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


def judge(grids: Sequence[BlockMeans | None], radius: int, params: ContrastParams) -> list[Usability]:
    """Decide for every stack of a session whether it may be a reference.

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

    Notes
    -----
    A stack that has no two others to compare with is usable, without a score.
    """
    known = [None if g is None else _Relative(g.relative(), g.poisson()) for g in grids]
    return [_judge_one(known, j, radius, params) for j in range(len(known))]


@dataclass(frozen=True, slots=True, eq=False)
class _Relative:
    """Block means divided by their mean, and the variance that counting gives to them."""

    means: NDArray[np.float64]
    poisson: float


def _judge_one(known: Sequence[_Relative | None], j: int, radius: int, params: ContrastParams) -> Usability:
    stop = min(j + radius + 1, len(known))
    start = min(max(0, stop - params.history), j)
    own = known[j]
    if own is None:
        return Usability(False, np.nan, np.nan)
    group = [g for g in known[start:stop] if g is not None and g.means.shape == own.means.shape]
    place = next(k for k, g in enumerate(group) if g is own)
    if len(group) < FEWEST:
        return Usability(True, np.nan, np.nan)
    scores, limit = _scores(group, params)
    return Usability(bool(scores[place] <= limit), float(scores[place]), float(limit))


def _scores(group: Sequence[_Relative], params: ContrastParams) -> tuple[NDArray[np.float64], float]:
    relative = np.stack([g.means for g in group])
    poisson = np.array([g.poisson for g in group])
    accepted = np.ones(len(group), bool)
    for _ in range(ITERATIONS):
        ratio = relative / _typical(relative[accepted])
        scores = np.sqrt(np.maximum(0, np.nanvar(ratio, axis=(1, 2)) - poisson))
        limit = max(params.floor, params.factor * float(np.quantile(scores, 0.25)))
        before, accepted = accepted, scores <= limit
        if (before == accepted).all() or accepted.sum() < FEWEST:
            break
    return scores, limit


def _typical(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of each block; not a number where no stack has pixels, or most have no counts."""
    missing = np.isnan(relative)
    if not missing.any():
        median = np.median(relative, axis=0)
        return np.where(median > 0, median, np.nan)
    seen = ~missing.all(axis=0)
    median = np.full(seen.shape, np.nan)
    median[seen] = np.nanmedian(relative[:, seen], axis=0)
    return np.where(median > 0, median, np.nan)

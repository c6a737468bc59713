"""Where a tail of outliers begins, on either side (Eqs. 4 and 5 of the preprint)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrcz_dask.values.params import OutlierParams

TAIL_START = 0.5
FEWEST_BINS = 2
HIGHEST = 8.0
LOWEST = {"paper": 2.5, "fdr": 1.3}
KEPT = (4.0, 3.25)  # rule fdr: thresholds are never nearer than this (dark, hot)
EXCESS = 3.0
LAD_STEPS = 50

Floats = NDArray[np.float64]
Line = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tail:
    """One side's threshold.

    Attributes
    ----------
    threshold
        Distance from the centre in sigma, positive; inf = no tail on this side.
    line
        Slope and intercept of r against z, both as seen from this side; None = not fitted.
    fallback
        Whether the tail could not be fitted and the fixed threshold stands in.
    """

    threshold: float
    line: Line | None = None
    fallback: bool = False


NO_TAIL = Tail(math.inf)


def hot_tail(z: Floats, beyond: NDArray[np.int64], total: int, params: OutlierParams) -> Tail:
    """Return the threshold of the hot side.

    Parameters
    ----------
    z
        Upper edges of the bins in sigma, rising.
    beyond
        Pixels above each edge.
    total
        All finite pixels.
    params
        Rule, limit and fallback.
    """
    return _tail(z, beyond, total, params, dark=False)


def dark_tail(z: Floats, upto: NDArray[np.int64], total: int, params: OutlierParams) -> Tail:
    """Return the threshold of the dark side, as a positive distance; `upto`: pixels up to each edge."""
    return _tail(-z[::-1], upto[::-1], total, params, dark=True)


def residuals(z: Floats, beyond: NDArray[np.int64], total: int) -> Floats:
    """Return r = z - probit(c), with c the share up to each edge; -inf where nothing lies beyond."""
    q: Floats = -special.ndtri(beyond / total)
    return z - q


def _tail(z: Floats, beyond: NDArray[np.int64], total: int, params: OutlierParams, *, dark: bool) -> Tail:
    inside = (z > TAIL_START) & (beyond > 0)
    x, r = z[inside], residuals(z[inside], beyond[inside], total)
    start = int(np.flatnonzero(r <= params.lim)[-1]) + 1 if (r <= params.lim).any() else 0
    if start == x.size:
        return NO_TAIL
    line = _least_absolute_line(x[start:], r[start:]) if x.size - start >= FEWEST_BINS else None
    if line is not None and line[0] > 0 and LOWEST[params.rule] < -line[1] / line[0] < HIGHEST:
        return Tail(_threshold(-line[1] / line[0], params, dark), line)
    return _fallback(z, beyond, total, params, dark)


def _fallback(z: Floats, beyond: NDArray[np.int64], total: int, params: OutlierParams, dark: bool) -> Tail:
    t = abs(params.fallback[0 if dark else 1])
    observed = int(beyond[z >= t].max(initial=0))
    if observed <= EXCESS * total * float(special.ndtr(-t)):
        return NO_TAIL
    return Tail(_threshold(t, params, dark), fallback=True)


def _threshold(t: float, params: OutlierParams, dark: bool) -> float:
    """Move Eq. 5's threshold to where only `tail_fdr` of the pixels beyond it are good ones."""
    if params.rule == "paper":
        return t
    moved = -float(special.ndtri(params.tail_fdr * special.ndtr(-t))) / params.rho
    return max(moved, KEPT[0 if dark else 1])


def _least_absolute_line(x: Floats, y: Floats) -> Line | None:
    """Return slope and intercept of the line of least absolute deviations.

    Such a line passes through two of the points: turn it about one of them to the best slope, a weighted
    median, then about the point found, until it stays.
    """
    pivot, slope = x.size // 2, math.nan
    for _ in range(LAD_STEPS):
        others = np.flatnonzero(x != x[pivot])
        if others.size == 0:
            return None
        run = x[others] - x[pivot]
        slopes = (y[others] - y[pivot]) / run
        best = _weighted_median(slopes, np.abs(run))
        if slopes[best] == slope:
            break
        slope, pivot = float(slopes[best]), int(others[best])
    return slope, float(y[pivot] - slope * x[pivot])


def _weighted_median(values: Floats, weights: Floats) -> int:
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    return int(order[np.searchsorted(cumulative, cumulative[-1] / 2)])

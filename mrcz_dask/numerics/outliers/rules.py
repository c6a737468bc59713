"""Find the thresholds of hot and dead pixels in the histogram of a sum (Eqs. 4 and 5 of the preprint).

Each rule acts on a histogram with a fitted normal distribution. A sparse sum has a threshold of its own,
whatever the rule is; see `value_weights`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.values.choices import Rule
from mrcz_dask.values.params import OutlierParams

TAIL_START = 0.5
FEWEST_BINS = 2
HIGHEST = 8.0
NEAREST = (4.0, 3.25)  # rule fdr: thresholds are never nearer than this (dark, hot)
EXCESS = 3.0
LAD_STEPS = 50

TailLine = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tail:
    """The threshold of hot, or of dead, pixels: where the histogram's tail leaves the normal distribution.

    Attributes
    ----------
    threshold
        Distance from the center in sigma, positive; inf = no tail on this side.
    line
        Slope and intercept of r against z, both as seen from this side; None = not fitted.
    fallback
        Whether the tail could not be fitted and the fixed threshold stands in.
    """

    threshold: float
    line: TailLine | None = None
    fallback: bool = False


NO_TAIL = Tail(math.inf)


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """Rule that finds the threshold of outliers from where a line through the tail crosses zero.

    Attributes
    ----------
    lowest
        Sigma; a line that crosses zero nearer to the center is no tail, and the fallback stands in.
    threshold
        Returns the threshold in sigma from that place in sigma, the parameters, and whether the side is dark.
    few_good
        Whether the threshold moves on outwards to where at most `tail_fdr` of the pixels that are counted
        beyond it are expected to be good. With few counts the values are steps.
    spares_specimen
        Whether pixels that are like those around stay.
    """

    lowest: float
    threshold: Callable[[float, OutlierParams, bool], float]
    few_good: bool = False
    spares_specimen: bool = True


def _where_few_are_good(t: float, params: OutlierParams, dark: bool) -> float:
    """Go out to where only `tail_fdr` of the pixels beyond are good ones."""
    moved = -float(special.ndtri(params.tail_fdr * special.ndtr(-t))) / params.rho
    return max(moved, NEAREST[0 if dark else 1])


RULES: Mapping[Rule, ThresholdRule] = {
    "paper": ThresholdRule(2.5, lambda t, params, dark: t, spares_specimen=False),
    "fdr": ThresholdRule(1.3, _where_few_are_good, few_good=True),
}


def fit_tail(
    z: Floats, beyond: NDArray[np.int64], total: int, params: OutlierParams, *, dark: bool = False
) -> Tail:
    """Find the threshold of hot (or `dark`: dead) pixels, where the histogram leaves the normal distribution.

    Parameters
    ----------
    z
        Edges of the bins in sigma, rising; of the dark side with the other sign, in reverse order.
    beyond
        Pixels outside each edge.
    total
        All finite pixels.
    params
        Rule, limit and fallback.
    dark
        Which of the two sides it is: their limits differ.
    """
    inside = (z > TAIL_START) & (beyond > 0)
    x, r = z[inside], residuals(z[inside], beyond[inside], total)
    start = int(np.flatnonzero(r <= params.lim)[-1]) + 1 if (r <= params.lim).any() else 0
    if start == x.size:
        return NO_TAIL
    line = least_absolute_line(x[start:], r[start:]) if x.size - start >= FEWEST_BINS else None
    t = -line[1] / line[0] if line is not None and line[0] > 0 else math.nan
    rule = RULES[params.rule]
    fallback = not rule.lowest < t < HIGHEST
    if fallback:
        line, t = None, abs(params.fallback[0 if dark else 1])
        if int(beyond[z >= t].max(initial=0)) <= EXCESS * total * float(special.ndtr(-t)):
            return NO_TAIL
    threshold = rule.threshold(t, params, dark)
    if rule.few_good:
        below = max(0, int(np.searchsorted(z, threshold * params.rho)) - 1)  # values above it may be masked
        many = total * special.ndtr(-z[below:]) > params.tail_fdr * beyond[below:]
        if many[0] and not many.all():
            threshold = max(threshold, float(z[below + int(np.argmin(many))]) / params.rho)
    return Tail(threshold, line, fallback)


def residuals(z: Floats, beyond: NDArray[np.int64], total: int) -> Floats:
    """Return how far the histogram lies from the normal distribution at each bin edge: z minus the probit of
    the share of pixels inside.
    """
    q: Floats = -special.ndtri(beyond / total)
    return z - q


def least_absolute_line(x: Floats, y: Floats) -> TailLine | None:
    """Fit a line with the least sum of absolute deviations to points; return slope and intercept, or None if
    all x are equal.

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
        order = np.argsort(slopes, kind="stable")
        cumulative = np.cumsum(np.abs(run)[order])
        best = int(order[np.searchsorted(cumulative, cumulative[-1] / 2)])
        if slopes[best] == slope:
            break
        slope, pivot = float(slopes[best]), int(others[best])
    return slope, float(y[pivot] - slope * x[pivot])

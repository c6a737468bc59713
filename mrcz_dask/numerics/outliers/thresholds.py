"""From the values of a sum to a weight for each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrcz_dask.numerics.outliers.histogram import Histogram, ValueTable, bins, tabulate
from mrcz_dask.numerics.outliers.probit import Axis, Normal, fit_normal, misfit, symmetric_axis
from mrcz_dask.numerics.outliers.tails import NO_TAIL, Line, Tail, dark_tail, hot_tail, residuals
from mrcz_dask.numerics.outliers.weights import soft_weight
from mrcz_dask.values.errors import OutlierError
from mrcz_dask.values.params import OutlierParams

FEWEST_OCCUPIED = 3
SPARSE_ZEROS = 0.3
SPARSE_SHARE = 0.1
NEGATIVE_SHARE = 1e-4
DARK_EXPECTED = 0.05
MOST_MASKED = 0.2
QUIET = 0.5  # share of the noise of counting below which integers are no counts, but a signal with an offset

Status = Literal["ok", "sparse", "implausible", "degenerate"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """An image of integers whose outliers are looked for.

    Attributes
    ----------
    values
        (y, x) integers; times `unit` they are counts.
    unit
        Counts per unit of `values`.
    counts
        Whether the noise is at least Poisson's (counts, or counts lit evenly afterwards).
    nonfinite
        (y, x) bool, True = left out; None = nowhere.
    """

    values: NDArray[Any]
    unit: float
    counts: bool
    nonfinite: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FitRecord:
    """What a plot of the fit shows, one item for each bin of the histogram.

    Attributes
    ----------
    edges
        Upper edges, counts.
    counts
        Pixels.
    z, q, r
        Deviation from the centre in sigma, probit of the cumulative share (infinite at 0 and 1), z - q.
    below, above
        Pixels under the first bin, and over the last one.
    dark_line, hot_line
        Slope and intercept of r against z in the tail (Eq. 5); None = no tail fitted.
    """

    edges: Floats
    counts: NDArray[np.int64]
    z: Floats
    q: Floats
    r: Floats
    below: int
    above: int
    dark_line: Line | None
    hot_line: Line | None


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What the histogram of an image says.

    Attributes
    ----------
    table
        The values found.
    weight
        float32, for each entry of `table`: 1 = good, 0 = outlier.
    status
        ``ok``, ``sparse``, ``implausible`` or ``degenerate``.
    mu, sigma
        Centre and width of the good pixels, counts; not a number where not fitted.
    t_dark, t_hot
        Thresholds in sigma; -inf, +inf where off.
    misfit
        max |c - Phi(z)|.
    spread
        Width relative to Poisson's.
    middle, half
        Median and robust width, counts.
    caveats
        What the user should know.
    fit
        For plots; None where not fitted.
    """

    table: ValueTable
    weight: NDArray[np.float32]
    status: Status
    mu: float = math.nan
    sigma: float = math.nan
    t_dark: float = -math.inf
    t_hot: float = math.inf
    misfit: float = math.nan
    spread: float = math.nan
    middle: float = math.nan
    half: float = math.nan
    caveats: tuple[str, ...] = ()
    fit: FitRecord | None = None


def examine(image: Image, params: OutlierParams) -> Verdict:
    """Weigh every value of an image.

    Raises
    ------
    OutlierError
        If no pixel is finite.
    """
    table = tabulate(image.values, image.nonfinite, params.max_sigma)
    if table is None:
        raise OutlierError(
            f"no pixel of {image.values.shape} is finite in every frame; expected counts: leave this "
            "stack out, or the frames that hold nothing else"
        )
    if table.occupied < FEWEST_OCCUPIED:
        return _degenerate(table, f"the sum has only {table.occupied} different values")
    if image.counts and image.unit == 1 and _zeros(table) > SPARSE_ZEROS * table.total:
        return _plausible(_sparse(table, image.unit))
    return _plausible(_fitted(table, image, params))


def _degenerate(table: ValueTable, why: str) -> Verdict:
    caveat = f"no outlier mask: {why}; this stack is left as it is and is no reference for others"
    return Verdict(table, np.ones(table.counts.size, np.float32), "degenerate", caveats=(caveat,))


def _plausible(verdict: Verdict) -> Verdict:
    """Refuse a mask that takes too much."""
    masked = int(verdict.table.counts[verdict.weight < 0.5].sum())
    share = masked / verdict.table.total
    if share <= MOST_MASKED:
        return verdict
    caveat = (
        f"no outlier mask: {share:.1%} of the pixels would be masked, expected at most {MOST_MASKED:.0%}; "
        "this stack is left as it is and is no reference for others"
    )
    return Verdict(
        verdict.table, np.ones_like(verdict.weight), "implausible", verdict.mu, verdict.sigma,
        misfit=verdict.misfit, spread=verdict.spread, middle=verdict.middle, half=verdict.half,
        caveats=(*verdict.caveats, caveat), fit=verdict.fit,
    )  # fmt: skip


def _zeros(table: ValueTable) -> int:
    return int(table.counts[0]) if table.least >= 0 and table.first == 0 and table.shift == 0 else 0


def _sparse(table: ValueTable, unit: float) -> Verdict:
    """Cut where Poisson counts of the rate told by the share of zeros leave almost nothing."""
    rate = -math.log(_zeros(table) / table.total)
    values = np.arange(table.counts.size)
    observed = table.total - np.cumsum(table.counts) + table.counts
    expected = table.total * special.pdtrc(values - 1.0, rate)
    allowed = (values > rate + 1) & (expected <= SPARSE_SHARE * np.maximum(observed, 1))
    cut = int(np.flatnonzero(allowed)[0]) if allowed.any() else table.counts.size
    sigma = math.sqrt(rate)
    t_hot = (cut - 0.5 - rate) / sigma if allowed.any() else math.inf
    weight = (values < cut).astype(np.float32)
    return Verdict(table, weight, "sparse", rate * unit, sigma * unit, t_hot=t_hot)


def _fitted(table: ValueTable, image: Image, params: OutlierParams) -> Verdict:
    middle, half = table.robust()
    poisson = math.sqrt(max(middle * image.unit, 0)) / image.unit
    counts = image.counts and half > QUIET * poisson
    if counts:
        half = max(half, poisson)
    histogram = bins(table, middle, half, params.max_sigma, counts and image.unit == 1)
    negative = table.below(0) > NEGATIVE_SHARE * table.total
    axis = symmetric_axis(middle * image.unit, half * image.unit, negative, counts)
    h = axis.forward(histogram.edges * image.unit)
    normal = fit_normal(h, histogram.cumulative(), histogram.total, params.fit)
    if normal is None:
        return _degenerate(table, "its values are too few to fit a normal distribution")
    return _weighed(table, image, params, axis, normal, histogram, (middle * image.unit, half * image.unit))


def _weighed(
    table: ValueTable, image: Image, params: OutlierParams, axis: Axis, normal: Normal, histogram: Histogram,
    robust: tuple[float, float],
) -> Verdict:  # fmt: skip
    z = normal.z(axis.forward(histogram.edges * image.unit))
    upto, total = histogram.cumulative(), histogram.total
    hot = hot_tail(z, total - upto, total, params)
    dark = NO_TAIL if _may_be_empty(table, axis) else dark_tail(z, upto, total, params)
    inner = normal.z(axis.forward(table.centres() * image.unit))
    weight = soft_weight(inner, -dark.threshold, hot.threshold, params)
    at, low, high = (axis.backward(normal.mu + side * normal.sigma) for side in (0, -1, 1))
    record = _record(histogram, image.unit, z, dark, hot)
    return Verdict(
        table, weight, "ok", at, (high - low) / 2, -dark.threshold, hot.threshold, misfit(z, upto, total),
        normal.sigma, *robust, tuple(_fallback_caveats(dark, hot)), record,
    )  # fmt: skip


def _may_be_empty(table: ValueTable, axis: Axis) -> bool:
    """Whether a live pixel can count nothing, so that a dark one cannot be told from it."""
    if table.least < 0 or axis.linear:
        return False
    return table.total * math.exp(-axis.middle / axis.gain) > DARK_EXPECTED


def _fallback_caveats(dark: Tail, hot: Tail) -> list[str]:
    return [
        f"the {name} tail could not be fitted; a fixed threshold of {tail.threshold:.2f} sigma was used"
        for name, tail in (("dark", dark), ("hot", hot))
        if tail.fallback
    ]


def _record(histogram: Histogram, unit: float, z: Floats, dark: Tail, hot: Tail) -> FitRecord:
    q = special.ndtri(histogram.cumulative() / histogram.total)
    r = residuals(z, histogram.total - histogram.cumulative(), histogram.total)
    # seen from the dark side z and r change sign: r = a z + b becomes r = a z - b
    mirrored = None if dark.line is None else (dark.line[0], -dark.line[1])
    return FitRecord(
        histogram.edges * unit,
        histogram.counts,
        z,
        q,
        r,
        histogram.below,
        histogram.above,
        mirrored,
        hot.line,
    )

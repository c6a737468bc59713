"""Compute a weight (1 = good, 0 = outlier) for each value of a sum from the histogram of all values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.numerics.outliers.axis import Axis, ValueKind
from mrcz_dask.numerics.outliers.histogram import Histogram, ValueTable, tabulate
from mrcz_dask.numerics.outliers.rules import NO_TAIL, Tail, TailLine, fit_tail, residuals
from mrcz_dask.numerics.outliers.weights import soft_weight
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.values.errors import OutlierError
from mrcz_dask.values.params import OutlierParams

FIRST_RANGE = (0.1, 0.9)
RANGE = (0.03, 0.97)
HOT_UPPER = 0.90
HOT_SHARE = 0.01
CLEAN_SIGMA = 4.5
ROUNDS = 2

TENTH = 0.1  # quantile that tells the skewness: z = 1.2816, skewness = 6 / z times what is seen there
SKEWNESS = 6 / 1.2816

FEWEST_OCCUPIED = 3
SPARSE_ZEROS = 0.3
SPARSE_SHARE = 0.1
NEGATIVE_SHARE = 1e-4
DARK_EXPECTED = 0.05
MOST_MASKED = 0.2
QUIET = 0.5  # share of the noise of counting below which integers are no counts, but a signal with an offset
UNUSED = "this stack is left as it is and is no reference for others; look at its image"

MaskStatus = Literal["ok", "sparse", "implausible", "degenerate"]


@dataclass(frozen=True, slots=True)
class Normal:
    """The fitted normal distribution of good pixels: center and width on the axis h."""

    mu: float
    sigma: float

    def z(self, h: Floats) -> Floats:
        """Convert positions on the axis h to deviations from the center, in sigma."""
        return (h - self.mu) / self.sigma


def fit_normal(
    h: Floats, cumulative: NDArray[np.int64], total: int, how: Literal["probit", "l1"] = "probit"
) -> Normal | None:
    """Fit a normal distribution, that of the good pixels, to the cumulative histogram of a sum.

    Parameters
    ----------
    h
        Upper edges of the bins on the symmetric axis, rising.
    cumulative
        Pixels up to each edge.
    total
        All finite pixels, those outside the bins too.
    how
        ``probit``: weighted regression of probit(c) on h, closed form; ``l1``: then the least sum of
        |c - Phi(z)| (Eqs. 2 and 3).

    Returns
    -------
    Normal or None
        None where there are fewer than two different points to fit.
    """
    normal = _regress(h, cumulative / total, *FIRST_RANGE)
    for _ in range(ROUNDS):
        if normal is None:
            return None
        # pixels beyond CLEAN_SIGMA are no part of the bulk: take them out, and fit the rest
        z = normal.z(h)
        cold = int(cumulative[z <= -CLEAN_SIGMA].max(initial=0))
        hot = total - int(cumulative[z <= CLEAN_SIGMA].max(initial=0))
        bulk = np.clip((cumulative - cold) / max(total - cold - hot, 1), 0, 1)
        normal = _regress(h, bulk, RANGE[0], HOT_UPPER if hot >= HOT_SHARE * total else RANGE[1])
    if normal is None or how == "probit":
        return normal

    def distance(p: Floats) -> float:
        """Return the sum of |c - Phi(z)| for a center and a width."""
        return float(np.abs(cumulative / total - special.ndtr((h - p[0]) / p[1])).sum())

    bounds = [(float(h[0]), float(h[-1])), (normal.sigma / 4, normal.sigma * 4)]
    start = [normal.mu, normal.sigma]
    mu, sigma = optimize.minimize(distance, start, method="L-BFGS-B", bounds=bounds).x
    return Normal(float(mu), float(sigma))


def _regress(h: Floats, c: Floats, low: float, high: float) -> Normal | None:
    """Fit probit(c) = (h - mu) / sigma where c is between low and high, or anywhere if these are too few."""
    inside = (c > low) & (c < high)
    if np.count_nonzero(inside) < 2:
        inside = (c > 0) & (c < 1)
    if np.count_nonzero(inside) < 2:
        return None
    x, share = h[inside], c[inside]
    q = special.ndtri(share)
    weight = np.exp(-q * q) / (share * (1 - share))
    weight /= weight.sum()
    x0, q0 = float((weight * x).sum()), float((weight * q).sum())
    slope = float((weight * (x - x0) * (q - q0)).sum()) / float((weight * (x - x0) ** 2).sum())
    return Normal(x0 - q0 / slope, 1 / slope) if slope > 0 else None


@dataclass(frozen=True, slots=True, eq=False)
class FitRecord:
    """Record of the fit to a sum's histogram, one item for each bin, from which it is plotted.

    Attributes
    ----------
    edges
        Upper edges, counts.
    counts
        Pixels.
    z, q, r
        Deviation from the center in sigma, probit of the cumulative share (infinite at 0 and 1), z - q.
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
    dark_line: TailLine | None
    hot_line: TailLine | None


@dataclass(frozen=True, slots=True, eq=False)
class ValueWeights:
    """Weights of a sum's values (1 = good, 0 = outlier), with the thresholds and fit they came from.

    Attributes
    ----------
    table
        The values of the sum.
    weight
        float32, for each entry of `table`: 1 = good, 0 = outlier.
    status
        ``ok``, ``sparse``, ``implausible`` or ``degenerate``.
    mu, sigma
        Center and width of the good pixels, counts; not a number where not fitted.
    t_dark, t_hot
        Thresholds in sigma; -inf, +inf where off.
    misfit
        max |c - Phi(z)|.
    spread
        Width relative to Poisson's.
    middle, half
        Median and robust width, counts.
    caveats
        Doubts that the user should know.
    fit
        For plots; None where not fitted.
    kind, fano
        What values they are, and their variance over the mean, or the factor of scaled counts.
    """

    table: ValueTable
    weight: NDArray[np.float32]
    status: MaskStatus
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
    kind: ValueKind = "counts"
    fano: float = 1.0


def weigh_values(total: StackSum, params: OutlierParams) -> ValueWeights:
    """Fit the histogram of a sum, and compute the weight (1 = good, 0 = outlier) of every value.

    Raises
    ------
    OutlierError
        If no pixel is finite.
    """
    table = tabulate(total.values, total.nonfinite, params.max_sigma)
    if table is None:
        raise OutlierError(
            f"no pixel of {total.shape} is finite in every frame; expected counts: leave this "
            "stack out, or the frames that hold nothing else"
        )
    occupied, zeros = np.count_nonzero(table.counts), 0
    if total.exponent == 0 and table.least >= 0 and table.first == 0 and table.shift == 0:
        zeros = int(table.counts[0])
    if occupied < FEWEST_OCCUPIED:
        return _degenerate(table, f"the sum has only {occupied} different values")
    step = table.step() if total.exponent == 0 else 1
    sparse = zeros > SPARSE_ZEROS * table.total
    weights = _sparse(table, zeros, step) if sparse else _fitted(table, total, params, step)

    masked = int(table.counts[weights.weight < 0.5].sum()) / table.total
    if masked <= MOST_MASKED:
        return weights
    caveat = (
        f"no outlier mask: {masked:.1%} of the pixels would be masked, expected at most {MOST_MASKED:.0%}; "
        f"{UNUSED}"
    )
    return replace(
        weights,
        weight=np.ones_like(weights.weight),
        status="implausible",
        t_dark=-math.inf,
        t_hot=math.inf,
        caveats=(*weights.caveats, caveat),
    )


def _degenerate(table: ValueTable, why: str) -> ValueWeights:
    caveats = (f"no outlier mask: {why}; {UNUSED}",)
    return ValueWeights(table, np.ones(table.counts.size, np.float32), "degenerate", caveats=caveats)


def _sparse(table: ValueTable, zeros: int, step: int) -> ValueWeights:
    """Cut where Poisson counts of the rate told by the share of zeros leave almost nothing.

    The values are `step` times the counts.
    """
    rate = -math.log(zeros / table.total)
    values = np.arange(table.counts.size) / step
    observed = table.total - np.cumsum(table.counts) + table.counts
    expected = table.total * special.pdtrc(np.ceil(values) - 1.0, rate)
    allowed = (values > rate + 1) & (expected <= SPARSE_SHARE * np.maximum(observed, 1))
    cut = int(np.flatnonzero(allowed)[0]) if allowed.any() else table.counts.size
    sigma = math.sqrt(rate)
    t_hot = (cut / step - 0.5 - rate) / sigma if allowed.any() else math.inf
    weight = (np.arange(values.size) < cut).astype(np.float32)
    kind: ValueKind = "counts" if step == 1 else "scaled counts"
    return ValueWeights(table, weight, "sparse", rate * step, sigma * step, t_hot=t_hot, kind=kind, fano=step)


def _fitted(table: ValueTable, total: StackSum, params: OutlierParams, step: int) -> ValueWeights:
    """Fit a normal distribution and the tails beyond it; the values are `step` times the counts."""
    unit, (middle, half) = total.unit, table.robust(step)
    poisson = math.sqrt(max(middle * unit * step, 0)) / unit
    counts = total.is_counts and half > QUIET * poisson
    if counts:
        half = max(half, poisson)
    histogram = table.histogram(middle, half, params.max_sigma, counts and total.exponent == 0, step)
    below_zero = int(table.counts[table.centers() < 0].sum())
    low, high = table.quantile(TENTH), table.quantile(1 - TENTH)
    skew = SKEWNESS * (low + high - 2 * middle) / (high - low)
    negative = below_zero > NEGATIVE_SHARE * table.total
    axis = Axis.of(middle * unit, half * unit, negative, counts, step, skew)
    h, upto, number = axis.forward(histogram.edges * unit), histogram.cumulative(), histogram.total
    normal = fit_normal(h, upto, number, params.fit)
    if normal is None:
        return _degenerate(table, "its values are too few to fit a normal distribution")

    z = normal.z(h)
    kind = axis.kind(step, counts) if counts or not total.is_counts else "noise"
    if kind not in ("counts", "scaled counts"):  # the tails of others differ more from the normal ones
        params = replace(params, tail_fdr=params.tail_fdr / 2)
    hot = fit_tail(z, number - upto, number, params)
    # where a live pixel can count nothing, a dark one cannot be told from it
    may_be_empty = not axis.linear and (table.least >= 0 or axis.offset > 0)
    if may_be_empty and table.total * math.exp(-axis.electrons) > DARK_EXPECTED:
        dark = NO_TAIL
    else:
        dark = fit_tail(-z[::-1], upto[::-1], number, params, dark=True)
    inner = normal.z(axis.forward(table.centers() * unit))
    at, low, high = (axis.backward(normal.mu + side * normal.sigma) for side in (0, -1, 1))
    return ValueWeights(
        table,
        soft_weight(inner, -dark.threshold, hot.threshold, params),
        "ok",
        mu=at,
        sigma=(high - low) / 2,
        t_dark=-dark.threshold,
        t_hot=hot.threshold,
        misfit=float(np.abs(upto / number - special.ndtr(z)).max()),
        spread=normal.sigma,
        middle=middle * unit,
        half=half * unit,
        caveats=tuple(
            f"the {name} tail could not be fitted; a fixed threshold of {tail.threshold:.2f} sigma "
            "was used; look at its histogram in the report"
            for name, tail in (("dark", dark), ("hot", hot))
            if tail.fallback
        ),
        fit=_record(histogram, unit, z, dark, hot),
        kind=kind,
        fano=axis.gain,
    )


def _record(histogram: Histogram, unit: float, z: Floats, dark: Tail, hot: Tail) -> FitRecord:
    upto, number = histogram.cumulative(), histogram.total
    return FitRecord(
        edges=histogram.edges * unit,
        counts=histogram.counts,
        z=z,
        q=special.ndtri(upto / number),
        r=residuals(z, number - upto, number),
        below=histogram.below,
        above=histogram.above,
        # seen from the dark side z and r change sign: r = a z + b becomes r = a z - b
        dark_line=None if dark.line is None else (dark.line[0], -dark.line[1]),
        hot_line=hot.line,
    )

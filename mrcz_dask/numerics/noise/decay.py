"""Fit y = a x**b + c to correlated noise over dose (Eqs. 12 and 13), with errors and open questions."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.values.errors import ParameterError

EXPONENTS = (-4.0, -0.05)
GRID = 120
FEWEST = 4
FEWEST_GROUPS = 3
# A fall of so many standard errors is one; parameters with larger relative errors are not decided.
SURE = 3.0
VAGUE = 0.5
ALIKE = 0.98
EDGE = 1e-6
EXACT = 1e-9


@dataclass(frozen=True, slots=True)
class Decay:
    """The curve y = a x**b + c, by which R falls with the dose or the window radius."""

    a: float
    b: float
    c: float

    def at(self, x: float) -> float:
        """Return y of the curve at x."""
        return self.a * math.pow(x, self.b) + self.c


@dataclass(frozen=True, slots=True)
class DecayFit:
    """Result of fitting a decay: the curve, its errors, and warnings about what the points leave open.

    Attributes
    ----------
    curve
        None where no decay is seen, or there are too few points.
    covariance
        Covariance of a, b, c, row by row; None without a curve.
    constant
        Mean of all y, and its standard error (not a number for one group).
    fall
        From the smallest x to the largest, and its standard error; None with too few points.
    words
        Questions that the points leave open, in words.
    """

    curve: Decay | None
    covariance: tuple[tuple[float, ...], ...] | None
    constant: tuple[float, float]
    fall: tuple[float, float] | None
    words: tuple[str, ...]

    @property
    def errors(self) -> tuple[float, float, float] | None:
        """Standard errors of a, b and c; None without a curve."""
        if self.covariance is None:
            return None
        a, b, c = (math.sqrt(max(0.0, self.covariance[k][k])) for k in range(3))
        return a, b, c

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as plain values, for JSON."""
        curve = self.curve and {"a": self.curve.a, "b": self.curve.b, "c": self.curve.c}
        return {
            "curve": curve,
            "errors": self.errors and dict(zip("abc", self.errors, strict=True)),
            "covariance": self.covariance and [list(row) for row in self.covariance],
            "constant": list(self.constant),
            "fall": self.fall and list(self.fall),
            "words": list(self.words),
        }

    def __str__(self) -> str:
        if self.curve is None or self.errors is None:
            return f"constant {_number(*self.constant)}"
        (a, b, c), (da, db, dc) = (self.curve.a, self.curve.b, self.curve.c), self.errors
        return f"a = {_number(a, da)}, b = {_number(b, db)}, c = {_number(c, dc)}"


def fit_decay(
    x: Sequence[float], y: Sequence[float], groups: Sequence[Hashable] | None = None, axis: str = "x"
) -> DecayFit:
    """Fit the decay y = a x**b + c to points by least squares, all points weighted alike.

    Parameters
    ----------
    x, y
        Points, x > 0.
    groups
        Group of each point, such as its stack: points of one group share their random part. Errors are
        jackknife errors: each group is left out once. None, or fewer than three different: every point is a
        group.
    axis
        Name of x, for the words.

    Raises
    ------
    ParameterError
        For no points, other numbers of x, y and groups, or values that are not finite or x <= 0.

    Notes
    -----
    Eqs. 12 and 13 of McLeod et al. 2017 (bioRxiv 116533). Variable projection: for each b in -4..-0.05 a
    and c are a straight line in x**b. b is looked for on a grid, then by Brent's method round the best. No
    start values.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    fits = xs.shape == ys.shape and xs.ndim == 1 and (groups is None or len(groups) == xs.size)
    if not fits or not xs.size or not (np.isfinite(xs).all() and np.isfinite(ys).all() and (xs > 0).all()):
        raise ParameterError(
            f"{xs.size} values of x and {ys.size} of y; expected as many of both, finite, and x above 0"
        )
    labels: list[Hashable] = list(range(xs.size) if groups is None else groups)
    words = []
    if groups is not None and len(set(labels)) < FEWEST_GROUPS:
        words.append(f"errors are from the scatter of single points: only {len(set(labels))} stacks")
        labels = list(range(xs.size))
    kept = [np.array([label != left_out for label in labels]) for left_out in dict.fromkeys(labels)]
    constant = float(ys.mean()), math.nan
    if len(kept) > 1:
        means = np.array([[float(ys[part].mean())] for part in kept])
        constant = constant[0], math.sqrt(float(_jackknife(means)[0, 0]))
    different = np.unique(xs).size
    if different < FEWEST:
        few = f"{different} different values of {axis}: three parameters need at least {FEWEST}"
        return DecayFit(None, None, constant, None, (*words, few))

    low, high = float(xs.min()), float(xs.max())
    curve = _fit(xs, ys)
    others = [_fit(xs[part], ys[part]) for part in kept if np.unique(xs[part]).size >= FEWEST - 1]
    covariance = _jackknife(np.array([[d.a, d.b, d.c, d.at(low) - d.at(high)] for d in others]))
    fall, error = curve.at(low) - curve.at(high), math.sqrt(covariance[3, 3])
    if not fall > SURE * error:
        verb = "rises" if fall < -SURE * error else "does not fall beyond chance"
        change = f"change {-fall:+.2g} ± {error:.2g}"
        words.append(f"no decay: from the smallest {axis} to the largest it {verb} ({change})")
        return DecayFit(None, None, constant, (fall, error), tuple(words))
    words += _doubts(curve, covariance, (low, high), axis)
    of_abc = tuple(tuple(float(v) for v in row[:3]) for row in covariance[:3])
    return DecayFit(curve, of_abc, constant, (fall, error), tuple(words))


def _doubts(curve: Decay, covariance: Floats, ends: tuple[float, float], axis: str) -> Iterator[str]:
    error = np.sqrt(np.diag(covariance))
    low, high = ends
    fall = curve.at(low) - curve.at(high)
    if curve.b >= EXPONENTS[1] - EDGE:
        each = fall / math.log2(high / low)
        yield (
            f"it falls like a logarithm, by {each:.3g} whenever {axis} doubles: b is at its bound "
            f"{EXPONENTS[1]}, and a and c alone mean nothing"
        )
    elif curve.b <= EXPONENTS[0] + EDGE:
        yield f"it falls within the first {axis}: b is at its bound {EXPONENTS[0]} and says no more than that"
    elif error[1] > VAGUE * abs(curve.b):
        yield f"the exponent is not decided: b = {_number(curve.b, float(error[1]))}"
    product = error[0] * error[2]
    alike = -float(covariance[0, 2]) / product if product > 0 else 0.0
    if error[0] > VAGUE * curve.a and alike > ALIKE:
        yield (
            f"a and c cannot be told apart (correlation {-alike:.3f}): only their sum near the first {axis} "
            "is known; a longer range would tell"
        )
    if EXPONENTS[1] - EDGE > curve.b and error[2] > abs(curve.c):
        left = _number(curve.c, float(error[2]))
        yield f"whether anything is left at large {axis} is not decided: c = {left}"


def _fit(xs: Floats, ys: Floats) -> Decay:
    middle = math.exp(float(np.log(xs).mean()))
    x, y = np.log(xs / middle), ys - ys.mean()
    grid = -np.geomspace(-EXPONENTS[0], -EXPONENTS[1], GRID)
    best = int(np.argmin([float((_line(b, x, y)[1] ** 2).sum()) for b in grid]))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, GRID - 1)])
    b = float(grid[best])
    if _derivative(low, x, y) < 0 < _derivative(high, x, y):
        b = float(brentq(_derivative, low, high, args=(x, y), xtol=1e-14))
    a = _line(b, x, y)[0]
    c = float(ys.mean() - a * np.exp(b * x).mean())
    return Decay(float(a * middle**-b), b, c)


def _line(b: float, x: Floats, y: Floats) -> tuple[float, Floats]:
    """Return the slope of y, which has no mean, against exp(b x), and the residuals."""
    u = np.exp(b * x)
    u -= u.mean()
    power = float((u * u).sum())
    a = float((u * y).sum()) / power if power > 0 else 0.0
    return a, y - a * u


def _derivative(b: float, x: Floats, y: Floats) -> float:
    """Return half the derivative of the sum of squared residuals by b."""
    a, residual = _line(b, x, y)
    u = np.exp(b * x) * x
    return -float((residual * (a * (u - u.mean()))).sum())


def _jackknife(values: Floats) -> Floats:
    """Return the covariance of estimates, given those with one group left out each (groups, estimates)."""
    count = len(values)
    apart = values - values.mean(axis=0)
    return np.asarray((apart[:, :, None] * apart[:, None, :]).sum(axis=0) * (count - 1) / count)


def _number(value: float, error: float) -> str:
    """Return a value with its error, two digits of it."""
    if not (math.isfinite(error) and error > EXACT * abs(value)):
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"

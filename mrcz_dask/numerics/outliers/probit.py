"""Fit a normal distribution to the cumulative histogram of a sum, on an axis where counting noise is
symmetric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

FIRST_RANGE = (0.1, 0.9)
RANGE = (0.03, 0.97)
HOT_UPPER = 0.90
HOT_SHARE = 0.01
CLEAN_SIGMA = 4.5
ROUNDS = 2
GAIN_RANGE = (0.5, 2.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """The axis h on which a sum's counting noise is symmetric, h(d) = 1.5 m**(-1/6) d**(2/3).

    Attributes
    ----------
    middle
        Median m of the sum, counts.
    gain
        g of scaled floats, which are g times a count; 1 for counts.
    linear
        True: h(d) = (d - m)/unit instead.
    unit
        Robust width of the sum, counts.
    """

    middle: float
    gain: float
    linear: bool
    unit: float

    @classmethod
    def of(cls, middle: float, half: float, negative: bool, counts: bool) -> Axis:
        """Choose the axis for the histogram of a sum: symmetric for counts, linear if values are negative.

        Parameters
        ----------
        middle, half
            Median and robust width of the sum, counts.
        negative
            Whether more than stray pixels are below zero.
        counts
            True for integers; floats may be scaled counts.
        """
        linear = middle <= 0 or negative
        gain = 1.0 if linear else half * half / middle
        if counts or GAIN_RANGE[0] <= gain <= GAIN_RANGE[1]:
            gain = 1.0
        return cls(middle, gain, linear, half)

    def forward(self, counts: Floats) -> Floats:
        """Convert counts to positions on the axis h."""
        if self.linear:
            return (counts - self.middle) / self.unit
        root: Floats = np.cbrt(counts / self.gain)
        return self._scale * np.sign(root) * root * root

    def backward(self, h: float) -> float:
        """Convert a position on the axis h to counts."""
        if self.linear:
            return self.middle + h * self.unit
        return math.copysign(math.pow(abs(h) / self._scale, 1.5), h) * self.gain

    @property
    def _scale(self) -> float:
        return 1.5 * math.pow(self.middle / self.gain, -1 / 6)


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

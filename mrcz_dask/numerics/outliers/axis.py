"""The axis on which a sum's counting noise is symmetric, and the kind of values that it tells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mrcz_dask.numerics.arrays import Floats

GAIN_RANGE = (0.5, 2.0)
COUNTS_GAIN = 4.0  # counts with a larger variance over the mean are electrons of several counts, or blobs
LEAST_SKEW = 0.1

ValueKind = Literal["counts", "scaled counts", "blobs", "integrating", "noise"]


@dataclass(frozen=True, slots=True)
class Axis:
    """The axis h on which a sum's counting noise is symmetric, h(d) = 1.5 m**(-1/6) d**(2/3).

    Skewed values with negative ones among them, as of integrating cameras, get an offset first, so that
    variance and skewness are those of counts.

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
    offset
        What is added to the sum, counts.
    """

    middle: float
    gain: float
    linear: bool
    unit: float
    offset: float = 0.0

    @classmethod
    def of(
        cls, middle: float, half: float, negative: bool, counts: bool, step: int = 1, skew: float = 0.0
    ) -> Axis:
        """Choose the axis for the histogram of a sum: symmetric for counts, linear if values are negative.

        Parameters
        ----------
        middle, half
            Median and robust width of the sum, counts.
        negative
            Whether more than stray pixels are below zero.
        counts
            True for integers; floats may be scaled counts.
        step
            Number by which counts were multiplied.
        skew
            Skewness of the sum.
        """
        linear = middle <= 0 or negative
        if linear and skew > LEAST_SKEW:
            gain = skew * half
            return cls(half * half / gain, gain, False, half, half * half / gain - middle)
        gain = 1.0 if linear else half * half / middle
        if gain <= (COUNTS_GAIN if counts else GAIN_RANGE[1]) * step and (counts or gain >= GAIN_RANGE[0]):
            gain = float(step)
        return cls(middle, gain, linear, half)

    def forward(self, counts: Floats) -> Floats:
        """Convert counts to positions on the axis h."""
        if self.linear:
            return (counts - self.middle) / self.unit
        root: Floats = np.cbrt((counts + self.offset) / self.gain)
        return self._scale * np.sign(root) * root * root

    def backward(self, h: float) -> float:
        """Convert a position on the axis h to counts."""
        if self.linear:
            return self.middle + h * self.unit
        return math.copysign(math.pow(abs(h) / self._scale, 1.5), h) * self.gain - self.offset

    @property
    def electrons(self) -> float:
        """Counts per pixel of independent electrons with the same noise; 0 on a linear axis."""
        return 0.0 if self.linear else (self.middle + self.offset) / self.gain

    def kind(self, step: int, counts: bool) -> ValueKind:
        """Return what kind of values a sum on this axis has; `step` is the number that counts were multiplied
        with, `counts` is False for noise that is no counting noise.
        """
        if self.linear:
            return "noise"
        if self.offset or (counts and self.gain > step):
            return "integrating"
        return "scaled counts" if self.gain != 1 else "counts"

    @property
    def _scale(self) -> float:
        return 1.5 * math.pow(self.middle / self.gain, -1 / 6)

"""Outliers in counts: kept, or replaced as a whole by a Poisson draw round the fill."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrcz_dask.numerics.outliers.weights import WEIGHT_STEPS
from mrcz_dask.numerics.philox import Purpose, uniform


@dataclass(frozen=True, slots=True)
class Replacement:
    """The pixels of a stack that may be replaced.

    Attributes
    ----------
    where
        Flat indices of the pixels of weight < 255.
    share
        Probability with which each is kept, 0..1.
    fill
        Expected counts per frame of what replaces it.
    key
        Of the stack's random numbers.
    pedestal
        Counts that every pixel has without noise; the fill is what comes on top.
    """

    where: NDArray[np.int64]
    share: NDArray[np.float64]
    fill: NDArray[np.float64]
    key: int
    pedestal: int = 0

    @classmethod
    def make(
        cls, weight: NDArray[np.uint8], fill: NDArray[np.float32], key: int, pedestal: int = 0
    ) -> Replacement:
        """Return the replacement for weights in 255ths and the fill (ny, nx) of the mean image, counts."""
        where = np.flatnonzero(weight < WEIGHT_STEPS).astype(np.int64)
        share = weight.flat[where].astype(np.float64) / WEIGHT_STEPS
        return cls(where, share, np.maximum(0, fill.flat[where]).astype(np.float64), key, pedestal)

    def at_dose(self, factor: float | None) -> Replacement:
        """Return the replacement for a frame of `factor` times the dose; None = a blank one, kept as is."""
        if factor is None:
            return replace(self, where=self.where[:0], share=self.share[:0], fill=self.fill[:0])
        return self if factor == 1.0 else replace(self, fill=self.fill * max(0.0, factor))

    def apply(self, frame: NDArray[np.integer[Any]], k: int) -> NDArray[np.integer[Any]]:
        """Return frame k (ny, nx, integers) with the pixels drawn for it replaced; in its own dtype."""
        replaced = uniform(self.where, self.key, Purpose.REPLACE, k) >= self.share
        where = self.where[replaced]
        drawn = poisson(self.fill[replaced], uniform(where, self.key, Purpose.DRAW, k)) + self.pedestal
        out = frame.copy()
        out.flat[where] = np.minimum(drawn, np.iinfo(frame.dtype).max).astype(frame.dtype)
        return out


def poisson(mean: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Poisson quantiles of u in (0, 1): the smallest k with P(X <= k) >= u."""
    positive = np.maximum(mean, np.finfo(np.float64).tiny)
    k = np.ceil(special.pdtrik(u, positive))
    k = np.where(special.pdtr(k, positive) < u, k + 1, k)  # versions of SciPy differ at exact steps
    below = np.maximum(k - 1, 0)
    drawn = np.where(special.pdtr(below, positive) >= u, below, k)
    return np.where(mean > 0, np.maximum(0, np.nan_to_num(drawn)), 0.0)

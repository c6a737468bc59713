"""Fill outliers from the good pixels around them: by their mean, or in stacks of counts by a random Poisson
count around it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrcz_dask.numerics.arrays import Floats, Mask
from mrcz_dask.numerics.kernels import compiled, inner
from mrcz_dask.numerics.outliers.weights import WEIGHT_STEPS
from mrcz_dask.numerics.philox import Purpose, uniform
from mrcz_dask.values.errors import OutlierError

POINT_SPREAD = np.array(
    [
        [0.007, 0.02, 0.03, 0.02, 0.007],
        [0.02, 0.084, 0.173, 0.084, 0.02],
        [0.03, 0.173, 0.0, 0.173, 0.03],
        [0.02, 0.084, 0.173, 0.084, 0.02],
        [0.007, 0.02, 0.03, 0.02, 0.007],
    ]
)
POINT_SPREAD /= POINT_SPREAD.sum()
"""The K2's point spread without its center (the preprint's Table 1 over its sum, 1.336)."""
WIDER = (4, 8)  # radii of windows of 9 and 17 pixels, where there is no good pixel in 5 x 5

Indices = NDArray[np.intp]
Corrected = tuple[NDArray[Any], np.float32, NDArray[Any], np.float32, bool, NDArray[np.uint16]]
"""Flat values, their factor, pattern, its step, whether to divide, scale; pattern and scale may be empty."""


@dataclass(frozen=True, slots=True)
class CorrectedPixels:
    """A corrected mean image that is computed only at the pixels needed: values * factor, minus (or divided
    by) a pattern.

    Attributes
    ----------
    values
        (y, x), integers or floats.
    factor
        Counts in a unit of `values`.
    pattern, step, divide
        (y, x) integers in steps: what is taken off, or with `divide` what 1 + it is divided by;
        None = nothing.
    scale
        (y, x) uint16, 1 in 32768ths: what the pixels are multiplied with first; None = nothing.
    """

    values: NDArray[Any]
    factor: float = 1.0
    pattern: NDArray[Any] | None = None
    step: float = 1.0
    divide: bool = False
    scale: NDArray[np.uint16] | None = None

    def means_near(self, at: Indices, mask: Mask, kernel: Floats) -> Floats:
        """Return, for each of some pixels given by flat index, the weighted mean of the unmasked pixels
        around it; NaN if there are none.
        """
        means = np.empty(at.size)
        _means_near(self._arguments(), mask, at, kernel, means)
        return means

    def mean(self, mask: Mask) -> float:
        """Return the mean of the corrected image over unmasked pixels, counts.

        Raises
        ------
        OutlierError
            If every pixel is masked.
        """
        good = np.flatnonzero(~mask)
        if not good.size:
            raise OutlierError(
                f"every pixel of {mask.shape} is masked; expected some good ones to fill from: "
                "leave this stack out, or give a smaller mask"
            )
        pixels = np.empty(good.size, np.float32)
        _take_corrected(self._arguments(), good, pixels)
        return float(pixels.mean(dtype=np.float64))

    def _arguments(self) -> Corrected:
        values = np.ascontiguousarray(self.values).reshape(-1)
        pattern = np.zeros(0, np.int16) if self.pattern is None else self.pattern.reshape(-1)
        scale = np.zeros(0, np.uint16) if self.scale is None else self.scale.reshape(-1)
        return values, np.float32(self.factor), pattern, np.float32(self.step), self.divide, scale


def fill_at(pixels: CorrectedPixels, mask: Mask, neighbourly: Mask, at: Indices) -> Floats:
    """Compute the values, counts, that replace some pixels: means of the unmasked pixels around each.

    A singleton takes the point spread's weights, a neighbourly pixel flat ones, both 5 x 5 without the pixel
    itself; a pixel without an unmasked one around takes 9 x 9, then 17 x 17, then the mean of all unmasked.
    Windows are clipped at the edges.

    Parameters
    ----------
    pixels
        The corrected mean image, counts.
    mask
        (y, x) bool, True = outlier, never used.
    neighbourly
        (y, x) bool, True = outlier with another one near.
    at
        Flat indices of the pixels to fill, outliers or not.

    Raises
    ------
    OutlierError
        If there is a pixel to fill and every pixel is masked.
    """
    near = neighbourly.reshape(-1)[at]
    fill = np.empty(at.size)
    fill[near] = pixels.means_near(at[near], mask, np.ones((5, 5)))
    fill[~near] = pixels.means_near(at[~near], mask, POINT_SPREAD)
    for radius in WIDER:
        empty = np.isnan(fill)
        fill[empty] = pixels.means_near(at[empty], mask, np.ones((2 * radius + 1,) * 2))
    empty = np.isnan(fill)
    if empty.any():
        fill[empty] = pixels.mean(mask)
    return fill


def fill_values(
    mean_image: NDArray[np.floating[Any]], mask: Mask, neighbourly: Mask, *, where: Mask | None = None
) -> NDArray[np.float32]:
    """Replace outliers of a mean image by means of the good pixels around them; see `fill_at`.

    Parameters
    ----------
    mean_image
        (y, x) corrected mean image, counts.
    mask
        (y, x) bool, True = outlier, never used.
    neighbourly
        (y, x) bool, True = outlier with another one near.
    where
        (y, x) bool, True = pixels to fill, outliers or not; None = the outliers.

    Returns
    -------
    ndarray
        (y, x) float32: the fill where wanted, `mean_image` elsewhere.

    Raises
    ------
    OutlierError
        If there is a pixel to fill and every pixel is masked.
    """
    filled = mean_image.astype(np.float32)
    at = np.flatnonzero(mask if where is None else where)
    if at.size:
        filled.reshape(-1)[at] = fill_at(CorrectedPixels(mean_image), mask, neighbourly, at)
    return filled


@dataclass(frozen=True, slots=True)
class Replacement:
    """The pixels of a stack of counts that are replaced at random: the probability that each is kept, and the
    counts expected instead.

    Attributes
    ----------
    where
        Flat indices of the pixels of weight < 255.
    share
        Probability with which each is kept, 0..1.
    fill
        Expected counts per frame of what replaces it.
    key
        Key of the stack's random numbers.
    pedestal
        Counts that every pixel has without noise; the fill is what comes on top.
    """

    where: NDArray[np.int64]
    share: Floats
    fill: Floats
    key: int
    pedestal: int = 0

    @classmethod
    def make(
        cls, weight: NDArray[np.uint8], fill: NDArray[np.float32], key: int, pedestal: int = 0
    ) -> Replacement:
        """Make the replacement from the weights of a stack, uint8 in 255ths, and its filled mean image (ny,
        nx), counts per frame.
        """
        where = np.flatnonzero(weight < WEIGHT_STEPS).astype(np.int64)
        share = weight.flat[where].astype(np.float64) / WEIGHT_STEPS
        return cls(where, share, np.maximum(0, fill.flat[where]).astype(np.float64), key, pedestal)

    def at_dose(self, factor: float | None) -> Replacement:
        """Return the replacement for a frame with `factor` times the stack's dose; None = a blank frame, of
        which nothing is replaced.
        """
        if factor is None:
            return replace(self, where=self.where[:0], share=self.share[:0], fill=self.fill[:0])
        return self if factor == 1.0 else replace(self, fill=self.fill * max(0.0, factor))

    def apply(self, frame: NDArray[np.integer[Any]], k: int) -> NDArray[np.integer[Any]]:
        """Replace outliers of frame k (ny, nx, integers) by random Poisson counts; return a new frame."""
        replaced = uniform(self.where, self.key, Purpose.REPLACE, k) >= self.share
        where = self.where[replaced]
        counts = poisson(self.fill[replaced], uniform(where, self.key, Purpose.DRAW, k)) + self.pedestal
        out = frame.copy()
        out.flat[where] = np.minimum(counts, np.iinfo(frame.dtype).max).astype(frame.dtype)
        return out


def poisson(mean: Floats, u: Floats) -> Floats:
    """Turn uniform random numbers u in (0, 1) into Poisson counts of given means: the smallest k with P(X <=
    k) >= u.
    """
    positive = np.maximum(mean, np.finfo(np.float64).tiny)
    k = np.ceil(special.pdtrik(u, positive))
    k = np.where(special.pdtr(k, positive) < u, k + 1, k)  # versions of SciPy differ at exact steps
    below = np.maximum(k - 1, 0)
    counts = np.where(special.pdtr(below, positive) >= u, below, k)
    return np.where(mean > 0, np.maximum(0, np.nan_to_num(counts)), 0.0)


@inner
def _corrected(pixels: Corrected, i: int) -> np.float32:
    """Return flat pixel i of values * factor, scaled, less the pattern; an empty one of either is none."""
    values, factor, pattern, step, divide, scale = pixels
    own = np.float32(values[i]) * factor
    if scale.size:
        own = own * (np.float32(scale[i]) * np.float32(2.0**-15))
    if pattern.size == 0:
        return own
    off = np.float32(pattern[i]) * step
    return own / max(np.float32(0.1), np.float32(1) + off) if divide else own - off


@compiled
def _take_corrected(pixels: Corrected, at: Indices, out: NDArray[np.float32]) -> None:
    """Put some corrected pixels into out."""
    for k in range(at.size):
        out[k] = _corrected(pixels, at[k])


@compiled
def _means_near(pixels: Corrected, mask: Mask, at: Indices, kernel: Floats, out: Floats) -> None:
    """Put the weighted means of unmasked pixels around some pixels into out; not a number without any."""
    ny, nx = mask.shape
    radius = kernel.shape[0] // 2
    for k in range(at.size):
        row, column = at[k] // nx, at[k] % nx
        total, weight = 0.0, 0.0
        for dy in range(kernel.shape[0]):
            for dx in range(kernel.shape[1]):
                y, x = row + dy - radius, column + dx - radius
                inside = 0 <= y < ny and 0 <= x < nx and not (dy == radius and dx == radius)
                if inside and not mask[y, x]:
                    total += kernel[dy, dx] * np.float64(_corrected(pixels, y * nx + x))
                    weight += kernel[dy, dx]
        out[k] = total / weight if weight > 0 else np.nan

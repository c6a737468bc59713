"""What an outlier pixel is filled with: its unmasked neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics import kernels
from mrcz_dask.values.errors import OutlierError

POINT_SPREAD = {
    (0, 1): 0.173, (0, 2): 0.03, (1, 1): 0.084, (1, 2): 0.02, (2, 2): 0.007,
}  # fmt: skip
RADII = (2, 4, 8)  # windows of 5, 9 and 17 pixels

Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]
Floats = NDArray[np.float64]


def point_spread() -> Floats:
    """Return the K2's point spread without its centre, 5 x 5 (the preprint's Table 1 over its sum, 1.336)."""
    kernel = np.zeros((5, 5))
    for y in range(-2, 3):
        for x in range(-2, 3):
            low, high = sorted((abs(y), abs(x)))
            kernel[y + 2, x + 2] = POINT_SPREAD.get((low, high), 0.0)
    kernel /= kernel.sum()
    return kernel


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image of which few pixels are asked for: values * factor, less a pattern.

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

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x)."""
        return self.values.shape

    def take(self, at: Indices) -> NDArray[np.float32]:
        """Return the pixels at flat indices."""
        out = np.empty(at.size, np.float32)
        kernels.take_corrected(*self._arguments(), at, out)
        return out

    def means_near(self, at: Indices, mask: Bools, kernel: Floats) -> Floats:
        """Return weighted means of unmasked neighbours; not a number without any."""
        out = np.empty(at.size)
        kernels.means_near(*self._arguments(), mask, at, kernel, out)
        return out

    def _arguments(
        self,
    ) -> tuple[NDArray[Any], np.float32, NDArray[Any], np.float32, bool, NDArray[np.uint16]]:
        values = np.ascontiguousarray(self.values).reshape(-1)
        pattern = np.zeros(0, np.int16) if self.pattern is None else self.pattern.reshape(-1)
        scale = np.zeros(0, np.uint16) if self.scale is None else self.scale.reshape(-1)
        return values, np.float32(self.factor), pattern, np.float32(self.step), self.divide, scale


def fill_at(pixels: Pixels, mask: Bools, neighbourly: Bools, asked: Indices) -> Floats:
    """Return means of the unmasked neighbours of some pixels, counts.

    A singleton takes the point spread's weights, a neighbourly pixel flat ones, both 5 x 5 without the pixel
    itself; a pixel without unmasked neighbours takes 9 x 9, then 17 x 17, then the mean of all unmasked.
    Windows are clipped at the edges.

    Parameters
    ----------
    pixels
        The corrected mean image, counts.
    mask
        (y, x) bool, True = outlier, never used.
    neighbourly
        (y, x) bool, True = outlier with another one near.
    asked
        Flat indices of the pixels to fill, outliers or not.

    Raises
    ------
    OutlierError
        If a fill is asked for and every pixel is masked.
    """
    near = neighbourly.reshape(-1)[asked]
    filled = np.empty(asked.size)
    filled[near] = pixels.means_near(asked[near], mask, np.ones((5, 5)))
    filled[~near] = pixels.means_near(asked[~near], mask, point_spread())
    for radius in RADII[1:]:
        empty = np.isnan(filled)
        filled[empty] = pixels.means_near(asked[empty], mask, np.ones((2 * radius + 1,) * 2))
    empty = np.isnan(filled)
    if empty.any():
        filled[empty] = _overall(pixels, mask)
    return filled


def fill_values(
    mean_image: NDArray[np.floating[Any]], mask: Bools, neighbourly: Bools, *, where: Bools | None = None
) -> NDArray[np.float32]:
    """Return an image whose asked pixels are means of their unmasked neighbours; see `fill_at`.

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
        (y, x) float32: the fill where asked, `mean_image` elsewhere.

    Raises
    ------
    OutlierError
        If a fill is asked for and every pixel is masked.
    """
    out = mean_image.astype(np.float32)
    asked = np.flatnonzero(mask if where is None else where)
    if asked.size:
        out.reshape(-1)[asked] = fill_at(Pixels(mean_image), mask, neighbourly, asked)
    return out


def _overall(pixels: Pixels, mask: Bools) -> float:
    good = np.flatnonzero(~mask)
    if not good.size:
        raise OutlierError(
            f"every pixel of {mask.shape} is masked; expected some good ones to fill from: "
            "leave this stack out, or give a smaller mask"
        )
    return float(pixels.take(good).mean(dtype=np.float64))

"""What an outlier pixel is filled with: its unmasked neighbours (section 3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.values.errors import OutlierError

POINT_SPREAD = {
    (0, 1): 0.173, (0, 2): 0.03, (1, 1): 0.084, (1, 2): 0.02, (2, 2): 0.007,
}  # fmt: skip
RADII = (2, 4, 8)  # windows of 5, 9 and 17 pixels

Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]
Floats = NDArray[np.float64]


def point_spread() -> Floats:
    """Return the K2's point spread without its centre, 5 x 5 (Table 1 over its sum of 1.336)."""
    kernel = np.zeros((5, 5))
    for y in range(-2, 3):
        for x in range(-2, 3):
            low, high = sorted((abs(y), abs(x)))
            kernel[y + 2, x + 2] = POINT_SPREAD.get((low, high), 0.0)
    kernel /= kernel.sum()
    return kernel


def fill_values(
    mean_image: NDArray[np.floating[Any]], mask: Bools, neighbourly: Bools, *, where: Bools | None = None
) -> NDArray[np.float32]:
    """Return an image whose asked pixels are means of their unmasked neighbours.

    A singleton takes the point spread's weights, a neighbourly pixel flat ones, both 5 x 5 without the pixel
    itself; a pixel without unmasked neighbours takes 9 x 9, then 17 x 17, then the mean of all unmasked.
    Windows are clipped at the edges.

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
        out.reshape(-1)[asked] = _Filler(mean_image, mask).fill(asked, neighbourly.reshape(-1)[asked])
    return out


class _Filler:
    """Gathers the neighbours of few pixels, offset by offset, so that the order of additions is fixed."""

    def __init__(self, image: NDArray[np.floating[Any]], mask: Bools) -> None:
        self._image = image
        self._mask = mask

    def fill(self, asked: Indices, neighbourly: Bools) -> Floats:
        filled = np.full(asked.size, np.nan)
        filled[neighbourly] = self._mean(asked[neighbourly], np.ones((5, 5)))
        filled[~neighbourly] = self._mean(asked[~neighbourly], point_spread())
        for radius in RADII[1:]:
            empty = np.isnan(filled)
            filled[empty] = self._mean(asked[empty], np.ones((2 * radius + 1,) * 2))
        empty = np.isnan(filled)
        if empty.any():
            filled[empty] = self._overall()
        return filled

    def _mean(self, at: Indices, kernel: Floats) -> Floats:
        """Weighted mean of the unmasked neighbours; NaN without any."""
        values, weights = np.zeros(at.size), np.zeros(at.size)
        if at.size:
            for offset, share in np.ndenumerate(kernel):
                self._add(at, offset, share, values, weights, len(kernel) // 2)
        mean = np.full(at.size, np.nan)
        np.divide(values, weights, out=mean, where=weights > 0)
        return mean

    def _add(
        self, at: Indices, offset: tuple[int, ...], share: float, values: Floats, weights: Floats, radius: int
    ) -> None:
        if offset == (radius, radius):
            return
        ny, nx = self._mask.shape
        y, x = at // nx + (offset[0] - radius), at % nx + (offset[1] - radius)
        near = np.flatnonzero((y >= 0) & (y < ny) & (x >= 0) & (x < nx))
        source = y[near] * nx + x[near]
        good = ~self._mask.reshape(-1)[source]
        near = near[good]
        values[near] += share * self._image.reshape(-1)[source[good]]
        weights[near] += share

    def _overall(self) -> float:
        good = ~self._mask
        if not good.any():
            raise OutlierError(
                f"every pixel of {self._mask.shape} is masked; expected some good ones to fill from: "
                "leave this stack out, or give a smaller mask"
            )
        return float(self._image[good].mean(dtype=np.float64))

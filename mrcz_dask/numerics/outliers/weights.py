"""Compute the weights of pixels (Eq. 6), round them to bytes, and make the outlier mask from these."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrcz_dask.numerics.arrays import Mask
from mrcz_dask.values.params import OutlierParams

WEIGHT_STEPS = 255


def soft_weight(
    z: NDArray[np.float64], t_dark: float, t_hot: float, params: OutlierParams
) -> NDArray[np.float32]:
    """Compute the weight of pixels from their deviation from the center in sigma: 1 = good, 0 = outlier,
    smooth between (Eq. 6).

    Parameters
    ----------
    z
        In sigma.
    t_dark, t_hot
        Thresholds in sigma; -inf, +inf where off.
    params
        Steepness, and the factor that moves the thresholds inward.
    """
    rise = special.expit(params.k * (z - params.rho * t_dark))
    fall = special.expit(-params.k * (z - params.rho * t_hot))
    return np.asarray(rise * fall, np.float32)


def byte_weight(weight: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round weights from 0 to 1 to bytes, in 255ths; below 128 a pixel is an outlier."""
    return np.asarray(np.rint(weight * np.float32(WEIGHT_STEPS)), np.uint8)


def is_masked(weight: NDArray[np.uint8]) -> Mask:
    """Return the outlier mask (True = outlier) from weights in 255ths."""
    return weight < (WEIGHT_STEPS + 1) // 2


def near_another(mask: Mask, radius: int) -> Mask:
    """Return the mask of neighbourly outliers: those with another within `radius` pixels along y and x.

    Parameters
    ----------
    mask
        (y, x) bool, True = outlier.
    radius
        Distance in pixels.

    Returns
    -------
    ndarray
        (y, x) bool, True = neighbourly outlier; the other outliers are singletons.
    """
    nx, flat = mask.shape[1], mask.reshape(-1)
    outliers = np.flatnonzero(mask)
    near = np.zeros(outliers.size, bool)
    for dy in range(radius + 1):
        for dx in range(-radius if dy else 1, radius + 1):  # looking ahead alone sees every pair once
            step = dy * nx + dx
            in_row = (outliers % nx < nx - dx) & (outliers % nx >= -dx)
            first = np.flatnonzero(in_row & (outliers + step < mask.size))
            first = first[flat[outliers[first] + step]]
            near[first] = True
            near[np.searchsorted(outliers, outliers[first] + step)] = True
    neighbourly = np.zeros(mask.size, bool)
    neighbourly[outliers] = near
    return neighbourly.reshape(mask.shape)


def sorted_around(image: NDArray[Any], at: NDArray[np.intp]) -> NDArray[Any]:
    """Return (24, n) the 24 pixels around each of n flat indices of an image (y, x), in ascending order."""
    ny, nx = image.shape
    y, x = np.divmod(at, nx)
    steps = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if dy or dx]
    near = [image[np.clip(y + dy, 0, ny - 1), np.clip(x + dx, 0, nx - 1)] for dy, dx in steps]
    return np.sort(near, axis=0)

"""Weights of pixels (Eq. 6), and as they are kept: in 255ths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrcz_dask.values.params import OutlierParams

WEIGHT_STEPS = 255


def soft_weight(
    z: NDArray[np.float64], t_dark: float, t_hot: float, params: OutlierParams
) -> NDArray[np.float32]:
    """Return the weight at deviations from the centre: 1 = good, 0 = outlier (Eq. 6).

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
    """Return weights 0..1 in 255ths; an outlier (w < 0.5) is one below 128."""
    return np.asarray(np.rint(weight * np.float32(WEIGHT_STEPS)), np.uint8)


def is_masked(weight: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the outlier mask (True = outlier) of weights in 255ths."""
    return weight < (WEIGHT_STEPS + 1) // 2

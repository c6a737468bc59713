"""Weights of pixels (Eq. 6) as they are kept: in 255ths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WEIGHT_STEPS = 255


def byte_weight(weight: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return weights 0..1 in 255ths; an outlier (w < 0.5) is one below 128."""
    return np.asarray(np.rint(weight * np.float32(WEIGHT_STEPS)), np.uint8)


def is_masked(weight: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the outlier mask (True = outlier) of weights in 255ths."""
    return weight < (WEIGHT_STEPS + 1) // 2

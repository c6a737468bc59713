"""Types of arrays, each with one name throughout the package."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Image = NDArray[np.float32]  # (y, x)
Mask = NDArray[np.bool_]

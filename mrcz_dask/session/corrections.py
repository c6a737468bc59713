"""Arrays of a correction by name, and the digest by which a correction is recognized."""

from __future__ import annotations

from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.numerics.reference.correction import Correction

PIXEL_ARRAYS = ("pattern", "weight", "fill")
SCALE = "scale"


def correction_arrays(correction: Correction) -> dict[str, NDArray[Any]]:
    """Return the arrays of a correction by name, as the store keeps them."""
    arrays: dict[str, NDArray[Any]] = {name: getattr(correction, name) for name in PIXEL_ARRAYS}
    return arrays if correction.scale is None else arrays | {SCALE: correction.scale}


def correction_digest(correction: Correction) -> str:
    """Return the xxh3-128 digest of a correction, by which damage and changes are found."""
    state = xxhash.xxh3_128(f"{correction.form} {correction.step.hex()}".encode())
    for name, values in correction_arrays(correction).items():
        state.update(f"{name} {values.shape} {values.dtype.str}".encode())
        state.update(np.ascontiguousarray(values).data)
    return state.hexdigest()

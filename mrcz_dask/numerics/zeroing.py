"""Shrink raw frames for slow links by setting noise to 0: lossy, and done only on request."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled, native


@compiled
def _zero(frame: NDArray[Any], limit: NDArray[Any], out: NDArray[Any]) -> None:
    values, limits, into = frame.reshape(-1), limit.reshape(-1), out.reshape(-1)
    for k in range(values.size):
        into[k] = values[k] * (values[k] >= limits[k])


@compiled
def _fill(frame: NDArray[Any], dark: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    values, darks, into = frame.reshape(-1), dark.reshape(-1), out.reshape(-1)
    for k in range(values.size):
        into[k] = values[k] if values[k] != 0 else darks[k]


def zero_below(frame: NDArray[Any], limit: NDArray[Any]) -> NDArray[Any]:
    """Set pixels of a raw frame below a per-pixel limit (ny, nx), ADU, to 0, so that it compresses well."""
    raw = np.ascontiguousarray(native(frame))
    out = np.empty_like(raw)
    _zero(raw, limit, out)
    return out


def fill_zeros(frame: NDArray[Any], dark: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a frame from `zero_below` as float32 in which zeros are replaced by the detector's dark (ny,
    nx), so that electrons can be counted.
    """
    out = np.empty(frame.shape, np.float32)
    _fill(np.ascontiguousarray(native(frame)), dark, out)
    return out

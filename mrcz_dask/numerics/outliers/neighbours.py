"""Which masked pixels have another one near."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


def near_another(mask: Bools, radius: int) -> Bools:
    """Return the masked pixels with another masked pixel within Chebyshev distance `radius`.

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
    ny, nx = mask.shape
    found = np.flatnonzero(mask)
    near = np.zeros(found.size, bool)
    for dy in range(radius + 1):
        for dx in range(-radius if dy else 1, radius + 1):
            _pair(mask, found, near, dy * nx + dx, (found % nx < nx - dx) & (found % nx >= -dx))
    out = np.zeros(ny * nx, bool)
    out[found] = near
    return out.reshape(mask.shape)


def _pair(mask: Bools, found: NDArray[np.intp], near: Bools, step: int, inside: Bools) -> None:
    """Mark both of each pair that lies `step` apart; looking ahead alone sees every pair once."""
    first = np.flatnonzero(inside & (found + step < mask.size))
    first = first[mask.reshape(-1)[found[first] + step]]
    near[first] = True
    near[np.searchsorted(found, found[first] + step)] = True

"""Positions without a model: center of mass and maximum of an electron's 3 x 3 pixels, without the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.counting.fitting import CHARGE, U, V, node_of
from mrcz_dask.numerics.counting.shape import MARGIN, SHARE
from mrcz_dask.numerics.kernels import compiled

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Places = NDArray[np.int32]


@compiled
def _charge_of(
    z: Image, response: Image, at: Places, own: Floats, k: int, j: int, i: int, table: Floats
) -> tuple[float, float]:
    """Return pixel j, i from the middle of electron k, its cloud added: in read noises, and as charge."""
    y, x = at[k, 0] + MARGIN + j, at[k, 1] + MARGIN + i
    share = table[node_of(own[k, U]), SHARE + 2 + j] * table[node_of(own[k, V]), SHARE + 2 + i]
    weight = np.float64(response[y, x])
    value = np.float64(z[y, x]) + own[k, CHARGE] * share * weight
    return value, (value if weight == 1 else value / weight) if weight > 0 else 0.0


@compiled
def centroids(
    z: Image, response: Image, at: Places, own: Floats, table: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return centres of mass, u and v from the middle of each pixel, and the charge of its 3 x 3 pixels.

    z is what `deblend` left. The noise pulls a centre to the middle, and so does charge beyond 3 x 3:
    `PlaceMap` takes that off.
    """
    n = at.shape[0]
    u, v, charge = np.empty(n), np.empty(n), np.empty(n)
    for k in range(n):
        total, down, across = 0.0, 0.0, 0.0
        for j in range(-1, 2):
            for i in range(-1, 2):
                value = _charge_of(z, response, at, own, k, j, i, table)[1]
                total, down, across = total + value, down + value * j, across + value * i
        u[k], v[k] = (
            min(max(down / max(total, 1e-3), -1.0), 1.0),
            min(max(across / max(total, 1e-3), -1.0), 1.0),
        )
        charge[k] = total
    return u, v, charge


@compiled
def peaks(z: Image, response: Image, at: Places, own: Floats, table: Floats) -> tuple[Floats, Floats, Floats]:
    """Return as `centroids` which of the 3 x 3 pixels is the largest, u and v being -1, 0 or 1."""
    n = at.shape[0]
    u, v, charge = np.empty(n), np.empty(n), np.empty(n)
    for k in range(n):
        total, best = 0.0, -1e30
        for j in range(-1, 2):
            for i in range(-1, 2):
                value, part = _charge_of(z, response, at, own, k, j, i, table)
                total += part
                if value > best:
                    best, u[k], v[k] = value, j, i
        charge[k] = total
    return u, v, charge

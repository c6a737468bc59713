"""Find electrons' positions without fitting: center of mass, or largest, of 3 x 3 pixels."""

from __future__ import annotations

import numpy as np

from mrcz_dask.numerics.counting.fitting import CHARGE, U, V, node_of
from mrcz_dask.numerics.counting.shape import MARGIN, SHARE
from mrcz_dask.numerics.counting.working import Floats, Image, Places
from mrcz_dask.numerics.kernels import compiled


@compiled
def positions_of(
    z: Image, response: Image, at: Places, own: Floats, table: Floats, largest: bool
) -> tuple[Floats, Floats, Floats]:
    """Return each electron's position from its pixel's middle, and the charge of its 3 x 3 pixels.

    A position is the center of mass, or if `largest` the middle of the largest pixel: -1, 0 or 1. z is the
    frame less all electrons. The noise pulls a center to the middle, and so does charge beyond 3 x 3:
    `PlaceMap` corrects that.
    """
    n = at.shape[0]
    u, v, charge = np.empty(n), np.empty(n), np.empty(n)
    for k in range(n):
        down_of, across_of = node_of(own[k, U]), node_of(own[k, V])
        total, down, across, best = 0.0, 0.0, 0.0, -1e30
        for j in range(-1, 2):
            for i in range(-1, 2):
                y, x = at[k, 0] + MARGIN + j, at[k, 1] + MARGIN + i
                share = table[down_of, SHARE + 2 + j] * table[across_of, SHARE + 2 + i]
                weight = np.float64(response[y, x])
                value = np.float64(z[y, x]) + own[k, CHARGE] * share * weight
                part = (value if weight == 1 else value / weight) if weight > 0 else 0.0
                total, down, across = total + part, down + part * j, across + part * i
                if value > best:
                    best, u[k], v[k] = value, j, i
        charge[k] = total
        if not largest:
            u[k] = min(max(down / max(total, 1e-3), -1.0), 1.0)
            v[k] = min(max(across / max(total, 1e-3), -1.0), 1.0)
    return u, v, charge

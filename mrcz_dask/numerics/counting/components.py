"""Find electrons as clusters: pixels above a threshold that touch count as one electron."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats, Image
from mrcz_dask.numerics.kernels import compiled

LARGEST = 64  # pixels of a cluster that are looked at


@compiled
def find_components(
    raw: NDArray[Any], inverse: Image, offset: Image, least: float, most: float, z: Image, out: Floats
) -> int:
    """Find clusters of touching pixels above `least` read noises in a raw frame, and write charge and
    position of each.

    Parameters
    ----------
    raw, inverse, offset
        As in `deblend.fit_frame`.
    least, most
        Smallest value of a pixel; a cluster with one above `most` (an X-ray) is left out.
    z
        (ny + 2, nx + 2) for working.
    out
        (capacity, 5): charge, centroid y and x, and the maximum's y and x, middles of pixels at + .5.

    Returns
    -------
    int
        Number of clusters, or -1 if there were more than the capacity.
    """
    ny, nx = raw.shape
    z[0], z[ny + 1], z[:, 0], z[:, nx + 1] = 0, 0, 0, 0
    for y in range(ny):
        row, into = raw[y], z[y + 1, 1:-1]
        for x in range(nx):
            value = np.float32(row[x]) * inverse[y, x] - offset[y, x]
            into[x] = value if value > least else np.float32(0)
    stack, n = np.empty((LARGEST, 2), np.int64), 0
    for y in range(1, ny + 1):
        for x in range(1, nx + 1):
            if z[y, x] > 0:
                if n == out.shape[0]:
                    return -1
                n += _take(z, y, x, most, stack, out[n])
    return n


@compiled
def _take(z: Image, y: int, x: int, most: float, stack: NDArray[np.int64], out: Floats) -> int:
    """Take a cluster off z into out; return 1, or 0 if it is an X-ray."""
    stack[0, 0], stack[0, 1], n, done = y, x, 1, 0
    value = np.float64(z[y, x])
    z[y, x] = 0
    charge, sum_y, sum_x, best, out[3], out[4] = value, value * y, value * x, value, y - 0.5, x - 0.5
    while done < n:
        y, x = stack[done, 0], stack[done, 1]
        done += 1
        for j in range(y - 1, y + 2):
            for i in range(x - 1, x + 2):
                value = np.float64(z[j, i])
                if value > 0 and n < LARGEST:
                    z[j, i] = 0
                    stack[n, 0], stack[n, 1] = j, i
                    n += 1
                    charge, sum_y, sum_x = charge + value, sum_y + value * j, sum_x + value * i
                    if value > best:
                        best, out[3], out[4] = value, j - 0.5, i - 0.5
    out[0], out[1], out[2] = charge, sum_y / charge - 0.5, sum_x / charge - 0.5
    return 1 if best <= most else 0

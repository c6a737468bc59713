"""Take an uneven illumination out of a sum: an edge of carbon, ice that grows thick."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats, Mask
from mrcz_dask.numerics.kernels import compiled, native

SIDE = 32
DIMMEST = 16  # no block is taken for darker than the median by more than this factor
INT32_MAX = 2**31 - 1
FLAT_BITS = 8


def light_evenly(
    values: NDArray[Any], nonfinite: Mask | None, middle: float, reach: float
) -> NDArray[np.integer[Any]]:
    """Return a sum as if it were evenly lit: T = m + (S - B) sqrt(m / B), B the local brightness.

    Parameters
    ----------
    values
        (y, x) counts S, integers.
    nonfinite
        (y, x) bool, True = left out of B.
    middle
        Median m of S, counts.
    reach
        S is clipped to m +- reach counts before B, so that a hot pixel moves B little.

    Returns
    -------
    ndarray
        (y, x) int32 or int64, in units of 2**-FLAT_BITS counts.
    """
    ny, nx = values.shape
    grid, rows, columns = local_brightness(values, nonfinite, middle, reach)
    place = np.interp(np.arange(nx), columns, np.arange(columns.size))
    left = np.minimum(place.astype(np.intp), columns.size - 2)
    share = (place - left)[:, None]
    across = (grid.T[left] * (1 - share) + grid.T[left + 1] * share).T
    down = np.interp(np.arange(ny), rows, np.arange(rows.size))
    largest = (max(-int(values.min()), int(values.max())) + float(grid.max())) * math.sqrt(DIMMEST) + middle
    flat = np.empty(values.shape, np.int32 if largest * 2.0**FLAT_BITS < INT32_MAX else np.int64)
    _flatten(native(values), np.ascontiguousarray(across), down, middle, 2.0**FLAT_BITS, flat)
    return flat


def local_brightness(
    values: NDArray[Any], nonfinite: Mask | None, middle: float, reach: float
) -> tuple[Floats, Floats, Floats]:
    """Return the local brightness of a sum: means of 32 x 32 blocks, extremes clipped, and the blocks'
    centers along y and x.
    """
    edges = [np.arange(0, size, SIDE) for size in values.shape]
    low, high = int(middle - reach), int(middle + reach) + 1
    sums = np.empty((edges[0].size, edges[1].size))
    pixels = np.empty_like(sums)
    for i, top in enumerate(edges[0]):
        strip = np.clip(values[top : top + SIDE].astype(np.int64), low, high)
        good = np.ones(strip.shape, bool) if nonfinite is None else ~nonfinite[top : top + SIDE]
        sums[i] = np.add.reduceat((strip * good).sum(axis=0), edges[1])
        pixels[i] = np.add.reduceat(good.sum(axis=0), edges[1])
    means = np.where(pixels > 0, sums / np.maximum(pixels, 1), middle)
    centers = [(e + np.minimum(e + SIDE, n) - 1) / 2 for e, n in zip(edges, values.shape, strict=True)]
    least, largest = np.quantile(means, (0.02, 0.98))
    means = np.maximum(np.clip(means, least, largest), middle / DIMMEST)
    return means, centers[0], centers[1]


@compiled
def _flatten(
    values: NDArray[Any], across: Floats, down: Floats, middle: float, steps: float, out: NDArray[Any]
) -> None:
    """Put middle + (value - B) sqrt(middle / B) into out, in steps; B lies between the rows of `across`.

    across is (rows of blocks, nx), down (ny,) where in them a row of the image lies.
    """
    ny, nx = values.shape
    flat = np.empty(nx)
    for y in range(ny):
        first = min(int(down[y]), across.shape[0] - 2)
        share = down[y] - first
        above, below, row, into = across[first], across[first + 1], values[y], out[y]
        for x in range(nx):
            background = above[x] * (1 - share) + below[x] * share
            flat[x] = ((row[x] - background) * np.sqrt(middle / background) + middle) * steps
        for x in range(nx):
            into[x] = out.dtype.type(np.rint(flat[x]))

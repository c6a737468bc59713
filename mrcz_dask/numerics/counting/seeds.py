"""Where electrons may have hit: local maxima of a smoothed frame, in one compiled pass over its rows.

The frame is taken to read noises, z = raw / sigma - offset / sigma, and smoothed with 1/2, 1, 1/2 along both
axes: of all fixed 3 x 3 weights close to the best for impacts anywhere in a pixel. Every step is a short loop
over few rows, so that the compiler makes vectors of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.counting.shape import MARGIN
from mrcz_dask.numerics.kernels import compiled

Image = NDArray[np.float32]

SIDE = np.float32(0.5)
NORM = 1.5  # root of the sum of squares of the weights: the smoothed noise of unit noise
WORD = 8


@compiled
def _standardise(raw: NDArray[Any], inverse: Image, offset: Image, out: Image) -> None:
    for x in range(raw.size):
        out[x] = np.float32(raw[x]) * inverse[x] - offset[x]


@compiled
def _down(above: Image, middle: Image, below: Image, out: Image) -> None:
    for x in range(out.size):
        out[x] = SIDE * (above[x] + below[x]) + middle[x]


@compiled
def _across(row: Image, out: Image) -> None:
    """Smooth a row with a pixel more at either end."""
    for x in range(out.size):
        out[x] = SIDE * (row[x] + row[x + 2]) + row[x + 1]


@compiled
def _larger(a: Image, b: Image, out: Image) -> None:
    for x in range(out.size):
        out[x] = a[x] if a[x] > b[x] else b[x]


@compiled
def _flag(middle: Image, around: Image, cut: np.float32, out: NDArray[np.uint8]) -> None:
    """Flag pixels above the cut that no neighbour exceeds; the rows have a pixel more at either end."""
    for x in range(middle.size - 2):
        own = middle[x + 1]
        beside = (own >= middle[x]) & (own >= middle[x + 2]) & (own > cut)
        out[x] = beside & (own >= around[x]) & (own >= around[x + 1]) & (own >= around[x + 2])


@compiled
def _first(above: Image, middle: Image, x: int) -> bool:
    """Return whether no neighbour that comes before is as large: of equal ones the first counts."""
    own = middle[x]
    return bool(own > above[x - 1] and own > above[x] and own > above[x + 1] and own > middle[x - 1])


@compiled
def smooth_row(z: Image, y: int, column: Image, out: Image) -> None:
    """Put row y of the smoothed frame into out (nx + 2), with 0 at either end; uses column (nx + 2)."""
    first, last = MARGIN - 1, z.shape[1] - MARGIN + 1  # rows first: only then it is known that pixels adjoin
    above, middle, below = z[y + MARGIN - 1], z[y + MARGIN], z[y + MARGIN + 1]
    _down(above[first:last], middle[first:last], below[first:last], column)
    _across(column, out[1:-1])


@compiled
def standardise_row(raw: NDArray[Any], y: int, inverse: Image, offset: Image, z: Image) -> None:
    """Put row y of the frame in read noises into z, which has `MARGIN` pixels around."""
    _standardise(raw[y], inverse[y], offset[y], z[y + MARGIN, MARGIN:-MARGIN])


@compiled
def row_seeds(
    above: Image, middle: Image, below: Image, y: int, cut: np.float32, around: Image,
    flags: NDArray[np.uint8], at: NDArray[np.int32], found: int,
) -> int:  # fmt: skip
    """Put the seeds of smoothed row y into at (capacity, 2), after those found before; there must be room.

    Returns how many there are then. Uses around (nx + 2) and flags (nx + WORD, 0 at the end).
    """
    _larger(above, below, around)
    _flag(middle, around, cut, flags)
    nx = middle.size - 2
    words = flags[: nx // WORD * WORD + WORD].view(np.uint64)
    for k in range(words.size):
        if words[k] == 0:
            continue
        for x in range(k * WORD, min(nx, (k + 1) * WORD)):
            if flags[x] and _first(above, middle, x + 1):
                at[found, 0], at[found, 1] = y, x
                found += 1
    return found

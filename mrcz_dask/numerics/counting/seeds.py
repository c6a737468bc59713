"""Find the pixels where electrons may have hit (seeds): local maxima of the smoothed frame.

The frame is taken to read noises, z = raw / sigma - offset / sigma, and smoothed with 1/2, 1, 1/2 along both
axes: of all fixed 3 x 3 weights close to the best for impacts anywhere in a pixel. Every step is a short loop
over few rows, so that the compiler makes vectors of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.counting.shape import MARGIN
from mrcz_dask.numerics.counting.working import Image, Places
from mrcz_dask.numerics.kernels import compiled

SIDE = np.float32(0.5)
NORM = 1.5  # root of the sum of squares of the weights: the smoothed noise of unit noise
WORD = 8


class SeedRows(NamedTuple):
    """Working arrays, a few rows each, for finding the seeds of a frame.

    Attributes
    ----------
    smooth
        (3, nx + 2) the last three smoothed rows, 0 at first.
    column, around
        (nx + 2,) a row smoothed along y; the larger pixels of the rows above and below.
    flags
        (nx + WORD,) which pixels may be seeds, 0 at first.
    """

    smooth: Image
    column: Image
    around: Image
    flags: NDArray[np.uint8]


@compiled
def standardize_row(raw: NDArray[Any], y: int, inverse: Image, offset: Image, z: Image) -> None:
    """Convert row y of a raw frame to read noises, and write it to z."""
    row, scale, zero, out = raw[y], inverse[y], offset[y], z[y + MARGIN, MARGIN:-MARGIN]
    for x in range(row.size):
        out[x] = np.float32(row[x]) * scale[x] - zero[x]


@compiled
def band_seeds(
    raw: NDArray[Any], inverse: Image, offset: Image, z: Image, cut: np.float32, rows: SeedRows,
    top: int, stop: int, at: Places, found: int,
) -> int:  # fmt: skip
    """Find the seeds in rows top - 1 to stop - 2, and append them to a list; return its new length.

    Rows come one band after the other. Returns how many seeds there are then.
    """
    ny = raw.shape[0]
    for y in range(top, stop):
        if y + 1 < ny:
            standardize_row(raw, y + 1, inverse, offset, z)
        if y < ny:
            _smooth_row(z, y, rows.column, rows.smooth[y % 3])
        else:
            rows.smooth[y % 3] = 0
        if y > 0:
            found = _row_seeds(rows, y - 1, cut, at, found)
    return found


@compiled
def _smooth_row(z: Image, y: int, column: Image, out: Image) -> None:
    """Put row y of the smoothed frame into out (nx + 2), with 0 at either end."""
    first, last = MARGIN - 1, z.shape[1] - MARGIN + 1  # rows first: only then it is known that pixels adjoin
    above, middle, below = z[y + MARGIN - 1], z[y + MARGIN], z[y + MARGIN + 1]
    above, middle, below, inner = above[first:last], middle[first:last], below[first:last], out[1:-1]
    for x in range(column.size):
        column[x] = SIDE * (above[x] + below[x]) + middle[x]
    for x in range(inner.size):
        inner[x] = SIDE * (column[x] + column[x + 2]) + column[x + 1]


@compiled
def _row_seeds(rows: SeedRows, y: int, cut: np.float32, at: Places, found: int) -> int:
    """Add the local maxima of smoothed row y; of equal adjacent pixels the first counts."""
    smooth, around, flags = rows.smooth, rows.around, rows.flags
    above, middle, below = smooth[(y - 1) % 3], smooth[y % 3], smooth[(y + 1) % 3]
    nx = middle.size - 2
    for x in range(around.size):
        around[x] = above[x] if above[x] > below[x] else below[x]
    for x in range(nx):
        own = middle[x + 1]
        beside = (own >= middle[x]) & (own >= middle[x + 2]) & (own > cut)
        flags[x] = beside & (own >= around[x]) & (own >= around[x + 1]) & (own >= around[x + 2])
    words = flags[: nx // WORD * WORD + WORD].view(np.uint64)
    for k in range(words.size):
        if words[k] == 0:
            continue
        for x in range(k * WORD, min(nx, (k + 1) * WORD)):
            own = middle[x + 1]
            is_first = own > above[x] and own > above[x + 1] and own > above[x + 2] and own > middle[x]
            if flags[x] and is_first:
                at[found, 0], at[found, 1] = y, x
                found += 1
    return found

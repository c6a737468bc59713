"""Find and fit the electrons of a frame in one pass, in bands of rows that stay in the processor's cache.

Seeds are local maxima of the frame in read noises, smoothed with 1/2, 1, 1/2 along both axes: of all fixed
3 x 3 weights close to the best for impacts anywhere in a pixel. Every step is a short loop over few rows, so
that the compiler makes vectors of it. A seed is fitted when the rows are so far below it that no smoothed row
will need its pixels; what it left is searched when all near it have been fitted. So the bands do not change
what is found. Lists of electrons stay in raster order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats, Image
from mrcz_dask.numerics.counting.batches import (
    CLOSE,
    NEAR,
    NEVER,
    NEW,
    by_level,
    fit_first,
    likely,
    mark_near,
    search,
    sweep_batches,
)
from mrcz_dask.numerics.counting.fitting import (
    FIELDS,
    MARGIN,
    SIGNIFICANCE,
    Clouds,
    Electrons,
    Flags,
    Frame,
    Limits,
    Numbers,
    Places,
    U,
)
from mrcz_dask.numerics.counting.lanes import BATCH, SIZE
from mrcz_dask.numerics.kernels import compiled, inner

SIDE = np.float32(0.5)
NORM = 1.5  # root of the sum of squares of the weights: the smoothed noise of unit noise
WORD = 8
MOVED = 0.6  # pixels from the middle beyond which an electron gets the next pixel
BAND = 65536  # pixels of a band
LAG = 4  # rows between a seed that is taken off and the last smoothed row
SEARCH_LAG = 10  # rows between an electron that is searched for others and the last smoothed row
JOIN_LAG = 16  # rows between an electron that is joined to those found and the last smoothed row


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


@inner
def standardize_row(raw: NDArray[Any], y: int, inverse: Image, offset: Image, z: Image) -> None:
    """Convert row y of a raw frame to read noises, and write it to z."""
    row, scale, zero, out = raw[y], inverse[y], offset[y], z[y + MARGIN, MARGIN:-MARGIN]
    for x in range(row.size):
        out[x] = np.float32(row[x]) * scale[x] - zero[x]


@inner
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


@inner
def _smooth_row(z: Image, y: int, column: Image, out: Image) -> None:
    """Put row y of the smoothed frame into out (nx + 2), with 0 at either end."""
    first, last = MARGIN - 1, z.shape[1] - MARGIN + 1  # rows first: only then it is known that pixels adjoin
    above, middle, below = z[y + MARGIN - 1], z[y + MARGIN], z[y + MARGIN + 1]
    above, middle, below, inner = above[first:last], middle[first:last], below[first:last], out[1:-1]
    for x in range(column.size):
        column[x] = SIDE * (above[x] + below[x]) + middle[x]
    for x in range(inner.size):
        inner[x] = SIDE * (column[x] + column[x + 2]) + column[x + 1]


@inner
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


@inner
def keep(electrons: Electrons, some: Numbers, n: int, least: float, shape: tuple[int, int]) -> int:
    """Remove electrons that are no longer significant from a list, and move the others to the pixels where
    they now are.

    The list has n electrons in raster order, and has it afterwards. Returns how many are left.
    """
    at, own, near = electrons
    kept, moved = n, False
    for k in some:
        if own[k, SIGNIFICANCE] < least:
            kept = min(kept, k)
        else:
            moved |= _reseat(shape, at, own, k)
    for k in range(kept, n):
        if own[k, SIGNIFICANCE] >= least:
            copy_place(at, own, k, at, own, kept)
            near[kept] = near[k]
            kept += 1
    if moved:
        _sort(at, own, near, kept)
    return kept


@inner
def _reseat(shape: tuple[int, int], at: Places, own: Floats, k: int) -> bool:
    """Give an electron that has moved on the pixel where it is now, for its next fit; return whether."""
    moved = False
    for axis in range(2):
        place, column = own[k, U + axis], U + axis
        if place > MOVED and at[k, axis] + 1 < shape[axis]:
            at[k, axis] += 1
            own[k, column], moved = place - 1, True
        elif place < -MOVED and at[k, axis] > 0:
            at[k, axis] -= 1
            own[k, column], moved = place + 1, True
    return moved


@inner
def _sort(at: Places, own: Floats, near: Flags, n: int) -> None:
    """Bring n places, nearly in raster order, into it."""
    for k in range(1, n):
        j = k
        while j > 0 and (at[j, 0] < at[j - 1, 0] or (at[j, 0] == at[j - 1, 0] and at[j, 1] < at[j - 1, 1])):
            for i in range(2):
                at[j, i], at[j - 1, i] = at[j - 1, i], at[j, i]
            for i in range(FIELDS):
                own[j, i], own[j - 1, i] = own[j - 1, i], own[j, i]
            near[j], near[j - 1] = near[j - 1], near[j]
            j -= 1


@inner
def copy_place(at: Places, own: Floats, k: int, into_at: Places, into_own: Floats, into: int) -> None:
    """Copy electron k of one list to a position in another."""
    into_at[into, 0], into_at[into, 1] = at[k, 0], at[k, 1]
    for j in range(FIELDS):
        into_own[into, j] = own[k, j]


@inner
def merge(at: Places, own: Floats, near: Flags, n: int, total: int) -> None:
    """Merge the electrons n..total-1 of a list into the first n, so that all are in raster order."""
    late = total - n
    _sort(at[n:], own[n:], near[n:], late)
    late_at, late_own = np.empty((late, 2), np.int32), np.empty((late, FIELDS))
    for k in range(late):
        copy_place(at, own, n + k, late_at, late_own, k)
    into, left = total - 1, n - 1
    for k in range(late - 1, -1, -1):
        row, column = late_at[k, 0], late_at[k, 1]
        while left >= 0 and (at[left, 0] > row or (at[left, 0] == row and at[left, 1] > column)):
            copy_place(at, own, left, at, own, into)
            near[into] = near[left]
            into, left = into - 1, left - 1
        copy_place(late_at, late_own, k, at, own, into)
        near[into] = NEW
        into -= 1


@compiled
def inside_events(
    at: Places, u: Floats, v: Floats, charge: Floats, significance: Floats, unit: float,
    shape: tuple[int, int], out: NDArray[np.float32],
) -> int:  # fmt: skip
    """Write y, x, charge (ADU), significance of electrons inside the frame to out (4, n); return how many.

    Those that hit beyond the edges, and were seen by the charge that came in, are left out.
    """
    n = 0
    for k in range(at.shape[0]):
        y, x = np.float32(at[k, 0] + 0.5 + u[k]), np.float32(at[k, 1] + 0.5 + v[k])
        out[0, n], out[1, n] = y, x
        out[2, n], out[3, n] = charge[k] * unit, significance[k]
        n += int((y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1]))
    return n


@compiled
def fit_frame(
    raw: NDArray[Any],
    inverse: Image,
    offset: Image,
    frame: Frame,
    clouds: Clouds,
    limits: Limits,
    first_at: Places,
    first: Floats,
    electrons: Electrons,
) -> int:
    """Find the electrons of a raw frame: seeds, fits, hidden electrons, and again those close to each other.

    Parameters
    ----------
    raw
        (ny, nx), any real type.
    inverse, offset
        (ny, nx): z = raw * inverse - offset is in read noises; both 0 where a pixel is not used.
    frame
        Arrays of the frame; z is filled, and becomes the frame less the electrons.
    clouds, limits
        Shares of an electron's charge, and its limits.
    first_at, first
        Arrays like `at` and `own` of the electrons, for working.
    electrons
        The list that is filled, in raster order.

    Returns
    -------
    int
        Number of electrons, or -1 if there was no room for them.
    """
    z, (at, own, near) = frame.z, electrons
    ny, nx = raw.shape
    z[:MARGIN], z[ny + MARGIN :], z[:, :MARGIN], z[:, nx + MARGIN :] = 0, 0, 0, 0
    band = max(BAND // nx, 4)
    seeds = np.empty(((band + 2 * LAG) * (nx + 2) // 3 + nx, 2), np.int32)
    capacity = at.shape[0]
    hidden_at, hidden = np.empty((capacity // 2, 2), np.int32), np.empty((capacity // 2, own.shape[1]))
    newest, above = np.full(nx + 2 * NEAR, NEVER), np.empty(capacity, np.int64)
    some = np.empty(capacity, np.int64)
    smooth, column = np.zeros((3, nx + 2), np.float32), np.empty(nx + 2, np.float32)
    rows = SeedRows(smooth, column, np.empty(nx + 2, np.float32), np.zeros(nx + WORD, np.uint8))
    work = np.zeros(SIZE, np.float32)
    waiting = kept = searched = n_hidden = joined = n_joined = swept = n_some = n = 0
    standardize_row(raw, 0, inverse, offset, z)
    for top in range(0, ny + 1, band):
        stop = min(top + band, ny + 1)
        found = band_seeds(raw, inverse, offset, z, limits.cut, rows, top, stop, seeds, waiting)
        last = stop > ny
        ready = found if last else _before_row(seeds, 0, found, stop - LAG)
        m = likely(frame, clouds, limits, seeds, ready, work)
        if kept + m > capacity:
            return -1
        _copy_pixels(seeds, 0, first_at, kept, m)
        kept = _fit_band(frame, clouds, limits, first_at, first, kept, m, work)
        waiting = found - ready
        _copy_pixels(seeds, ready, seeds, 0, waiting)
        upto = kept if last else _before_row(first_at, searched, kept, stop - SEARCH_LAG)
        around_these = np.arange(searched, upto)
        n_hidden = search(frame, clouds, limits, first_at, around_these, hidden_at, hidden, n_hidden)
        searched = upto
        if n_hidden < 0:
            return -1
        upto = kept if last else _before_row(first_at, joined, kept, stop - JOIN_LAG)
        begin, row = n, ny if last else stop - JOIN_LAG
        n = _join(first_at, first, joined, upto, hidden_at, hidden, n_joined, n_hidden, row, electrons, n)
        if n < 0:
            return -1
        joined, n_joined = upto, n_joined + (n - begin) - (upto - joined)
        mark_near(at, begin, n, near, newest, above)
        upto = n if last else _before_row(at, swept, n, stop - JOIN_LAG - NEAR)
        more = _add_close(near, swept, upto, some, n_some)
        sweep_batches(frame, clouds, limits, electrons, some[n_some:more], work)
        swept, n_some = upto, more
    return keep(electrons, some[:n_some], n, limits.least, frame.even.shape)


@inner
def _copy_pixels(at: Places, first: int, into_at: Places, into: int, n: int) -> None:
    """Copy the pixels of n places from `first` on to another list, or to an earlier part of this one."""
    for k in range(n):
        into_at[into + k, 0], into_at[into + k, 1] = at[first + k, 0], at[first + k, 1]


@inner
def _add_close(near: Flags, begin: int, end: int, some: Numbers, n: int) -> int:
    """List the electrons begin..end-1 that are near another, behind n of some; return how many there are."""
    for k in range(begin, end):
        some[n] = k
        n += near[k] & CLOSE
    return n


@inner
def _before_row(at: Places, least: int, n: int, row: int) -> int:
    """Return how many of n places are above a row; at least so many are."""
    while n > least and at[n - 1, 0] >= row:
        n -= 1
    return n


@inner
def _join(
    first_at: Places, first: Floats, begin: int, end: int,
    hidden_at: Places, hidden: Floats, n_joined: int, n_hidden: int, row: int,
    electrons: Electrons, n: int,
) -> int:  # fmt: skip
    """Put fitted electrons begin..end-1, and the hidden ones above a row, behind n; return the number of all.

    Hidden ones that are not yet joined stay behind those that are. Returns -1 if there was no room.
    """
    at, own, near = electrons
    late = n_joined
    for k in range(n_joined, n_hidden):
        if hidden_at[k, 0] < row:
            for i in range(2):
                hidden_at[k, i], hidden_at[late, i] = hidden_at[late, i], hidden_at[k, i]
            for i in range(FIELDS):
                hidden[k, i], hidden[late, i] = hidden[late, i], hidden[k, i]
            late += 1
    middle, total = n + end - begin, n + end - begin + late - n_joined
    if total > at.shape[0]:
        return -1
    for k in range(begin, end):
        copy_place(first_at, first, k, at, own, n + k - begin)
        near[n + k - begin] = 0
    for k in range(n_joined, late):
        copy_place(hidden_at, hidden, k, at, own, middle + k - n_joined)
        near[middle + k - n_joined] = NEW
    merge(at[n:total], own[n:total], near[n:total], middle - n, total - n)
    return total


@inner
def _fit_band(
    frame: Frame, clouds: Clouds, limits: Limits, at: Places, own: Floats, kept: int, n: int, work: Image
) -> int:
    """Fit n places after those kept; return how many are kept then."""
    base = kept
    some, order, good = np.arange(kept, kept + n), np.empty(n, np.int64), np.empty(n, np.bool_)
    begin, ends = 0, by_level(at, some, frame.even.shape[1], order)
    for end in ends:
        for first in range(begin, end, BATCH):
            batch = order[first : min(first + BATCH, end)]
            fit_first(frame, clouds, limits, at, own, batch, work, good, base)
        begin = end
    for k in range(kept, kept + n):
        if good[k - base]:
            copy_place(at, own, k, at, own, kept)
            kept += 1
    return kept

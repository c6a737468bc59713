"""Find and fit the electrons of a frame in one pass, in bands of rows that stay in the processor's cache.

A seed is fitted when the rows are so far below it that no smoothed row will need its pixels; what it left is
searched when all near it have been fitted. So the bands do not change what is found.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.counting.batches import (
    CLOSE,
    NEAR,
    NEVER,
    NEW,
    by_level,
    fit_first,
    likely,
    mark_near,
    sweep_batches,
)
from mrcz_dask.numerics.counting.fitting import FIELDS
from mrcz_dask.numerics.counting.hidden import search
from mrcz_dask.numerics.counting.lanes import BATCH, SIZE
from mrcz_dask.numerics.counting.listing import copy_place, keep, merge
from mrcz_dask.numerics.counting.seeds import WORD, SeedRows, band_seeds, standardize_row
from mrcz_dask.numerics.counting.shape import MARGIN
from mrcz_dask.numerics.counting.working import Clouds, Electrons, Floats, Frame, Image, Limits, Places
from mrcz_dask.numerics.kernels import ZERO, compiled

BAND = 65536  # pixels of a band
LAG = 4  # rows between a seed that is taken off and the last smoothed row
SEARCH_LAG = 10  # rows between an electron that is searched for others and the last smoothed row
JOIN_LAG = 16  # rows between an electron that is joined to those found and the last smoothed row


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
    waiting = kept = searched = n_hidden = joined = n_joined = swept = n_some = n = ZERO
    standardize_row(raw, ZERO, inverse, offset, z)
    for top in range(0, ny + 1, band):
        stop = min(top + band, ny + 1)
        found = band_seeds(raw, inverse, offset, z, limits.cut, rows, top, stop, seeds, waiting)
        last = stop > ny
        ready = found if last else _before_row(seeds, ZERO, found, stop - LAG)
        m = likely(frame, clouds, limits, seeds, ready, work)
        if kept + m > capacity:
            return -1
        for k in range(m):
            first_at[kept + k, 0], first_at[kept + k, 1] = seeds[k, 0], seeds[k, 1]
        kept = _fit_band(frame, clouds, limits, first_at, first, kept, m, work)
        waiting = found - ready
        for k in range(waiting):
            seeds[k, 0], seeds[k, 1] = seeds[ready + k, 0], seeds[ready + k, 1]
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
        more = n_some
        for k in range(swept, upto):
            some[more] = k
            more += near[k] & CLOSE
        sweep_batches(frame, clouds, limits, electrons, some[n_some:more], work)
        swept, n_some = upto, more
    return keep(electrons, some[:n_some], n, limits.least, frame.even.shape)


@compiled
def _before_row(at: Places, least: int, n: int, row: int) -> int:
    """Return how many of n places are above a row; at least so many are."""
    while n > least and at[n - 1, 0] >= row:
        n -= 1
    return n


@compiled
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


@compiled
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

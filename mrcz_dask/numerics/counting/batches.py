"""Electrons in batches that give what one after the other would.

In raster order each electron is fitted to the frame less those before it. Those whose clouds do not reach
each other need not wait: the level of one is above those of the ones before it that are near, and all of a
level are fitted side by side. Those with uneven pixels go through `fitting`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.counting.fitting import CHARGE, SIGNIFICANCE, U, V, add_cloud, fit, patch, start
from mrcz_dask.numerics.counting.lanes import (
    BATCH,
    OWN_CHARGE,
    OWN_SIGNIFICANCE,
    OWN_U,
    OWN_V,
    START,
    add_own,
    exchange,
    first_places,
    gather,
    padded,
    scatter,
    settle,
    step,
)
from mrcz_dask.numerics.kernels import compiled

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Places = NDArray[np.int32]
Flags = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]

NEAR = 3  # rows and columns between pixels whose clouds are fitted against each other
HEADSTART = 0.75  # what steps from the best of nine places may add to the significance
FIRST_STEPS, SWEEP_STEPS = 2, 1
# flags of an electron: near another, just found, near one just found, not settled in the last sweep
CLOSE, NEW, NEAR_NEW, MOVING = 1, 2, 4, 8
SETTLED = 0.08  # pixels
LEVELS = PLACES = 1 << 32
NEVER = -(1 << 40)


@compiled
def by_level(at: Places, some: Numbers, nx: int, order: Numbers) -> Numbers:
    """Put some electrons, in raster order, into the order of their levels; return where each level ends."""
    newest, level, most = np.full(nx + 2 * NEAR, NEVER), np.empty(some.size, np.int64), 0
    for k in range(some.size):
        row, column = int(at[some[k], 0]), int(at[some[k], 1])
        least, own = (row - NEAR) * LEVELS, 0
        for i in range(2 * NEAR + 1):
            key = int(newest[column + i])
            after = (key & (LEVELS - 1)) + 1
            own = max(own, after if key >= least else 0)
        # of a column the last one is enough: those before it that are near are near it too, their level lower
        newest[column + NEAR] = row * LEVELS + own
        level[k], most = own, max(most, own)
    return _sorted(some, level, most + 1, order)


@compiled
def _sorted(some: Numbers, level: Numbers, levels: int, order: Numbers) -> Numbers:
    ends = np.zeros(levels + 1, np.int64)
    for k in range(some.size):
        ends[level[k] + 1] += 1
    for j in range(levels):
        ends[j + 1] += ends[j]
    for k in range(some.size):
        order[ends[level[k]]] = some[k]
        ends[level[k]] += 1
    return ends[:levels]


@compiled
def mark_near(at: Places, begin: int, end: int, near: Flags, newest: Numbers, above: Numbers) -> None:
    """Flag those of the places begin..end-1, and of those before, that are within `NEAR` rows and columns.

    Those near ones that are flagged as new are flagged for that too. newest (nx + 2 NEAR, `NEVER` at first)
    holds row and number of the last place of each column, above the one over each in its column.
    """
    for k in range(begin, end):
        row, column = int(at[k, 0]), int(at[k, 1])
        least, last = (row - NEAR) * PLACES, NEVER
        for i in range(2 * NEAR + 1):
            last = max(last, int(newest[column + i]))
        if last >= least:
            for i in range(2 * NEAR + 1):
                _mark_column(k, int(newest[column + i]), least, near, above)
        above[k] = newest[column + NEAR]
        newest[column + NEAR] = row * PLACES + k


@compiled
def _mark_column(k: int, key: int, least: int, near: Flags, above: Numbers) -> None:
    while key >= least:
        j = key & (PLACES - 1)
        mark_pair(near, k, j)
        key = int(above[j])


@compiled
def mark_pair(near: Flags, k: int, j: int) -> None:
    """Flag two places that are near each other."""
    flags_j, flags_k = near[j], near[k]
    near[j] = flags_j | CLOSE | (NEAR_NEW if flags_k & NEW else 0)
    near[k] = flags_k | CLOSE | (NEAR_NEW if flags_j & NEW else 0)


@compiled
def sweep_batches(
    z: Image,
    response: Image,
    even: Mask,
    plain: Mask,
    least: float,
    at: Places,
    own: Floats,
    some: Numbers,
    table: Floats,
    shares: Image,
    work: Image,
    near: Flags,
) -> None:
    """Fit some electrons, in raster order, again to z less all others."""
    if some.size == 0:
        return
    order, begin = np.empty(some.size, np.int64), 0
    for end in by_level(at, some, even.shape[1], order):
        for first in range(begin, end, BATCH):
            batch = order[first : min(first + BATCH, end)]
            fit_again(z, response, even, plain, least, at, own, batch, table, shares, work, near)
        begin = end


@compiled
def likely(z: Image, at: Places, n: int, least: float, most: float, work: Image, shares: Image) -> int:
    """Keep the seeds that may be electrons, in front; return how many.

    Taking others off only lowers what a seed has, so that none is left out that is one then.
    """
    kept = 0
    for begin in range(0, n, BATCH):
        m = min(BATCH, n - begin)
        for k in range(m):
            gather(z, at[begin + k, 0], at[begin + k, 1], work, k)
        first_places(work, padded(m), shares)
        for k in range(m):
            at[kept, 0], at[kept, 1] = at[begin + k, 0], at[begin + k, 1]
            kept += (work[START * BATCH + k] >= least - HEADSTART) & (work[4 * BATCH + k] <= most)
    return kept


@compiled
def fit_one(
    z: Image,
    response: Image,
    even: Mask,
    row: int,
    column: int,
    own: Floats,
    k: int,
    table: Floats,
    least: float,
) -> bool:
    """Fit an electron into own and take it off z; return whether it is one."""
    if start(patch(z, row, column), own, k, table) < least - HEADSTART:
        return False
    fit(z, response, even, row, column, own, k, FIRST_STEPS, table)
    good = bool(own[k, SIGNIFICANCE] >= least)
    if good:
        add_cloud(z, response, row, column, own, k, -1.0, table)
    return good


@compiled
def _taken(
    z: Image, row: int, column: int, least: float, own: Floats, k: int, work: Image, lane: int
) -> bool:
    """Take what a lane found off z and into own; return whether it is an electron."""
    own[k, SIGNIFICANCE] = work[OWN_SIGNIFICANCE * BATCH + lane]
    if work[START * BATCH + lane] < least - HEADSTART or own[k, SIGNIFICANCE] < least:
        return False
    own[k, U], own[k, V] = work[OWN_U * BATCH + lane], work[OWN_V * BATCH + lane]
    own[k, CHARGE] = work[OWN_CHARGE * BATCH + lane]
    scatter(z, row, column, work, lane)
    return True


@compiled
def fit_first(
    z: Image,
    response: Image,
    even: Mask,
    plain: Mask,
    least: float,
    at: Places,
    own: Floats,
    some: Numbers,
    table: Floats,
    shares: Image,
    work: Image,
    good: Mask,
    base: int,
) -> None:
    """Fit those of a batch, far from each other, and take the significant ones off.

    good says which they are, from k = base on.
    """
    lanes, lane_of = 0, np.empty(BATCH, np.int64)
    for j in range(some.size):
        k = some[j]
        row, column = at[k, 0], at[k, 1]
        if plain[row, column]:
            gather(z, row, column, work, lanes)
            lane_of[lanes] = k
            lanes += 1
        else:
            good[k - base] = fit_one(z, response, even, row, column, own, k, table, least)
    n = padded(lanes)
    first_places(work, n, shares)
    for _ in range(FIRST_STEPS):
        step(work, n, shares)
    settle(work, n, shares)
    for lane in range(lanes):
        k = lane_of[lane]
        good[k - base] = _taken(z, at[k, 0], at[k, 1], least, own, k, work, lane)


@compiled
def fit_again(
    z: Image,
    response: Image,
    even: Mask,
    plain: Mask,
    least: float,
    at: Places,
    own: Floats,
    some: Numbers,
    table: Floats,
    shares: Image,
    work: Image,
    near: Flags,
) -> None:
    """Fit those of a batch, far from each other, again to z less all others."""
    lanes, lane_of = 0, np.empty(BATCH, np.int64)
    for j in range(some.size):
        k = some[j]
        row, column = at[k, 0], at[k, 1]
        if plain[row, column]:
            gather(z, row, column, work, lanes)
            work[OWN_U * BATCH + lanes], work[OWN_V * BATCH + lanes] = own[k, U], own[k, V]
            work[OWN_CHARGE * BATCH + lanes], lane_of[lanes] = own[k, CHARGE], k
            lanes += 1
        else:
            _again(z, response, even, row, column, own, k, table, least, near)
    n = padded(lanes)
    add_own(work, n, shares)
    for _ in range(SWEEP_STEPS):
        step(work, n, shares)
    settle(work, n, shares)
    for lane in range(lanes):
        k = lane_of[lane]
        _exchanged(z, at[k, 0], at[k, 1], least, own, k, work, lane, near)


@compiled
def _again(
    z: Image,
    response: Image,
    even: Mask,
    row: int,
    column: int,
    own: Floats,
    k: int,
    table: Floats,
    least: float,
    near: Flags,
) -> None:
    add_cloud(z, response, row, column, own, k, 1.0, table)
    u, v = own[k, U], own[k, V]
    fit(z, response, even, row, column, own, k, SWEEP_STEPS, table)
    _mark(near, k, max(abs(own[k, U] - u), abs(own[k, V] - v)))
    if own[k, SIGNIFICANCE] >= least:
        add_cloud(z, response, row, column, own, k, -1.0, table)


@compiled
def _mark(near: Flags, k: int, moved: float) -> None:
    near[k] = near[k] | MOVING if moved > SETTLED else near[k] & ~MOVING


@compiled
def _exchanged(
    z: Image, row: int, column: int, least: float, own: Floats, k: int, work: Image, lane: int, near: Flags
) -> None:
    u, v = np.float64(work[OWN_U * BATCH + lane]), np.float64(work[OWN_V * BATCH + lane])
    _mark(near, k, max(abs(own[k, U] - u), abs(own[k, V] - v)))
    own[k, U], own[k, V], own[k, CHARGE] = u, v, work[OWN_CHARGE * BATCH + lane]
    own[k, SIGNIFICANCE] = work[OWN_SIGNIFICANCE * BATCH + lane]
    exchange(z, row, column, work, lane, own[k, SIGNIFICANCE] >= least)

"""Fit many electrons at once, with the same result as fitting them one after the other.

In raster order each electron is fitted to the frame less those before it. Those whose clouds do not reach
each other need not wait: the level of one is above those of the ones before it that are near, and all of a
level are fitted side by side. Those with uneven pixels go through `fitting`.
"""

from __future__ import annotations

import numpy as np

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
from mrcz_dask.numerics.counting.working import (
    Clouds,
    Electrons,
    Flags,
    Floats,
    Frame,
    Image,
    Limits,
    Mask,
    Numbers,
    Places,
)
from mrcz_dask.numerics.kernels import ZERO, compiled

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
    """Order electrons so that those that do not influence each other can be fitted together; return where
    each such level ends.
    """
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
    ends = np.zeros(most + 2, np.int64)
    for k in range(some.size):
        ends[level[k] + 1] += 1
    for j in range(most + 1):
        ends[j + 1] += ends[j]
    for k in range(some.size):
        order[ends[level[k]]] = some[k]
        ends[level[k]] += 1
    return ends[: most + 1]


@compiled
def mark_near(at: Places, begin: int, end: int, near: Flags, newest: Numbers, above: Numbers) -> None:
    """Flag electrons begin..end-1, and earlier ones, that lie within `NEAR` rows and columns of another and
    so influence its fit.

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
                key = int(newest[column + i])
                while key >= least:
                    j = key & (PLACES - 1)
                    mark_pair(near, k, j)
                    key = int(above[j])
        above[k] = newest[column + NEAR]
        newest[column + NEAR] = row * PLACES + k


@compiled
def mark_pair(near: Flags, k: int, j: int) -> None:
    """Flag two electrons as near each other."""
    flags_j, flags_k = near[j], near[k]
    near[j] = flags_j | CLOSE | (NEAR_NEW if flags_k & NEW else 0)
    near[k] = flags_k | CLOSE | (NEAR_NEW if flags_j & NEW else 0)


@compiled
def sweep_batches(
    frame: Frame, clouds: Clouds, limits: Limits, electrons: Electrons, some: Numbers, work: Image
) -> None:
    """Fit electrons again, each to the frame without all the others, in raster order."""
    if some.size == 0:
        return
    order, begin = np.empty(some.size, np.int64), 0
    for end in by_level(electrons.at, some, frame.even.shape[1], order):
        for first in range(begin, end, BATCH):
            fit_again(frame, clouds, limits, electrons, order[first : min(first + BATCH, end)], work)
        begin = end


@compiled
def likely(frame: Frame, clouds: Clouds, limits: Limits, at: Places, n: int, work: Image) -> int:
    """Keep the seeds that are significant enough to be electrons, at the front of the list; return how many.

    Subtracting others only lowers the significance of a seed, so none that is an electron then is left out.
    """
    kept = 0
    for begin in range(0, n, BATCH):
        m = min(BATCH, n - begin)
        for k in range(m):
            gather(frame.z, at[begin + k, 0], at[begin + k, 1], work, k)
        first_places(work, padded(m), clouds.shares)
        for k in range(m):
            at[kept, 0], at[kept, 1] = at[begin + k, 0], at[begin + k, 1]
            significant = work[START * BATCH + k] >= limits.least - HEADSTART
            kept += significant & (work[4 * BATCH + k] <= limits.most)
    return kept


@compiled
def fit_one(frame: Frame, clouds: Clouds, limits: Limits, row: int, column: int, own: Floats, k: int) -> bool:
    """Fit an electron to the frame and, if it is significant, subtract its charge; return whether it was."""
    if start(patch(frame.z, row, column), own, k, clouds.table) < limits.least - HEADSTART:
        return False
    fit(frame, row, column, own, k, FIRST_STEPS, clouds.table)
    good = bool(own[k, SIGNIFICANCE] >= limits.least)
    if good:
        add_cloud(frame, row, column, own, k, -1.0, clouds.table)
    return good


@compiled
def fit_first(
    frame: Frame,
    clouds: Clouds,
    limits: Limits,
    at: Places,
    own: Floats,
    some: Numbers,
    work: Image,
    good: Mask,
    base: int,
) -> None:
    """Fit a batch of seeds far from each other, and subtract the charge of those that are significant.

    good[k - base] becomes True for these.
    """
    lanes, lane_of = ZERO, np.empty(BATCH, np.int64)
    for j in range(some.size):
        k = some[j]
        row, column = ZERO + at[k, 0], ZERO + at[k, 1]
        if frame.plain[row, column]:
            gather(frame.z, at[k, 0], at[k, 1], work, lanes)
            lane_of[lanes] = k
            lanes += 1
        else:
            good[k - base] = fit_one(frame, clouds, limits, row, column, own, k)
    n = padded(lanes)
    first_places(work, n, clouds.shares)
    for _ in range(FIRST_STEPS):
        step(work, n, clouds.shares)
    settle(work, n, clouds.shares)
    for lane in range(lanes):
        k = lane_of[lane]
        own[k, SIGNIFICANCE] = work[OWN_SIGNIFICANCE * BATCH + lane]
        good[k - base] = False
        if not (work[START * BATCH + lane] < limits.least - HEADSTART or own[k, SIGNIFICANCE] < limits.least):
            own[k, U], own[k, V] = work[OWN_U * BATCH + lane], work[OWN_V * BATCH + lane]
            own[k, CHARGE] = work[OWN_CHARGE * BATCH + lane]
            scatter(frame.z, at[k, 0], at[k, 1], work, lane)
            good[k - base] = True


@compiled
def fit_again(
    frame: Frame, clouds: Clouds, limits: Limits, electrons: Electrons, some: Numbers, work: Image
) -> None:
    """Fit a batch of electrons far from each other once more, each to the frame without all the others."""
    at, own, near = electrons
    lanes, lane_of = ZERO, np.empty(BATCH, np.int64)
    for j in range(some.size):
        k = some[j]
        row, column = ZERO + at[k, 0], ZERO + at[k, 1]
        if frame.plain[row, column]:
            gather(frame.z, at[k, 0], at[k, 1], work, lanes)
            work[OWN_U * BATCH + lanes], work[OWN_V * BATCH + lanes] = own[k, U], own[k, V]
            work[OWN_CHARGE * BATCH + lanes], lane_of[lanes] = own[k, CHARGE], k
            lanes += 1
        else:
            add_cloud(frame, row, column, own, k, 1.0, clouds.table)
            u, v = own[k, U], own[k, V]
            fit(frame, row, column, own, k, SWEEP_STEPS, clouds.table)
            _mark_moving(near, k, max(abs(own[k, U] - u), abs(own[k, V] - v)))
            if own[k, SIGNIFICANCE] >= limits.least:
                add_cloud(frame, row, column, own, k, -1.0, clouds.table)
    n = padded(lanes)
    add_own(work, n, clouds.shares)
    for _ in range(SWEEP_STEPS):
        step(work, n, clouds.shares)
    settle(work, n, clouds.shares)
    for lane in range(lanes):
        k = lane_of[lane]
        new_u, new_v = np.float64(work[OWN_U * BATCH + lane]), np.float64(work[OWN_V * BATCH + lane])
        _mark_moving(near, k, max(abs(own[k, U] - new_u), abs(own[k, V] - new_v)))
        own[k, U], own[k, V], own[k, CHARGE] = new_u, new_v, work[OWN_CHARGE * BATCH + lane]
        own[k, SIGNIFICANCE] = work[OWN_SIGNIFICANCE * BATCH + lane]
        exchange(frame.z, at[k, 0], at[k, 1], work, lane, own[k, SIGNIFICANCE] >= limits.least)


@compiled
def _mark_moving(near: Flags, k: int, moved: float) -> None:
    near[k] = near[k] | MOVING if moved > SETTLED else near[k] & ~MOVING

"""Fit many electrons at once, with the same result as fitting them one after the other.

In raster order each electron is fitted to the frame less those before it. Those whose clouds do not reach
each other need not wait: the level of one is above those of the ones before it that are near, and all of a
level are fitted side by side. Those with uneven pixels go through `fitting`. What is left around the fitted
ones is smoothed and searched for electrons that they hid.
"""

from __future__ import annotations

import numpy as np

from mrcz_dask.numerics.arrays import Floats, Image, Mask
from mrcz_dask.numerics.counting.fitting import (
    CHARGE,
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
    V,
    add_cloud,
    fit,
    patch,
    start,
)
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
from mrcz_dask.numerics.kernels import compiled, inner, lanes_loop, lanewise

NEAR = 3  # rows and columns between pixels whose clouds are fitted against each other
HEADSTART = 0.75  # what steps from the best of nine places may add to the significance
FIRST_STEPS, SWEEP_STEPS = 2, 1
# flags of an electron: near another, just found, near one just found, not settled in the last sweep
CLOSE, NEW, NEAR_NEW, MOVING = 1, 2, 4, 8
SETTLED = 0.08  # pixels
LEVELS = PLACES = 1 << 32
NEVER = -(1 << 40)
Single = np.float32

HALF = np.float32(0.5)


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


@inner
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


@inner
def mark_pair(near: Flags, k: int, j: int) -> None:
    """Flag two electrons as near each other."""
    flags_j, flags_k = near[j], near[k]
    near[j] = flags_j | CLOSE | (NEAR_NEW if flags_k & NEW else 0)
    near[k] = flags_k | CLOSE | (NEAR_NEW if flags_j & NEW else 0)


@inner
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


@inner
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


@inner
def fit_one(frame: Frame, clouds: Clouds, limits: Limits, row: int, column: int, own: Floats, k: int) -> bool:
    """Fit an electron to the frame and, if it is significant, subtract its charge; return whether it was."""
    if start(patch(frame.z, row, column), own, k, clouds.table) < limits.least - HEADSTART:
        return False
    fit(frame, row, column, own, k, FIRST_STEPS, clouds.table)
    good = bool(own[k, SIGNIFICANCE] >= limits.least)
    if good:
        add_cloud(frame, row, column, own, k, -1.0, clouds.table)
    return good


@inner
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
    lanes, lane_of = 0, np.empty(BATCH, np.int64)
    for j in range(some.size):
        k = some[j]
        row, column = 0 + at[k, 0], 0 + at[k, 1]  # int64
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


@inner
def fit_again(
    frame: Frame, clouds: Clouds, limits: Limits, electrons: Electrons, some: Numbers, work: Image
) -> None:
    """Fit a batch of electrons far from each other once more, each to the frame without all the others."""
    at, own, near = electrons
    lanes, lane_of = 0, np.empty(BATCH, np.int64)
    for j in range(some.size):
        k = some[j]
        row, column = 0 + at[k, 0], 0 + at[k, 1]  # int64
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


@inner
def _mark_moving(near: Flags, k: int, moved: float) -> None:
    near[k] = near[k] | MOVING if moved > SETTLED else near[k] & ~MOVING


@lanewise
def _smooth(a: Single, b: Single, c: Single) -> Single:
    return HALF * (a + c) + b


@lanewise
def _larger(a: Single, b: Single) -> Single:
    return a if a > b else b


@lanewise
def _across(z: Image, y: np.uintp, x: np.uintp) -> Single:
    return _smooth(z[y, x], z[y, x + np.uintp(1)], z[y, x + np.uintp(2)])


@lanewise
def _column(z: Image, y: np.uintp, x: np.uintp) -> Single:
    """Return the largest of five smoothed pixels of a column."""
    a, b, c = _across(z, y, x), _across(z, y + np.uintp(1), x), _across(z, y + np.uintp(2), x)
    d, e = _across(z, y + np.uintp(3), x), _across(z, y + np.uintp(4), x)
    f, g = _across(z, y + np.uintp(5), x), _across(z, y + np.uintp(6), x)
    upper, lower = _larger(_smooth(a, b, c), _smooth(b, c, d)), _larger(_smooth(d, e, f), _smooth(e, f, g))
    return _larger(_larger(upper, lower), _smooth(c, d, e))


@lanes_loop
def _largest(z: Image, row: int, column: int) -> Single:
    """Return the largest smoothed pixel within two of the given one."""
    y, x = np.uintp(row + MARGIN - 3), np.uintp(column + MARGIN - 3)
    first = _larger(_column(z, y, x), _column(z, y, x + np.uintp(1)))
    last = _larger(_column(z, y, x + np.uintp(3)), _column(z, y, x + np.uintp(4)))
    return _larger(_larger(first, last), _column(z, y, x + np.uintp(2)))


@inner
def search(
    frame: Frame,
    clouds: Clouds,
    limits: Limits,
    at: Places,
    some: Numbers,
    new_at: Places,
    new: Floats,
    n: int,
) -> int:
    """Search around electrons for others that they hid, fit these, and subtract them from the frame.

    The smoothed rest is searched in 5 x 5 pixels; its maximum, if above the cut, is fitted. The electrons go
    behind n of new. Returns how many there are then, or -1 if there is no room.
    """
    for k in some:
        if _largest(frame.z, at[k, 0], at[k, 1]) <= limits.cut:
            continue
        row, column = _best(frame.z, at[k, 0], at[k, 1], limits.cut)
        if row < 0 or frame.z[row + MARGIN, column + MARGIN] > limits.most:
            continue
        if n >= new_at.shape[0]:
            return -1
        if fit_one(frame, clouds, limits, row, column, new, n):
            new_at[n, 0], new_at[n, 1] = row, column
            n += 1
    return n


@inner
def _best(z: Image, row: int, column: int, cut: np.float32) -> tuple[int, int]:
    """Return the pixel within two with the largest smoothed rest above the cut; -1, -1: none."""
    best, place = cut, (-1, -1)
    for y in range(row + MARGIN - 2, row + MARGIN + 3):
        for x in range(column + MARGIN - 2, column + MARGIN + 3):
            left = HALF * (z[y - 1, x - 1] + z[y + 1, x - 1]) + z[y, x - 1]
            middle = HALF * (z[y - 1, x] + z[y + 1, x]) + z[y, x]
            right = HALF * (z[y - 1, x + 1] + z[y + 1, x + 1]) + z[y, x + 1]
            value = _smooth(left, middle, right)
            if value > best:
                best, place = value, (y - MARGIN, x - MARGIN)
    inside = 0 <= place[0] < z.shape[0] - 2 * MARGIN and 0 <= place[1] < z.shape[1] - 2 * MARGIN
    return place if inside else (-1, -1)

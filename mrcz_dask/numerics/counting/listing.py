"""Keep lists of electrons in raster order: merge them, sort them, remove those that are not significant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.counting.batches import NEW
from mrcz_dask.numerics.counting.fitting import FIELDS, SIGNIFICANCE, U
from mrcz_dask.numerics.counting.working import Electrons, Flags, Floats, Numbers, Places
from mrcz_dask.numerics.kernels import compiled

MOVED = 0.6  # pixels from the middle beyond which an electron gets the next pixel


@compiled
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


@compiled
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


@compiled
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


@compiled
def copy_place(at: Places, own: Floats, k: int, into_at: Places, into_own: Floats, into: int) -> None:
    """Copy electron k of one list to a position in another."""
    into_at[into, 0], into_at[into, 1] = at[k, 0], at[k, 1]
    for j in range(FIELDS):
        into_own[into, j] = own[k, j]


@compiled
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

"""Find electrons hidden by others: smooth what is left around these after subtraction, and search it."""

from __future__ import annotations

import numpy as np

from mrcz_dask.numerics.counting.batches import fit_one
from mrcz_dask.numerics.counting.shape import MARGIN
from mrcz_dask.numerics.counting.working import Clouds, Floats, Frame, Image, Limits, Numbers, Places
from mrcz_dask.numerics.kernels import compiled, lanes_loop, lanewise

Single = np.float32

HALF = np.float32(0.5)


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


@compiled
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


@compiled
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

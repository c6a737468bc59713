"""Fit many electrons at a time with vector instructions: one electron in each lane of a buffer.

Each electron has a lane of a flat buffer of fields of `BATCH` values, and what comes out of a lane depends on
that lane alone. These are the fits of `fitting` where the response is 1 in 5 x 5 pixels.
"""

from __future__ import annotations

import numpy as np

from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.counting.fitting import LARGEST_STEP, MARGIN, REACH, SOFTER, SPAN, STEPS, TAPS
from mrcz_dask.numerics.kernels import inner, lanes_loop, lanewise

Single = np.float32
Three = tuple[Single, Single, Single]
Five = tuple[Single, Single, Single, Single, Single]
Terms = tuple[Single, Single, Single, Single, Single, Single]
LanePatch = tuple[Single, Single, Single, Single, Single, Single, Single, Single, Single]

BATCH = 128
WIDTH = 16  # lanes in work are a multiple of this
# fields: 9 pixels, best significance of nine places, the fit, shares down (with charge), across, before it
START, OWN_U, OWN_V, OWN_CHARGE, OWN_SIGNIFICANCE = 9, 10, 11, 12, 13
DOWN, ACROSS, OLD_DOWN, OLD_ACROSS = 14, 14 + TAPS, 14 + 2 * TAPS, 14 + 3 * TAPS
SIZE = (14 + 4 * TAPS) * BATCH
COARSE_PLACE = np.float32(round(0.4 * STEPS) / STEPS)
ZERO, ONE, SOFT = np.float32(0), np.float32(1), np.float32(SOFTER)
STEP, FARTHEST = np.float32(LARGEST_STEP), np.float32(SPAN)


@lanewise
def _terms(shares: Image, k: int) -> Terms:
    return shares[k, 0], shares[k, 1], shares[k, 2], shares[k, 3], shares[k, 4], shares[k, 5]


@lanewise
def _value(c: Terms, t: Single) -> Single:
    return ((((c[5] * t + c[4]) * t + c[3]) * t + c[2]) * t + c[1]) * t + c[0]


@lanewise
def _shares(e: Terms, a: Terms, b: Terms, u: Single) -> Three:
    t = u * u
    side, lean = _value(a, t), u * _value(b, t)
    return side - lean, _value(e, t), side + lean


@lanewise
def _slopes(e: Terms, a: Terms, b: Terms, u: Single) -> Three:
    t = u * u
    side, lean = u * _value(a, t), _value(b, t)
    return side - lean, u * _value(e, t), side + lean


@lanewise
def _dot(a: Three, b: Three) -> Single:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@lanewise
def _columns(f: Three, z: LanePatch) -> Three:
    """Return the sums down of each column of a patch (row by row)."""
    left, middle = f[0] * z[0] + f[1] * z[3] + f[2] * z[6], f[0] * z[1] + f[1] * z[4] + f[2] * z[7]
    return left, middle, f[0] * z[2] + f[1] * z[5] + f[2] * z[8]


@lanewise
def _pixels(work: Image, k: int) -> LanePatch:
    upper = work[k], work[BATCH + k], work[2 * BATCH + k]
    middle = work[3 * BATCH + k], work[4 * BATCH + k], work[5 * BATCH + k]
    lower = work[6 * BATCH + k], work[7 * BATCH + k], work[8 * BATCH + k]
    return upper[0], upper[1], upper[2], middle[0], middle[1], middle[2], lower[0], lower[1], lower[2]


@lanewise
def _limited(value: Single, most: Single) -> Single:
    lower = value if value < most else most
    return lower if lower > -most else -most


@lanewise
def _moved(u: Single, f: Three, d: Three, fz: Single, uz: Single) -> Single:
    """Return a place after a Gauss-Newton step; that of the other axis does not matter, nor the charge."""
    ff, fu, uu = _dot(f, f), _dot(f, d), _dot(d, d)
    bend = fz * (uu * ff - fu * fu) * SOFT
    by = (uz * ff - fz * fu) * ff / (bend if bend > ZERO else ONE)
    return _limited(u + _limited(by if bend > ZERO else ZERO, STEP), FARTHEST)


@lanewise
def _better(found: Single, u: Single, v: Single, best: Three) -> Three:
    more = found > best[0]
    return (found if more else best[0]), (u if more else best[1]), (v if more else best[2])


@lanewise
def _best_across(sums: Three, f: Three, g: Three, w: Three, u: Single, best: Three) -> Three:
    """Return the best so far after three places across; f, g: shares at COARSE_PLACE and 0, w: weights."""
    before = sums[0] * f[2] + sums[1] * f[1] + sums[2] * f[0]
    best = _better(before * w[1], u, -COARSE_PLACE, best)
    best = _better(_dot(sums, g) * w[2], u, ZERO, best)
    return _better(_dot(sums, f) * w[1], u, COARSE_PLACE, best)


@lanewise
def _start(z: LanePatch, f: Three, g: Three, w: tuple[Single, Single]) -> Three:
    """Return the largest significance of nine places, and the place."""
    best = (ZERO, ZERO, ZERO)
    back, side, middle = (
        (f[2], f[1], f[0]),
        (ZERO, w[0] * w[0], w[0] * w[1]),
        (ZERO, w[1] * w[0], w[1] * w[1]),
    )
    best = _best_across(_columns(back, z), f, g, side, -COARSE_PLACE, best)
    best = _best_across(_columns(g, z), f, g, middle, ZERO, best)
    return _best_across(_columns(f, z), f, g, side, COARSE_PLACE, best)


@lanewise
def _settled(z: LanePatch, f: Three, g: Three) -> tuple[Single, Single]:
    """Return charge and significance at a place."""
    fz, ff = _dot(_columns(f, z), g), _dot(f, f) * _dot(g, g)
    fz = fz if fz > ZERO else ZERO
    return fz / ff, fz / np.sqrt(ff)


@lanewise
def _put_shares(work: Image, k: int, first: int, f: Three, outer: tuple[Single, Single], by: Single) -> None:
    work[first * BATCH + k] = (outer[0] - outer[1]) * by
    work[(first + 1) * BATCH + k], work[(first + 2) * BATCH + k] = f[0] * by, f[1] * by
    work[(first + 3) * BATCH + k] = f[2] * by
    work[(first + 4) * BATCH + k] = (outer[0] + outer[1]) * by


@lanewise
def _add_row(work: Image, k: int, first: int, part: Single, g: Three) -> None:
    work[first * BATCH + k] += part * g[0]
    work[(first + 1) * BATCH + k] += part * g[1]
    work[(first + 2) * BATCH + k] += part * g[2]


@lanes_loop
def first_places(work: Image, n: int, shares: Image) -> None:
    """Try nine positions for each of n electrons, and store the best with its significance."""
    e, a, b = _terms(shares, 0), _terms(shares, 1), _terms(shares, 2)
    f, g = _shares(e, a, b, COARSE_PLACE), _shares(e, a, b, ZERO)
    w = ONE / np.sqrt(_dot(f, f)), ONE / np.sqrt(_dot(g, g))
    for k in range(n):
        best = _start(_pixels(work, k), f, g, w)
        work[START * BATCH + k], work[OWN_U * BATCH + k], work[OWN_V * BATCH + k] = best


@lanes_loop
def step(work: Image, n: int, shares: Image) -> None:
    """Refine the positions of n electrons by one Gauss-Newton step."""
    e, a, b = _terms(shares, 0), _terms(shares, 1), _terms(shares, 2)
    e1, a1, b1 = _terms(shares, 5), _terms(shares, 6), _terms(shares, 7)
    for k in range(n):
        z, u, v = _pixels(work, k), work[OWN_U * BATCH + k], work[OWN_V * BATCH + k]
        f, g = _shares(e, a, b, u), _shares(e, a, b, v)
        d, h = _slopes(e1, a1, b1, u), _slopes(e1, a1, b1, v)
        sums = _columns(f, z)
        fz, uz, vz = _dot(sums, g), _dot(_columns(d, z), g), _dot(sums, h)
        work[OWN_U * BATCH + k], work[OWN_V * BATCH + k] = _moved(u, f, d, fz, uz), _moved(v, g, h, fz, vz)


@lanes_loop
def settle(work: Image, n: int, shares: Image) -> None:
    """Compute charge and significance of n electrons at their fitted positions, and store them."""
    e, a, b = _terms(shares, 0), _terms(shares, 1), _terms(shares, 2)
    c, d = _terms(shares, 3), _terms(shares, 4)
    for k in range(n):
        z, u, v = _pixels(work, k), work[OWN_U * BATCH + k], work[OWN_V * BATCH + k]
        f, g, s, t = _shares(e, a, b, u), _shares(e, a, b, v), u * u, v * v
        charge, significance = _settled(z, f, g)
        work[OWN_CHARGE * BATCH + k], work[OWN_SIGNIFICANCE * BATCH + k] = charge, significance
        _put_shares(work, k, DOWN, f, (_value(c, s), u * _value(d, s)), charge)
        _put_shares(work, k, ACROSS, g, (_value(c, t), v * _value(d, t)), ONE)


@lanes_loop
def add_own(work: Image, n: int, shares: Image) -> None:
    """Add each of n electrons' own charge back to the pixels in its lane, so that it can be fitted again."""
    e, a, b = _terms(shares, 0), _terms(shares, 1), _terms(shares, 2)
    c, d = _terms(shares, 3), _terms(shares, 4)
    for k in range(n):
        u, v, charge = work[OWN_U * BATCH + k], work[OWN_V * BATCH + k], work[OWN_CHARGE * BATCH + k]
        f, g, s, t = _shares(e, a, b, u), _shares(e, a, b, v), u * u, v * v
        _put_shares(work, k, OLD_DOWN, f, (_value(c, s), u * _value(d, s)), charge)
        _put_shares(work, k, OLD_ACROSS, g, (_value(c, t), v * _value(d, t)), ONE)
        _add_row(work, k, 0, f[0] * charge, g)
        _add_row(work, k, 3, f[1] * charge, g)
        _add_row(work, k, 6, f[2] * charge, g)


@inner
def padded(n: int) -> int:
    """Round n electrons up to whole vectors: return how many lanes are computed."""
    return (n + WIDTH - 1) // WIDTH * WIDTH


@lanewise
def _five(work: Image, first: int, lane: int) -> Five:
    at = first * BATCH + lane
    upper, middle = (work[at], work[at + BATCH]), work[at + 2 * BATCH]
    return upper[0], upper[1], middle, work[at + 3 * BATCH], work[at + 4 * BATCH]


@lanewise
def _add_five(z: Image, y: np.uintp, x: np.uintp, by: Single, f: Five) -> None:
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    a, b, c = z[y, x] + by * f[0], z[y, x + one] + by * f[1], z[y, x + two] + by * f[2]
    d, e = z[y, x + three] + by * f[3], z[y, x + four] + by * f[4]
    z[y, x], z[y, x + one], z[y, x + two], z[y, x + three], z[y, x + four] = a, b, c, d, e


@lanes_loop
def gather(z: Image, row: int, column: int, work: Image, lane: int) -> None:
    """Copy the 3 x 3 pixels around an electron's pixel into a lane."""
    x = np.uintp(column + MARGIN - 1)
    for j in range(3):
        y, at = np.uintp(row + MARGIN - 1 + j), 3 * j * BATCH + lane
        work[at], work[at + BATCH] = z[y, x], z[y, x + np.uintp(1)]
        work[at + 2 * BATCH] = z[y, x + np.uintp(2)]


@lanes_loop
def scatter(z: Image, row: int, column: int, work: Image, lane: int) -> None:
    """Subtract an electron's charge, as its lane has it, from 5 x 5 pixels of the frame."""
    down, across = _five(work, DOWN, lane), _five(work, ACROSS, lane)
    y, x = np.uintp(row + MARGIN - REACH), np.uintp(column + MARGIN - REACH)
    for part in down:
        _add_five(z, y, x, -part, across)
        y += np.uintp(1)


@lanes_loop
def exchange(z: Image, row: int, column: int, work: Image, lane: int, kept: bool) -> None:
    """Add an electron's old charge back to the frame and, if it is kept, subtract its newly fitted charge."""
    by = ONE if kept else ZERO
    old, before = _five(work, OLD_DOWN, lane), _five(work, OLD_ACROSS, lane)
    new, after = _five(work, DOWN, lane), _five(work, ACROSS, lane)
    y, x = np.uintp(row + MARGIN - REACH), np.uintp(column + MARGIN - REACH)
    for j in range(TAPS):
        _add_five(z, y, x, old[j], before)
        _add_five(z, y, x, -by * new[j], after)
        y += np.uintp(1)

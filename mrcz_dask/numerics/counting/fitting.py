"""Fit the cloud of charge of one electron to 3 x 3 pixels by maximum likelihood, in compiled code.

A frame z is in read noises with `MARGIN` pixels around; an electron in pixel (row, column) that is u, v
pixels below and right of its middle adds charge * response * f(u) * f(v), f the share of the charge that a
pixel collects. The significance of a fit is root(2 (log likelihood - that of no electron)) =
(model . z) / |model|, in units of the noise. Where the response is 1 the model is a product of rows and
columns, and so are all sums.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from mrcz_dask.numerics.arrays import Floats, Image, Mask
from mrcz_dask.numerics.kernels import compiled, inner

Places = NDArray[np.int32]
Flags = NDArray[np.uint8]
Numbers = NDArray[np.int64]
REACH = 2  # pixels to either side that are subtracted; the fit uses one
TAPS = 2 * REACH + 1
MARGIN = 4  # pixels round a frame, so that nothing looks beyond the edge
STEPS = 64  # nodes per pixel
SPAN = 0.8  # an impact lies at most so far from the middle of the pixel that has the largest sum
NODES = 2 * round(SPAN * STEPS) + 1
# columns of the table: shares, their derivatives, sums over pixels -1, 0, 1 of squares and products
SHARE, SLOPE, SQUARE, CROSS, SLOPES, WEIGHT = 0, TAPS, 2 * TAPS, 2 * TAPS + 1, 2 * TAPS + 2, 2 * TAPS + 3
TERMS = 6  # of a polynomial in the square of the place; wrong by 2e-6 with a sharing of .4, 2e-4 with .2
Column = tuple[float, float, float]
Patch = tuple[Column, Column, Column]
Sums = tuple[float, float, float, float, float, float, float, float, float]

COARSE = (-0.4, 0.0, 0.4)
LARGEST_STEP = 0.3
LEAST_POWER = 1e-6
SOFTER = 1.02  # of the curvature, so that a flat one does not send the place away
# fields of an electron in the working list
CHARGE, U, V, SIGNIFICANCE = 0, 1, 2, 3
FIELDS = 4


class Frame(NamedTuple):
    """Arrays of one frame for counting: its pixels in read noises, and the response of each pixel.

    Attributes
    ----------
    z
        (ny + 8, nx + 8): the frame less the electrons that have been found.
    response
        (ny + 8, nx + 8): a unit of charge in z; 0 where a pixel is not used and beyond the edges.
    even, plain
        (ny, nx): True where the response is 1 in the 3 x 3, 5 x 5 pixels around.
    """

    z: Image
    response: Image
    even: Mask
    plain: Mask


class Clouds(NamedTuple):
    """Tables of the share of an electron's charge that each pixel collects, as numbers and polynomials."""

    table: Floats
    shares: Image


class Limits(NamedTuple):
    """Thresholds: of seeds, of electrons, and of X-rays.

    Attributes
    ----------
    cut
        Smallest smoothed value of a seed, in units of z (the smoothed noise is `NORM`).
    least
        Smallest significance of an electron.
    most
        Largest z of a pixel; above it is an X-ray.
    """

    cut: np.float32
    least: float
    most: float


class Electrons(NamedTuple):
    """Arrays of a frame's electrons, with room for more that are found later: pixel, position, charge, flags.

    Attributes
    ----------
    at
        (capacity, 2) their pixels (row, column).
    own
        (capacity, FIELDS) charge, u, v, significance.
    near
        (capacity,) flags, see `batches`.
    """

    at: Places
    own: Floats
    near: Flags


@lru_cache(maxsize=8)
def response_table(sharing: float) -> NDArray[np.float64]:
    """Tabulate the shares of a charge that pixels -2..2 collect, and their derivatives, by its position.

    Parameters
    ----------
    sharing
        Standard deviation of the cloud in pixels.

    Returns
    -------
    ndarray
        (NODES, 14) float64; row k is an impact (k - NODES // 2) / STEPS pixels from the middle of pixel 0:
        five shares f, five derivatives f' per pixel, sums over the middle three of f f, f f' and
        f' f', and one over the root of the first.
    """
    place = (np.arange(NODES) - NODES // 2) / STEPS
    at = (np.arange(-REACH, REACH + 2) - 0.5 - place[:, None]) / sharing
    density = np.exp(-0.5 * at**2) / (sharing * np.sqrt(2 * np.pi))
    share, slope = np.diff(ndtr(at), axis=1), -np.diff(density, axis=1)
    f, d = share[:, 1:4], slope[:, 1:4]
    sums = [(f * f).sum(axis=1), (f * d).sum(axis=1), (d * d).sum(axis=1)]
    columns = np.stack([*sums, sums[0] ** -0.5], axis=1)
    return np.ascontiguousarray(np.hstack([share, slope, columns]))


@lru_cache(maxsize=8)
def share_polynomials(sharing: float) -> NDArray[np.float32]:
    """Approximate `response_table` by polynomials in t = u^2, u the position from pixel 0's middle.

    Parameters
    ----------
    sharing
        Standard deviation of the cloud in pixels.

    Returns
    -------
    ndarray
        (8, TERMS) float32, coefficients of t^0, t^1, ... of E, A, B, C, D, E', A', B': the share of pixel 0
        is E, that of pixels -1 and 1 is A -+ u B, of -2 and 2 C -+ u D; the derivatives by u are u E' and
        u A' -+ B'.
    """
    u = SPAN * np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    at = (np.arange(-REACH, REACH + 2) - 0.5 - u[:, None]) / sharing
    far, near, own, right, beyond = np.diff(ndtr(at), axis=1).T
    even, powers = [own, (near + right) / 2, (far + beyond) / 2], u[:, None] ** (2 * np.arange(TERMS))
    odd = [(right - near) / 2, (beyond - far) / 2]
    e, a, c = np.linalg.lstsq(powers, np.stack(even, axis=1), rcond=None)[0].T
    b, d = np.linalg.lstsq(powers * u[:, None], np.stack(odd, axis=1), rcond=None)[0].T
    k = np.arange(TERMS)
    slopes = [np.append((2 * k * of)[1:], 0) for of in (e, a)]
    return np.stack([e, a, b, c, d, *slopes, (2 * k + 1) * b]).astype(np.float32)


@inner
def node_of(place: float) -> int:
    """Return the row of the response table that is nearest to a position within a pixel."""
    return math.floor(place * STEPS + 0.5) + NODES // 2


@compiled
def add_cloud(frame: Frame, row: int, column: int, own: Floats, k: int, sign: float, table: Floats) -> None:
    """Add an electron's charge to 5 x 5 pixels of the frame, or subtract it with sign -1."""
    down, across, charge = node_of(own[k, U]), node_of(own[k, V]), sign * own[k, CHARGE]
    for j in range(2 * REACH + 1):
        part, y = charge * table[down, SHARE + j], row + j + MARGIN - REACH
        for i in range(2 * REACH + 1):
            x = column + i + MARGIN - REACH
            frame.z[y, x] += np.float32(part * table[across, SHARE + i]) * frame.response[y, x]


@compiled
def patch(z: Image, row: int, column: int) -> Patch:
    """Return the 3 x 3 pixels of the frame around a pixel, column by column."""
    y, x = row + MARGIN - 1, column + MARGIN - 1
    left = np.float64(z[y, x]), np.float64(z[y + 1, x]), np.float64(z[y + 2, x])
    middle = np.float64(z[y, x + 1]), np.float64(z[y + 1, x + 1]), np.float64(z[y + 2, x + 1])
    right = np.float64(z[y, x + 2]), np.float64(z[y + 1, x + 2]), np.float64(z[y + 2, x + 2])
    return left, middle, right


@inner
def _dot(column: Column, node: int, first: int, table: Floats) -> float:
    upper, middle, lower = table[node, first], table[node, first + 1], table[node, first + 2]
    return float(column[0] * upper + column[1] * middle + column[2] * lower)


@compiled
def start(pixels: Patch, own: Floats, k: int, table: Floats) -> float:
    """Try nine positions for an electron, store the best as start of the fit, and return its significance."""
    best, best_u, best_v = 0.0, 0.0, 0.0
    for a in range(3):
        node = node_of(COARSE[a])
        sums = _dots(pixels, node, SHARE + 1, table)
        for b in range(3):
            at = node_of(COARSE[b])
            found = _dot(sums, at, SHARE + 1, table) * (table[node, WEIGHT] * table[at, WEIGHT])
            best_u = COARSE[a] if found > best else best_u
            best_v = COARSE[b] if found > best else best_v
            best = found if found > best else best
    own[k, U], own[k, V] = best_u, best_v
    return best


@inner
def _dots(pixels: Patch, node: int, first: int, table: Floats) -> Column:
    left, middle = _dot(pixels[0], node, first, table), _dot(pixels[1], node, first, table)
    return left, middle, _dot(pixels[2], node, first, table)


@compiled
def fit(frame: Frame, row: int, column: int, own: Floats, k: int, steps: int, table: Floats) -> None:
    """Refine an electron's position and charge by Gauss-Newton steps; store them with its significance."""
    if frame.even[row, column]:
        _fit_even(patch(frame.z, row, column), own, k, steps, table)
    else:
        _fit_uneven(frame.z, frame.response, row, column, own, k, steps, table)


@inner
def _fit_even(pixels: Patch, own: Floats, k: int, steps: int, table: Floats) -> None:
    nu, nv = node_of(own[k, U]), node_of(own[k, V])
    for _ in range(steps):
        f, d = _dots(pixels, nu, SHARE + 1, table), _dots(pixels, nu, SLOPE + 1, table)
        fz, uz = _dot(f, nv, SHARE + 1, table), _dot(d, nv, SHARE + 1, table)
        vz = _dot(f, nv, SLOPE + 1, table)
        if not 0 < fz < math.inf:
            break
        a, b, c = table[nu, SQUARE], table[nu, CROSS], table[nu, SLOPES]
        p, q, r = table[nv, SQUARE], table[nv, CROSS], table[nv, SLOPES]
        nu, nv = _stepped(nu, nv, own, k, (a * p, b * p, a * q, c * p, b * q, a * r, fz, uz, vz))
    fz = _dot(_dots(pixels, nu, SHARE + 1, table), nv, SHARE + 1, table)
    _settle(own, k, table[nu, SQUARE] * table[nv, SQUARE], fz)


@inner
def _fit_uneven(
    z: Image, response: Image, row: int, column: int, own: Floats, k: int, steps: int, table: Floats
) -> None:
    nu, nv = node_of(own[k, U]), node_of(own[k, V])
    sums = _uneven_sums(z, response, row, column, nu, nv, table)
    for _ in range(steps):
        if sums[0] <= LEAST_POWER or not 0 < sums[6] < math.inf:
            break
        nu, nv = _stepped(nu, nv, own, k, sums)
        sums = _uneven_sums(z, response, row, column, nu, nv, table)
    _settle(own, k, sums[0], sums[6])


@inner
def _settle(own: Floats, k: int, ff: float, fz: float) -> None:
    good = ff > LEAST_POWER and 0 < fz < math.inf
    own[k, CHARGE] = fz / ff if good else 0.0
    own[k, SIGNIFICANCE] = fz / math.sqrt(ff) if good else 0.0


@inner
def _stepped(nu: int, nv: int, own: Floats, k: int, sums: Sums) -> tuple[int, int]:
    """Make a step from two nodes by the sums ff, fu, fv, uu, uv, vv, fz, uz, vz; return the new ones."""
    ff, fu, fv, uu, uv, vv, fz, uz, vz = sums
    # the charge is at its best for every place: its part is taken off the normal equations
    share = 1 / ff
    a, b, d = (uu - fu * fu * share) * SOFTER, uv - fu * fv * share, (vv - fv * fv * share) * SOFTER
    p, q = uz - fz * fu * share, vz - fz * fv * share
    scale = ff / (fz * (a * d - b * b + 1e-12))
    own[k, U], own[k, V] = _moved(nu, (d * p - b * q) * scale), _moved(nv, (a * q - b * p) * scale)
    return node_of(own[k, U]), node_of(own[k, V])


@inner
def _moved(node: int, by: float) -> float:
    place = (node - NODES // 2) / STEPS + min(max(by, -LARGEST_STEP), LARGEST_STEP)
    return min(max(place, -SPAN), SPAN)


@inner
def _uneven_sums(z: Image, response: Image, row: int, column: int, nu: int, nv: int, table: Floats) -> Sums:
    """Return the products ff, fu, fv, uu, uv, vv, fz, uz, vz, each pixel with its response."""
    ff, fu, fv, uu, uv, vv, fz, uz, vz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(3):
        f, d, y = table[nu, SHARE + 1 + j], table[nu, SLOPE + 1 + j], row + j + MARGIN - 1
        for i in range(3):
            x = column + i + MARGIN - 1
            weight, value = np.float64(response[y, x]), np.float64(z[y, x])
            g, e = table[nv, SHARE + 1 + i] * weight, table[nv, SLOPE + 1 + i] * weight
            m, mu, mv = f * g, d * g, f * e
            ff, fu, fv = ff + m * m, fu + m * mu, fv + m * mv
            uu, uv, vv = uu + mu * mu, uv + mu * mv, vv + mv * mv
            fz, uz, vz = fz + m * value, uz + mu * value, vz + mv * value
    return ff, fu, fv, uu, uv, vv, fz, uz, vz

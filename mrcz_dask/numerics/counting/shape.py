"""Compute the share of an electron's charge that each pixel collects, depending on where it hit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

REACH = 2  # pixels to either side that are subtracted; the fit uses one
TAPS = 2 * REACH + 1
MARGIN = 4  # pixels round a frame, so that nothing looks beyond the edge
STEPS = 64  # nodes per pixel
SPAN = 0.8  # an impact lies at most so far from the middle of the pixel that has the largest sum
NODES = 2 * round(SPAN * STEPS) + 1
# columns of the table: shares, their derivatives, sums over pixels -1, 0, 1 of squares and products
SHARE, SLOPE, SQUARE, CROSS, SLOPES, WEIGHT = 0, TAPS, 2 * TAPS, 2 * TAPS + 1, 2 * TAPS + 2, 2 * TAPS + 3
TERMS = 6  # of a polynomial in the square of the place; wrong by 2e-6 with a sharing of .4, 2e-4 with .2


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

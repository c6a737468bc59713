"""Positions of electrons within pixels: centers of mass or largest pixels, and the correction of their bias.

Electrons hit a pixel evenly, so found positions must be even, too. A center of mass is pulled to the middle
of its pixel, and a fit is not quite even either; upsampled images then show the grid of pixels. The map is
that of ranks: a place goes where as large a share of a pixel lies below it as of the places that were found.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcz_dask.numerics.arrays import Floats, Image
from mrcz_dask.numerics.counting.fitting import CHARGE, MARGIN, SHARE, Places, U, V, node_of
from mrcz_dask.numerics.kernels import compiled
from mrcz_dask.values.checks import one_of, raise_all

NODES = 129
LEAST = 2000


@compiled
def positions_of(
    z: Image, response: Image, at: Places, own: Floats, table: Floats, largest: bool
) -> tuple[Floats, Floats, Floats]:
    """Return each electron's position from its pixel's middle, and the charge of its 3 x 3 pixels.

    A position is the center of mass, or if `largest` the middle of the largest pixel: -1, 0 or 1. z is the
    frame less all electrons. The noise pulls a center to the middle, and so does charge beyond 3 x 3:
    `PlaceMap` corrects that.
    """
    n = at.shape[0]
    u, v, charge = np.empty(n), np.empty(n), np.empty(n)
    for k in range(n):
        down_of, across_of = node_of(own[k, U]), node_of(own[k, V])
        total, down, across, best = 0.0, 0.0, 0.0, -1e30
        for j in range(-1, 2):
            for i in range(-1, 2):
                y, x = at[k, 0] + MARGIN + j, at[k, 1] + MARGIN + i
                share = table[down_of, SHARE + 2 + j] * table[across_of, SHARE + 2 + i]
                weight = np.float64(response[y, x])
                value = np.float64(z[y, x]) + own[k, CHARGE] * share * weight
                part = (value if weight == 1 else value / weight) if weight > 0 else 0.0
                total, down, across = total + part, down + part * j, across + part * i
                if value > best:
                    best, u[k], v[k] = value, j, i
        charge[k] = total
        if not largest:
            u[k] = min(max(down / max(total, 1e-3), -1.0), 1.0)
            v[k] = min(max(across / max(total, 1e-3), -1.0), 1.0)
    return u, v, charge


class PlaceMap(NamedTuple):
    """A map from found to true positions within a pixel, in pixels from its middle, linear between nodes."""

    found: NDArray[np.float64]
    true: NDArray[np.float64]

    def apply(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Correct positions within a pixel, in pixels from its middle."""
        return np.interp(places, self.found, self.true)


def learn_places(places: ArrayLike) -> PlaceMap:
    """Make the map that corrects the bias of positions within pixels, from many evenly lit electrons.

    Parameters
    ----------
    places
        (n,) from the middles of the pixels whose smoothed sum is largest, of both axes together, found with
        even illumination; at least 2000. They are taken as symmetric.
    """
    values = np.asarray(places, np.float64)
    if values.size < LEAST:
        raise ValueError(f"{values.size} places; expected at least {LEAST} to learn how they are spread")
    both = np.sort(np.concatenate([values, -values]))
    share = np.linspace(0, 1, NODES)
    quantiles = np.quantile(both, share)
    keep = np.concatenate([[True], np.diff(quantiles) > 1e-9])
    return PlaceMap(quantiles[keep], (share - 0.5)[keep])


@compiled
def _add(y: NDArray[Any], x: NDArray[Any], upsampling: int, image: NDArray[Any], largest: int) -> int:
    inside = 0
    for k in range(y.size):
        row, column = int(np.floor(y[k] * upsampling)), int(np.floor(x[k] * upsampling))
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            inside += 1
            if image[row, column] < largest:
                image[row, column] += 1
    return inside


def add_events(y: NDArray[Any], x: NDArray[Any], upsampling: int, image: NDArray[Any]) -> int:
    """Add electrons to a counted image, in place, and return how many hit inside it.

    Parameters
    ----------
    y, x
        Impacts in detector pixels; pixel i of the image covers i / upsampling <= y < (i + 1) / upsampling.
    upsampling
        1, 2 or 4: powers of two, so that edges are exact.
    image
        (ny * upsampling, nx * upsampling) of whole numbers; stays at its type's largest.
    """
    raise_all("counted image", one_of("upsampling", upsampling, (1, 2, 4)))
    return int(_add(y, x, upsampling, image, int(np.iinfo(image.dtype).max)))

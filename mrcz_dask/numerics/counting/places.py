"""Correct the bias of electrons' positions within pixels: electrons hit a pixel evenly, so found positions
must be even, too.

A center of mass is pulled to the middle of its pixel, and a fit is not quite even either; upsampled images
then show the grid of pixels. The map is that of ranks: a place goes where as large a share of a pixel lies
below it as of the places that were found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

NODES = 129
LEAST = 2000


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
    found = np.quantile(both, share)
    keep = np.concatenate([[True], np.diff(found) > 1e-9])
    return PlaceMap(found[keep], (share - 0.5)[keep])

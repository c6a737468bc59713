"""Tuples of arrays that the compiled functions of counting pass to each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Places = NDArray[np.int32]
Flags = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]


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

"""Make counted images: add up how many electrons hit each pixel, or each quarter or sixteenth of a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled
from mrcz_dask.values.checks import one_of, raise_all


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

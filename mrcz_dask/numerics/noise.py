"""Correlated noise: what all frames of a stack have in common (Eq. 7 of the preprint)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.framewise import add_standardised, power
from mrcz_dask.numerics.kernels import native
from mrcz_dask.values.errors import ParameterError

SCORED_PIXELS = 1 << 21
GROUP = 8


class CorrelationSum:
    """Mean Pearson correlation over all pairs of frames, one pass, one image of memory.

    Each frame is standardised to unit norm and added to T; R = (T.T - n) / (n (n - 1)), good to some
    1e-7 as T is float32. Frames that are constant or hold anything not finite are left out.
    """

    def __init__(self) -> None:
        self._total: NDArray[np.float32] | None = None
        self.n = 0

    def add(self, frame: NDArray[Any]) -> None:
        """Add one frame (ny, nx), any real dtype."""
        values = np.ascontiguousarray(native(frame)).reshape(-1)
        if self._total is None:
            self._total = np.zeros(values.size, np.float32)
        self.n += add_standardised(values, self._total)

    def value(self) -> float:
        """Return R; not a number for fewer than two frames."""
        if self._total is None or self.n < 2:
            return math.nan
        return (power(self._total) - self.n) / (self.n * (self.n - 1))


def noise_rows(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the rows on which a large image is scored: groups of rows, evenly spread; all of a small one."""
    ny, nx = shape
    every = -(-ny * nx // SCORED_PIXELS)
    rows = np.arange(ny)
    return np.asarray(rows[(rows // GROUP) % every == 0], np.intp)


def correlated_noise(stack: NDArray[np.generic] | Iterable[NDArray[np.generic]]) -> float:
    """Return the mean Pearson correlation over all pairs of frames.

    Parameters
    ----------
    stack
        (n, y, x) array of any real dtype, or its frames one after the other. Constant frames and frames
        with pixels that are not finite are left out.

    Returns
    -------
    float
        R, -1/(n-1)..1; not a number where fewer than two frames are left.

    Raises
    ------
    ParameterError
        When an array is not three-dimensional.

    Notes
    -----
    Eq. 7 of McLeod et al. 2017 (bioRxiv 116533). On the frames that made an outlier mask R is biased
    downwards: score on frames that the mask has not seen.
    """
    if isinstance(stack, np.ndarray) and stack.ndim != 3:
        raise ParameterError(f"stack has shape {stack.shape}; expected three axes (frame, y, x)")
    total = CorrelationSum()
    for frame in stack:
        total.add(frame)
    return total.value()

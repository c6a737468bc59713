"""Measure R, a stack's correlated noise: the mean correlation between its frames (Eq. 7 of the preprint)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled, flat, inner
from mrcz_dask.numerics.moments import shifted_sums
from mrcz_dask.numerics.outliers.histogram import tabulate
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.values.checks import checked, expect
from mrcz_dask.values.errors import ParameterError

SCORED_PIXELS = 1 << 21
GROUP = 8
FINENESS = 16  # times that the noise of a frame is the step of float32, at least
OFFSET_STEP = 1 << 16
REACH = 8.0
LEAST_OF_INTEGERS = 0.25  # rounding to integers alone makes 12 ** -.5


class CorrelationSum:
    """Accumulates, frame by frame, the R of a stack: the mean Pearson correlation over all pairs of frames;
    it holds one image in memory.

    Each frame is standardized to unit norm and added to T; R = (T.T - n) / (n (n - 1)), good to some
    1e-7 as T is float32. Frames that are constant or hold anything not finite are left out.
    """

    def __init__(self) -> None:
        self._total: NDArray[np.float32] | None = None
        self.n = 0

    def add(self, frame: NDArray[Any]) -> None:
        """Add one frame (ny, nx), of any real dtype, to the measurement."""
        values = flat(frame)
        if self._total is None:
            self._total = np.zeros(values.size, np.float32)
        self.n += _add_standardized(values, self._total)

    def value(self) -> float:
        """Return R of the frames added so far; NaN for fewer than two frames."""
        if self._total is None or self.n < 2:
            return math.nan
        return (shifted_sums(self._total, 0.0)[1] - self.n) / (self.n * (self.n - 1))


@inner
def standardization(values: NDArray[Any]) -> tuple[float, float]:
    """Return a flat frame's mean, and the factor that gives it unit norm after that mean is subtracted.

    Both are 0 for a frame that is constant or not finite.
    """
    shift = np.float64(values[0])
    part, squares = shifted_sums(values, shift)
    mean = part / values.size
    norm = squares - part * mean
    if not norm > 0 or not np.isfinite(norm):
        return 0.0, 0.0
    return mean + shift, 1 / np.sqrt(norm)


@compiled
def _add_standardized(values: NDArray[Any], total: NDArray[np.float32]) -> bool:
    """Add flat values, without their mean and of unit norm, to total; False if constant or not finite."""
    middle, factor = standardization(values)
    if factor == 0:
        return False
    for i in range(total.size):
        total[i] += np.float32((np.float64(values[i]) - middle) * factor)
    return True


def noise_rows(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Choose the rows on which R is measured: all of a small image, evenly spread groups of a large one."""
    ny, nx = shape
    every = -(-ny * nx // SCORED_PIXELS)
    rows = np.arange(ny)
    return np.asarray(rows[(rows // GROUP) % every == 0], np.intp)


def frame_noise(total: StackSum, even: StackSum) -> float | None:
    """Return the standard deviation of a typical pixel from frame to frame, counts, from the sums of even and
    of all frames; None without both.

    From the difference between the means of even and odd frames, in which pattern and specimen cancel, by the
    middle 68 % of the pixels; by the middle 98 % where these are wider, as most pixels counted nothing.

    Parameters
    ----------
    total, even
        Sums of all frames, and of frames 0, 2, 4, ...
    """
    n, evens = total.n, even.n
    odds, rows = n - evens, noise_rows(total.shape)
    if not (evens and odds):
        return None
    common = math.gcd(evens, odds)
    of_even = even.values[rows].astype(np.int64)
    of_odd = total.values[rows].astype(np.int64) - of_even
    bad = None if total.nonfinite is None else total.nonfinite[rows]
    table = tabulate(of_odd * (evens // common) - of_even * (odds // common), bad, REACH)
    if table is None:
        return None
    width = max(table.robust()[1], (table.quantile(0.99) - table.quantile(0.01)) / (2 * 2.326))
    deviation = width * common / math.sqrt(evens * odds * n) * total.unit
    return max(deviation, LEAST_OF_INTEGERS) if total.exponent == 0 else deviation


def constant_offset(total: StackSum, even: StackSum) -> int:
    """Return an offset, counts, to subtract from integer stacks with a large pedestal, so that float32 keeps
    single counts apart; usually 0.

    A multiple of 2**16 below the median, the same for the stacks of a session, so that their doses agree.

    Parameters
    ----------
    total, even
        Sums of all frames, and of frames 0, 2, 4, ...
    """
    if total.exponent or total.values.itemsize < np.dtype(np.int64).itemsize:
        return 0
    middle = float(np.median(total.values[noise_rows(total.shape)])) / total.n
    noise = frame_noise(total, even)
    return 0 if noise is None else offset_below(middle, noise / FINENESS)


def offset_below(middle: float, finest: float) -> int:
    """Return a multiple of 2**16 below `middle` if float32 values near `middle` lie further apart than
    `finest`; else 0.
    """
    if np.spacing(np.float32(abs(middle))) <= finest:
        return 0
    return (math.floor(middle / OFFSET_STEP) - 1) * OFFSET_STEP


@checked
def correlated_noise(stack: NDArray[np.generic] | Iterable[NDArray[np.generic]]) -> float:
    """Return R of a stack: the mean Pearson correlation over all pairs of its frames.

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
    if not hasattr(stack, "__getitem__"):
        expect("stack", stack, Iterable, "an array (n, y, x), or its frames")
    if isinstance(stack, np.ndarray) and stack.ndim != 3:
        raise ParameterError(f"stack has shape {stack.shape}; expected three axes (frame, y, x)")
    total = CorrelationSum()
    for frame in stack:
        if not hasattr(frame, "__array__"):
            expect("frame", frame, np.ndarray, "an array (y, x)")
        total.add(frame)
    return total.value()

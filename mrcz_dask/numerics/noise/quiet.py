"""Test whether a correction made a stack too quiet: subtracted its own counting noise, and its specimen."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.outliers.weights import WEIGHT_STEPS, is_masked
from mrcz_dask.numerics.reference.correction import Correction

ROWS = 512  # around the middle; 4000 columns of them know a thousandth
LEAST = 0.02
SURE = 5.0


def middle_rows(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the numbers of an image's middle rows: enough to test whether a stack is too quiet."""
    return np.arange(max(0, (shape[0] - ROWS) // 2), min(shape[0], (shape[0] + ROWS) // 2))


def noise_taken_off(even: NDArray[Any], odd: NDArray[Any], frames: int, correction: Correction) -> float:
    """Return the share (0..1) of its counting noise's variance that a stack lost in the correction; more than
    0 means too quiet.

    Parameters
    ----------
    even, odd
        (rows, nx) means of frames 0, 2, 4, ... and 1, 3, 5, ... before the correction, counts per frame.
    frames
        Frames of the stack, two or more.
    correction
        The correction of these rows.

    Returns
    -------
    float
        0 where less than 2 % or less than 5 standard errors are missing.

    Notes
    -----
    Counting noise is in the difference of the two halves; what is the same in all frames is not. Specimen
    and a remaining pattern make a sum noisier than that difference; a reference that holds the stack
    itself makes it quieter. Compared are diagonal differences in blocks of 2 x 2 pixels without an outlier.
    """
    # the filter takes its pixels by their sum, and so takes off noise rightly: what it fills is left out
    everywhere = np.full_like(correction.weight, WEIGHT_STEPS)
    ready = replace(correction, weight=everywhere, fill=correction.fill[:0]).ready()
    halves = [ready.apply(np.ascontiguousarray(mean, np.float32)) for mean in (even, odd)]
    good = ~_blocks(is_masked(correction.weight)).any(axis=(1, 3))
    blocks = [_blocks(half.astype(np.float64)) for half in halves]
    first, second = (b[:, 0, :, 0] + b[:, 1, :, 1] - b[:, 0, :, 1] - b[:, 1, :, 0] for b in blocks)
    first, second = first[good], second[good]
    of_even, of_odd = (frames + 1) // 2 / frames, frames // 2 / frames
    power = (of_even * first + of_odd * second) ** 2
    counting = (first - second) ** 2 * (of_even * of_odd)
    missing, scale = counting - power, float(counting.sum())
    if missing.size < 2 or not scale > 0 or not math.isfinite(scale):
        return 0.0
    error = float(missing.std()) / math.sqrt(missing.size)
    share = float(missing.sum()) / scale
    return share if share > LEAST and float(missing.mean()) > SURE * error else 0.0


def far_below_zero(after: float | None, before: float | None, frames: int, pixels: int) -> bool:
    """Return whether R after correction is below 0, and below R before, by 5 standard errors: a sign that the
    stack's own noise was subtracted.

    Parameters
    ----------
    after, before
        R with and without the correction; None = not known.
    frames, pixels
        Numbers of frames and pixels that R was measured on.
    """
    if after is None or before is None or frames < 2:
        return False
    limit = SURE * math.sqrt(2 / (frames * (frames - 1) * pixels))
    return after < -limit and after < before - limit


def _blocks(image: NDArray[Any]) -> NDArray[Any]:
    ny, nx = (n // 2 for n in image.shape)
    return image[: 2 * ny, : 2 * nx].reshape(ny, 2, nx, 2)

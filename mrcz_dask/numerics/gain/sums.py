"""Compute a stack's sum after dark and gain from the sum before them (Eq. 9), without rereading frames."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.gain.gain import NO_DARK, Gain
from mrcz_dask.numerics.kernels import compiled, flat
from mrcz_dask.numerics.outliers.mask import OutlierMask, masked_mean, outlier_mask
from mrcz_dask.numerics.outliers.value_weights import SPARSE_ZEROS
from mrcz_dask.numerics.sums import StackSum, narrowest
from mrcz_dask.values.errors import DtypeError
from mrcz_dask.values.params import OutlierParams

# Sums after a gain are kept in steps of 2**-6 of a raw count: far below the noise of counting.
STEP_BITS = 6
# Medians of a multiplier with which what was counts may still be taken for counts.
COUNTING = (0.8, 1.25)
LARGEST = 2.0**62


def gained_sum(total: StackSum, gain: Gain, exponent: int | None = None) -> StackSum:
    """Return the sum that a stack has after dark and gain: (S - n dark) * image, rounded once.

    Parameters
    ----------
    total
        (y, x) sum S of n frames as they were read.
    gain
        Gain of this stack, raised to gamma.
    exponent
        The result is in multiples of 2**-exponent; None = as `gained_exponent`.

    Returns
    -------
    StackSum
        0 and marked as not finite where the gain has a defect.

    Raises
    ------
    DtypeError
        The sum leaves 64 bits.
    """
    exponent = gained_exponent(total, gain) if exponent is None else exponent
    bad = gain.bad if total.nonfinite is None else gain.bad | total.nonfinite
    dark = NO_DARK if gain.dark is None else gain.dark.reshape(-1)
    steps = np.empty(bad.size, np.int64)
    largest = _put_steps(
        flat(total.values), total.unit, float(total.n), dark, gain.image.reshape(-1), bad.reshape(-1),
        2.0**exponent, steps,
    )  # fmt: skip
    if largest > LARGEST:
        raise DtypeError(
            f"the sum after the gain reaches {largest:.3g}, more than 64 bits hold; check the gain"
        )
    return StackSum(
        steps.reshape(total.shape).astype(narrowest(int(largest))),
        exponent,
        total.n,
        bad if bad.any() else None,
        of_counts=total.is_counts and COUNTING[0] <= gain.typical <= COUNTING[1],
        defects=int(np.count_nonzero(gain.bad)),
    )


@compiled
def _put_steps(
    values: NDArray[Any],
    unit: float,
    n: float,
    dark: Image,
    image: Image,
    bad: NDArray[np.bool_],
    steps_per_count: float,
    out: NDArray[np.int64],
) -> float:
    """Put rint((values unit - n dark) image steps_per_count) into out, 0 where bad; return the largest."""
    largest = 0.0
    for i in range(values.size):
        counts = np.float64(values[i]) * unit
        if dark.size:
            counts -= n * np.float64(dark[i])
        steps = 0.0 if bad[i] else np.rint(counts * np.float64(image[i]) * steps_per_count)
        largest = max(largest, abs(steps))
        out[i] = np.int64(steps) if abs(steps) <= LARGEST else 0
    return largest


def gained_exponent(total: StackSum, gain: Gain) -> int:
    """Choose the k for which a sum after the gain is stored in steps of 2**-k; never 0 (integers)."""
    if total.exponent:
        return total.exponent
    return max(1, STEP_BITS - round(math.log2(gain.typical)))


def gained_mask(total: StackSum, gained: StackSum, params: OutlierParams) -> OutlierMask:
    """Find the outliers of a stack that gets a gain; defects of the gain have weight 0.

    Parameters
    ----------
    total
        Its sum before the gain: with few counts it tells the outliers, as after the gain nothing is whole.
    gained
        Its sum after the gain.
    params
        Rule, thresholds and radius.

    Raises
    ------
    OutlierError
        If no pixel is left.
    """
    zeros = np.count_nonzero(total.values == 0) if total.is_counts else 0
    if zeros <= SPARSE_ZEROS * total.values.size:
        return outlier_mask(gained, params)
    mask = outlier_mask(replace(total, nonfinite=gained.nonfinite, defects=gained.defects), params)
    return replace(mask, mean=masked_mean(gained, mask.mask))

"""The sum of a stack after its gain, from the exact sum before it: a gain is linear (Eq. 9)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.gain import Gain
from mrcz_dask.numerics.outliers import OutlierMask, masked_mean, outlier_mask
from mrcz_dask.numerics.sums import StackSum, narrowest
from mrcz_dask.numerics.thresholds import SPARSE_ZEROS
from mrcz_dask.values.errors import DtypeError
from mrcz_dask.values.params import OutlierParams

# Sums after a gain are kept in steps of 2**-6 of a raw count: far below the noise of counting.
STEP_BITS = 6
# Medians of a multiplier with which what was counts may still be taken for counts.
COUNTING = (0.8, 1.25)
LARGEST = 2.0**62


def gained_sum(total: StackSum, gain: Gain, exponent: int | None = None) -> StackSum:
    """Return the sum of the frames after dark and gain: (S - n dark) * image, rounded once.

    Parameters
    ----------
    total
        (y, x) sum S of n frames as they were read.
    gain
        Of this stack, its power taken.
    exponent
        The result is in multiples of 2**-exponent; None = what `gained_exponent` says.

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
    values = total.total()
    if gain.dark is not None:
        values -= gain.dark * np.float64(total.n)
    values *= gain.image
    values *= 2.0**exponent
    np.rint(values, out=values)
    bad = gain.bad if total.nonfinite is None else gain.bad | total.nonfinite
    values[bad] = 0
    largest = float(np.abs(values).max(initial=0))
    if largest > LARGEST:
        raise DtypeError(
            f"the sum after the gain reaches {largest:.3g}, more than 64 bits hold; check the gain"
        )
    stored = values.astype(narrowest(int(largest)))
    known = int(np.count_nonzero(gain.bad))
    return StackSum(stored, exponent, total.n, bad if bad.any() else None, _are_counts(total, gain), known)


def gained_exponent(total: StackSum, gain: Gain) -> int:
    """Return the k of the steps 2**-k of a sum after a gain; never 0, which means integers."""
    if total.exponent:
        return total.exponent
    return max(1, STEP_BITS - round(math.log2(typical(gain))))


def typical(gain: Gain) -> float:
    """Return the median of a multiplier over pixels without defect; 1 if there are none."""
    good: NDArray[np.float32] = gain.image[~gain.bad]
    return float(np.median(good)) if good.size else 1.0


def _are_counts(total: StackSum, gain: Gain) -> bool:
    return total.is_counts and COUNTING[0] <= typical(gain) <= COUNTING[1]


def gained_mask(total: StackSum, gained: StackSum, params: OutlierParams) -> OutlierMask:
    """Return the outlier mask of a stack after its gain; defects have the weight 0.

    Parameters
    ----------
    total
        Its sum before the gain: of few counts these tell outliers, as after the gain nothing is whole.
    gained
        Its sum after it.
    params
        Rule, thresholds and radius.

    Raises
    ------
    OutlierError
        If no pixel is left.
    """
    if not _is_sparse(total):
        return outlier_mask(gained, params)
    mask = outlier_mask(replace(total, nonfinite=gained.nonfinite, defects=gained.defects), params)
    return replace(mask, mean=masked_mean(gained, mask.mask))


def _is_sparse(total: StackSum) -> bool:
    zeros = np.count_nonzero(total.values == 0) if total.is_counts else 0
    return bool(zeros > SPARSE_ZEROS * total.values.size)

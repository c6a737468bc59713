"""Score a correction against the truth of a simulated stack: is the specimen kept, the pattern gone?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.simulate.session import StackTruth


class Score(NamedTuple):
    """Score of a correction.

    Attributes
    ----------
    kept
        Coefficient of the noiseless image in what is left: 1 = nothing of the specimen was taken off.
    error
        Variance of what was taken off minus the true pattern, over that of the pattern; 1 = as bad as doing
        nothing.
    """

    kept: float
    error: float


def score_removed(
    removed: NDArray[np.float32], truth: StackTruth, mask: NDArray[np.bool_] | None = None
) -> Score:
    """Score what was taken off the sum of a simulated stack.

    Parameters
    ----------
    removed
        Sum of the frames before the correction minus the sum after it, (ny, nx), counts.
    truth
        The truth about the stack; its outliers are not scored.
    mask
        Pixels that the correction filled, which are not scored either, True = filled; None = none.

    Notes
    -----
    What was removed is regressed on the noiseless image and the true pattern together.
    """
    good = ~truth.mask if mask is None else ~(truth.mask | mask)
    image = truth.noiseless[good].astype(np.float64)
    pattern = truth.expected_sum[good] - image
    gone = removed[good].astype(np.float64)
    image, pattern, gone = (values - values.mean() for values in (image, pattern, gone))
    (taken, _), *_ = np.linalg.lstsq(np.stack([image, pattern], axis=1), gone, rcond=None)
    return Score(float(1 - taken), float(np.var(gone - pattern) / np.var(pattern)))

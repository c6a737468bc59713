"""What is kept of a stack's histogram and fit, to be drawn later (Fig. 5): at most 512 bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.outliers.mask import OutlierMask
from mrcz_dask.numerics.outliers.tails import Line
from mrcz_dask.numerics.outliers.thresholds import FitRecord
from mrcz_dask.numerics.outliers.weights import soft_weight
from mrcz_dask.values.params import OutlierParams

MOST_BINS = 512

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class KeptFit:
    """A histogram of a sum with its fit, one item for each bin.

    Attributes
    ----------
    edges
        float32, upper edges, counts of the sum.
    counts
        int64, pixels.
    z, residual
        float32, at the upper edges: deviation from the centre in sigma, and z - probit of the cumulative
        share (infinite at 0 and 1); not a number where nothing was fitted.
    weight
        float32, at the upper edges: 1 = good, 0 = outlier (Eq. 6).
    below, above
        Finite pixels under the first bin, and over the last one.
    dark_line, hot_line
        Slope and intercept of the residual against z in the tails (Eq. 5); None = no tail fitted.
    """

    edges: Floats
    counts: NDArray[np.int64]
    z: Floats
    residual: Floats
    weight: Floats
    below: int
    above: int
    dark_line: Line | None
    hot_line: Line | None


def kept_fit(mask: OutlierMask, params: OutlierParams) -> KeptFit:
    """Return what is kept of the histogram that made a mask.

    Parameters
    ----------
    mask
        Of a stack.
    params
        That made it.
    """
    return _without_fit(mask) if mask.fit is None else _with_fit(mask, mask.fit, params)


def _with_fit(mask: OutlierMask, fit: FitRecord, params: OutlierParams) -> KeptFit:
    starts, last = _groups(fit.counts.size)
    z = fit.z[last]
    return KeptFit(
        edges=fit.edges[last].astype(np.float32),
        counts=np.add.reduceat(fit.counts, starts),
        z=z.astype(np.float32),
        residual=fit.r[last].astype(np.float32),
        weight=soft_weight(z, mask.t_dark, mask.t_hot, params),
        below=fit.below,
        above=fit.above,
        dark_line=fit.dark_line,
        hot_line=fit.hot_line,
    )


def _without_fit(mask: OutlierMask) -> KeptFit:
    """Return the lowest values alone: where nothing is fitted there are few, or the sums are small."""
    table, unit = mask.weights.table, mask.weights.image.unit
    kept = min(table.counts.size, MOST_BINS)
    edges = (table.first + 1 + np.arange(kept)) * float(table.width) - 0.5
    unknown = np.full(kept, np.nan, np.float32)
    return KeptFit(
        edges=(edges * unit).astype(np.float32),
        counts=table.counts[:kept],
        z=unknown,
        residual=unknown,
        weight=mask.weights.of_entry[:kept],
        below=0,
        above=int(table.counts[kept:].sum()),
        dark_line=None,
        hot_line=None,
    )


def _groups(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first and the last of the bins that are joined, so that few are left."""
    width = -(-size // MOST_BINS)
    starts = np.arange(0, size, width)
    return starts, np.minimum(starts + width, size) - 1

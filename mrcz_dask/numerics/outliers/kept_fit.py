"""Keep a stack's histogram and its outlier thresholds for later plots (Fig. 5), in at most 512 bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Singles
from mrcz_dask.numerics.outliers.mask import OutlierMask
from mrcz_dask.numerics.outliers.rules import TailLine
from mrcz_dask.numerics.outliers.weights import soft_weight
from mrcz_dask.values.params import OutlierParams

MOST_BINS = 512


@dataclass(frozen=True, slots=True, eq=False)
class KeptFit:
    """Record of the histogram of a sum and of the fit to it, one item for each bin, for the report's plots.

    Attributes
    ----------
    edges
        float32, upper edges, counts of the sum.
    counts
        int64, pixels.
    z, residual
        float32, at the upper edges: deviation from the center in sigma, and z - probit of the cumulative
        share (infinite at 0 and 1); not a number where nothing was fitted.
    weight
        float32, at the upper edges: 1 = good, 0 = outlier (Eq. 6).
    below, above
        Finite pixels under the first bin, and over the last one.
    dark_line, hot_line
        Slope and intercept of the residual against z in the tails (Eq. 5); None = no tail fitted.
    """

    edges: Singles
    counts: NDArray[np.int64]
    z: Singles
    residual: Singles
    weight: Singles
    below: int
    above: int
    dark_line: TailLine | None
    hot_line: TailLine | None


def kept_fit(mask: OutlierMask, params: OutlierParams) -> KeptFit:
    """Return the histogram and fit from which a mask was made, for plots, with bins joined to at most 512.

    Without a fit the lowest values alone are kept: then there are few, or the sums are small.

    Parameters
    ----------
    mask
        Mask of a stack.
    params
        Parameters with which it was made.
    """
    fit = mask.fit
    if fit is None:
        table = mask.weights.table
        bins = min(table.counts.size, MOST_BINS)
        edges = ((table.first + 1 + np.arange(bins)) * float(table.width) - 0.5) * mask.weights.total.unit
        unknown, above = np.full(bins, np.nan, np.float32), int(table.counts[bins:].sum())
        counts, weight = table.counts[:bins], mask.weights.of_entry[:bins]
        return KeptFit(edges.astype(np.float32), counts, unknown, unknown, weight, 0, above, None, None)
    joined = -(-fit.counts.size // MOST_BINS)
    starts = np.arange(0, fit.counts.size, joined)
    last = np.minimum(starts + joined, fit.counts.size) - 1
    return KeptFit(
        edges=fit.edges[last].astype(np.float32),
        counts=np.add.reduceat(fit.counts, starts),
        z=fit.z[last].astype(np.float32),
        residual=fit.r[last].astype(np.float32),
        weight=soft_weight(fit.z[last], mask.t_dark, mask.t_hot, params),
        below=fit.below,
        above=fit.above,
        dark_line=fit.dark_line,
        hot_line=fit.hot_line,
    )

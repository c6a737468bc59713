"""The outlier mask of one stack, from the histogram of its sum (Eqs. 2 to 6 of the preprint)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.moments import moments
from mrcz_dask.numerics.outliers.histogram import ValueTable, take
from mrcz_dask.numerics.outliers.illumination import FLAT_BITS, flatten
from mrcz_dask.numerics.outliers.neighbours import near_another
from mrcz_dask.numerics.outliers.thresholds import QUIET, FitRecord, Image, Status, Verdict, examine
from mrcz_dask.numerics.outliers.weights import byte_weight, is_masked
from mrcz_dask.numerics.sums import MEASURED, StackSum, sum_stack
from mrcz_dask.values.params import OutlierParams

MISFIT = 0.015
WIDE = 1.2
FLATTEN_MEDIAN = 20
FLATTEN_SIDE = 128

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The weight of every pixel, as a table over the sum's values: images are made when asked for.

    Attributes
    ----------
    image
        The sum, evenly lit if it had to be.
    table
        How its values belong to entries.
    of_entry
        float32, the weight of each entry.
    """

    image: Image
    table: ValueTable
    of_entry: NDArray[np.float32]

    def look_up(self, of_entry: NDArray[Any]) -> NDArray[Any]:
        """Return an image (y, x) of what is said of each entry; 0 where not finite."""
        out = take(of_entry, self.table, self.image.values)
        if self.image.nonfinite is not None:
            out[self.image.nonfinite] = 0
        return out


@dataclass(frozen=True, slots=True, eq=False)
class OutlierMask:
    """Which pixels of a stack are outliers.

    Attributes
    ----------
    mask
        (y, x) bool, True = outlier: weight < 0.5, or not finite.
    weight255
        (y, x) uint8, the weight in 255ths: 255 = good, below 128 = outlier; 0 where not finite.
    weights
        What gives the weight of every pixel; see `weight`.
    hot, dead
        (y, x) bool, the outliers above and below the centre; pixels that are not finite are neither.
    neighbourly
        (y, x) bool, outliers with another within `radius` pixels; the others are singletons.
    t_dark, t_hot
        Thresholds in sigma from the centre; -inf, +inf where off.
    mu, sigma
        Centre and width of the good pixels, counts of the sum; not a number where nothing was fitted.
    status
        ``ok``; ``sparse``: so few counts that a count is cut, not a tail; ``implausible`` (too many outliers)
        and ``degenerate`` (no histogram): nothing but non-finite pixels is masked, the stack is no reference.
    caveats
        What the user should know.
    misfit
        Largest difference between the cumulative histogram and the fitted one.
    illumination
        True = an uneven illumination was taken out first.
    mean
        Mean of the sum over unmasked pixels, counts; not a number without any.
    fit
        Histogram and residuals for plots; None where nothing was fitted.
    """

    mask: Bools
    weight255: NDArray[np.uint8]
    weights: Weights
    hot: Bools
    dead: Bools
    neighbourly: Bools
    t_dark: float
    t_hot: float
    mu: float
    sigma: float
    status: Status
    caveats: tuple[str, ...]
    misfit: float
    illumination: bool
    mean: float
    fit: FitRecord | None

    @property
    def weight(self) -> NDArray[np.float32]:
        """(y, x) float32, 1 = good, 0 = outlier (Eq. 6); 0 where not finite."""
        return self.weights.look_up(self.weights.of_entry)

    @property
    def usable(self) -> bool:
        """Whether the stack may be a reference for others, as far as its mask tells."""
        return self.status in ("ok", "sparse")

    def summary(self) -> dict[str, Any]:
        """Return counts, thresholds and fit as plain scalars, as provenance keeps them."""
        return {
            "n_masked": int(np.count_nonzero(self.mask)),
            "n_hot": int(np.count_nonzero(self.hot)),
            "n_dead": int(np.count_nonzero(self.dead)),
            "n_neighbourly": int(np.count_nonzero(self.neighbourly)),
            **{name: getattr(self, name) for name in _SCALARS},
            "caveats": list(self.caveats),
        }


_SCALARS = ("t_dark", "t_hot", "mu", "sigma", "mean", "misfit", "status", "illumination")


def outlier_mask(
    stack_or_sum: NDArray[Any] | Iterable[NDArray[Any]] | StackSum, params: OutlierParams | None = None
) -> OutlierMask:
    """Find the hot, dead and non-finite pixels of a stack.

    Parameters
    ----------
    stack_or_sum
        (n, y, x) stack, (y, x) image or sum (one frame), an iterable of (y, x) frames, or a `StackSum`;
        integers or real floats, counts.
    params
        Rule, thresholds and radius; None = the defaults.

    Returns
    -------
    OutlierMask
        Its arrays are (y, x), True = outlier.

    Raises
    ------
    OutlierError
        If no pixel is finite.
    DtypeError
        For complex and other types that are no counts.
    ParameterError
        For no frames, or frames that differ in shape or type.

    Notes
    -----
    McLeod et al. 2017 (bioRxiv 116533), section 2.2, Eqs. 2 to 6. The same sum gives the same
    bits, in whatever order its frames were added; whole numbers give the same mask as integers and as floats.
    """
    params = params or OutlierParams()
    total = stack_or_sum if isinstance(stack_or_sum, StackSum) else sum_stack(stack_or_sum)
    image = Image(total.values, 2.0**-total.exponent, total.is_counts, total.nonfinite)
    verdict = examine(image, params)
    lit = params.illumination and _uneven(image, verdict)
    if lit:
        image = _evenly_lit(image, verdict, params)
        verdict = examine(image, params)
    return _assemble(total, image, verdict, lit, params)


def _uneven(image: Image, verdict: Verdict) -> bool:
    """Whether the histogram is wider or less normal than one illumination makes it."""
    able = image.counts and min(image.values.shape) >= FLATTEN_SIDE and verdict.middle >= FLATTEN_MEDIAN
    able = able and verdict.half > QUIET * verdict.middle**0.5
    return able and (verdict.misfit > MISFIT or verdict.spread > WIDE)


def _evenly_lit(image: Image, verdict: Verdict, params: OutlierParams) -> Image:
    reach = params.max_sigma * verdict.half
    whole = image.values if image.unit == 1 else np.rint(image.values * image.unit).astype(np.int64)
    flat = flatten(whole, image.nonfinite, verdict.middle, reach)
    return replace(image, values=flat, unit=2.0**-FLAT_BITS)


def _assemble(
    total: StackSum, image: Image, verdict: Verdict, lit: bool, params: OutlierParams
) -> OutlierMask:
    weights = Weights(image, verdict.table, verdict.weight)
    weight255 = weights.look_up(byte_weight(verdict.weight))
    mask = is_masked(weight255)
    hot, dead = _sides(mask, image, verdict)
    caveats = verdict.caveats
    without_value = 0 if total.nonfinite is None else np.count_nonzero(total.nonfinite)
    if without_value > total.defects:
        count = without_value - total.defects
        caveats = (*caveats, f"{count} pixels are not finite or too large to be counts; masked")
    return OutlierMask(
        mask, weight255, weights, hot, dead, near_another(mask, params.radius), verdict.t_dark, verdict.t_hot,
        verdict.mu, verdict.sigma, verdict.status, caveats, verdict.misfit, lit, masked_mean(total, mask),
        verdict.fit,
    )  # fmt: skip


def _sides(mask: Bools, image: Image, verdict: Verdict) -> tuple[Bools, Bools]:
    """Return the outliers above the centre and the others, as images; what is not finite is neither."""
    found = np.flatnonzero(mask if image.nonfinite is None else mask & ~image.nonfinite)
    hot, dead = np.zeros(image.values.shape, bool), np.zeros(image.values.shape, bool)
    above = image.values.reshape(-1)[found] > verdict.mu / image.unit
    hot.reshape(-1)[found[above]] = True
    dead.reshape(-1)[found[~above]] = True
    return hot, dead


def masked_mean(total: StackSum, mask: Bools) -> float:
    """Return the mean of a sum over unmasked pixels, counts: from integer sums, so that it is exact."""
    found = np.flatnonzero(mask)
    good = mask.size - found.size
    if good == 0:
        return float("nan")
    kept = _exact_sum(total.values) - int(total.values.reshape(-1)[found].sum(dtype=np.int64))
    return kept / good * 2.0**-total.exponent


def _exact_sum(values: NDArray[Any]) -> int:
    if values.itemsize <= MEASURED and values.flags.c_contiguous:
        return int(moments(values.reshape(-1))[2])
    return int(values.sum(dtype=np.int64))

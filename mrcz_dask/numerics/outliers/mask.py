"""Find the outlier mask of a stack from the histogram of its sum (Eqs. 2 to 6 of the preprint)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Mask
from mrcz_dask.numerics.moments import moments
from mrcz_dask.numerics.outliers.axis import ValueKind
from mrcz_dask.numerics.outliers.blocks import BROKEN, KNOWN, BadBlock, blocks_of
from mrcz_dask.numerics.outliers.histogram import ValueTable
from mrcz_dask.numerics.outliers.illumination import FLAT_BITS, light_evenly
from mrcz_dask.numerics.outliers.lines import BadLine, bad_lines
from mrcz_dask.numerics.outliers.rules import RULES
from mrcz_dask.numerics.outliers.value_weights import QUIET, FitRecord, MaskStatus, ValueWeights, weigh_values
from mrcz_dask.numerics.outliers.weights import (
    WEIGHT_STEPS,
    byte_weight,
    is_masked,
    near_another,
    sorted_around,
)
from mrcz_dask.numerics.sums import MEASURED, StackSum, sum_stack
from mrcz_dask.values.checks import checked, expect
from mrcz_dask.values.params import OutlierParams

DARKEST, BRIGHTEST = 1 / 8, 2  # of the specimen, over the median
NEAR_DARK, NEAR_HOT = 1.25, 0.8  # over the threshold: within it a pixel is like those around
NOISE = 1.4826 / math.sqrt(2)  # over the median difference of two pixels
IN_BLOBS = 0.9  # noise of neighbors relative to others, below which they have electrons in common
BEYOND_BLOBS = 4  # pixels between two that have no electron in common
SAMPLE = 1 << 18  # pixels that are looked at together

MISFIT = 0.015
WIDE = 1.2
FLATTEN_MEDIAN = 20
FLATTEN_SIDE = 128
# The last digits of fitted numbers depend on the processor; the others are the same on all.
FITTED = ("t_dark", "t_hot", "mu", "sigma", "misfit", "fano")
SCALARS = ("mean", "status", "illumination", "kind")
DIGITS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The weight of each pixel of a sum (1 = good, 0 = outlier), as a table over the sum's values.

    Attributes
    ----------
    total
        The sum, evenly lit if it had to be.
    table
        The entries to which its values belong.
    of_entry
        float32, the weight of each entry.
    """

    total: StackSum
    table: ValueTable
    of_entry: NDArray[np.float32]

    def look_up(self, of_entry: NDArray[Any]) -> NDArray[Any]:
        """Return an image (y, x) that gives each pixel the item of `of_entry` for its value; 0 where the sum
        is not finite.
        """
        image = self.table.look_up(of_entry, self.total.values)
        if self.total.nonfinite is not None:
            image[self.total.nonfinite] = 0
        return image


@dataclass(frozen=True, slots=True, eq=False)
class OutlierMask:
    """The hot and dead pixels of a stack: mask, weights, thresholds, and quality of the fit behind them.

    Attributes
    ----------
    mask
        (y, x) bool, True = outlier: weight < 0.5, or not finite.
    weight255
        (y, x) uint8, the weight in 255ths: 255 = good, below 128 = outlier; 0 where not finite.
    weights
        The weights of the values of the sum, from which `weight` is made.
    hot, dead
        (y, x) bool, the outliers above and below the center; pixels that are not finite are neither.
    neighbourly
        (y, x) bool, outliers with another within `radius` pixels; the others are singletons.
    t_dark, t_hot
        Thresholds in sigma from the center; -inf, +inf where off.
    mu, sigma
        Center and width of the good pixels, counts of the sum; not a number where nothing was fitted.
    status
        ``ok``; ``sparse``: so few counts that a count is cut, not a tail; ``implausible`` (too many outliers)
        and ``degenerate`` (no histogram): nothing but non-finite pixels is masked, the stack is no reference.
    caveats
        Doubts that the user should know.
    misfit
        Largest difference between the cumulative histogram and the fitted one.
    illumination
        True = an uneven illumination was taken out first.
    mean
        Mean of the sum over unmasked pixels, counts; not a number without any.
    fit
        Histogram and residuals for plots; None where nothing was fitted.
    lines
        Rows and columns, or parts of them, that read too much or too little; all their pixels are masked.
    blocks
        Rectangles that read too much or too little. Those with an excess of a half or more are masked; the
        others by `koma`, unless the stacks around have them, too.
    broken
        Flat indices of pixels in such blocks, and in regions that read next to nothing.
    shared
        Flat indices of pixels that are as bright or dark as those around, and so are none.
    kind
        What values the stack has: ``counts``, ``scaled counts``, ``blobs`` (an electron has many counts, and
        several pixels), ``integrating`` (many counts), or ``noise`` that is not that of counting.
    fano
        Variance over mean of counts, as the sum tells it; the factor of scaled ones.
    """

    mask: Mask
    weight255: NDArray[np.uint8]
    weights: Weights
    hot: Mask
    dead: Mask
    neighbourly: Mask
    t_dark: float
    t_hot: float
    mu: float
    sigma: float
    status: MaskStatus
    caveats: tuple[str, ...]
    misfit: float
    illumination: bool
    mean: float
    fit: FitRecord | None
    lines: tuple[BadLine, ...] = ()
    blocks: tuple[BadBlock, ...] = ()
    broken: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    shared: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    kind: ValueKind = "counts"
    fano: float = 1.0

    @property
    def weight(self) -> NDArray[np.float32]:
        """(y, x) float32 Weight of each pixel: 1 = good, 0 = outlier (Eq. 6); 0 where not finite."""
        image: NDArray[np.float32] = self.weights.look_up(self.weights.of_entry)
        image.reshape(-1)[self.shared] = 1
        for line in self.lines:
            image[line.pixels] = 0
        image.reshape(-1)[self.broken] = 0
        return image

    @property
    def usable(self) -> bool:
        """Whether the mask is sound enough for the stack to be used in the correction of others."""
        return self.status in ("ok", "sparse")

    def summary(self) -> dict[str, Any]:
        """Return numbers of outliers, thresholds and fit as plain values, for the provenance.

        Fitted numbers have six digits, so that a file has the same bytes on every processor.
        """
        return {
            "n_masked": int(np.count_nonzero(self.mask)),
            "n_hot": int(np.count_nonzero(self.hot)),
            "n_dead": int(np.count_nonzero(self.dead)),
            "n_neighbourly": int(np.count_nonzero(self.neighbourly)),
            **{name: float(f"{getattr(self, name):.{DIGITS}g}") for name in FITTED},
            **{name: getattr(self, name) for name in SCALARS},
            "caveats": list(self.caveats),
            **({"lines": [list(line) for line in self.lines]} if self.lines else {}),
            **({"blocks": [list(block) for block in self.blocks]} if self.blocks else {}),
        }


@checked
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
    expect("params", params, OutlierParams, "OutlierParams")
    total = stack_or_sum if isinstance(stack_or_sum, StackSum) else sum_stack(stack_or_sum)
    values, lit = weigh_values(total, params), total
    if params.illumination and _is_uneven(total, values):
        counts = total.values if total.unit == 1 else np.rint(total.total()).astype(np.int64)
        flat = light_evenly(counts, total.nonfinite, values.middle, params.max_sigma * values.half)
        lit = replace(total, values=flat, exponent=FLAT_BITS, of_counts=True)
        values = weigh_values(lit, params)

    weights = Weights(lit, values.table, values.weight)
    weight255 = weights.look_up(byte_weight(values.weight))
    fitted = values.status == "ok" and values.middle > values.half
    spares = fitted and RULES[params.rule].spares_specimen
    shared = _shared(lit, values, weight255) if spares else np.zeros(0, np.intp)
    weight255.reshape(-1)[shared] = WEIGHT_STEPS
    lines = _lines(lit, values) if params.lines else ()
    blocks, sign = _blocks(total, values) if params.lines else ((), np.zeros(total.shape, np.int8))
    for line in lines:
        weight255[line.pixels] = 0
    weight255[sign != 0] = 0
    mask = is_masked(weight255)
    outliers = np.flatnonzero(mask if lit.nonfinite is None else mask & ~lit.nonfinite)
    broken = sign.reshape(-1)[outliers]
    above = np.where(broken == 0, lit.values.reshape(-1)[outliers] > values.mu / lit.unit, broken > 0)
    hot, dead = np.zeros(total.shape, bool), np.zeros(total.shape, bool)
    hot.reshape(-1)[outliers[above]] = True
    dead.reshape(-1)[outliers[~above]] = True
    for line in lines:
        hot[line.pixels], dead[line.pixels] = line.excess > 0, line.excess <= 0
    caveats = values.caveats
    unknown = 0 if total.nonfinite is None else np.count_nonzero(total.nonfinite) - total.defects
    if unknown > 0:
        caveats = (
            *caveats,
            f"{unknown} pixels are not finite or too large to be counts: filled; look at the file",
        )
    return OutlierMask(
        mask, weight255, weights, hot, dead, near_another(mask, params.radius), values.t_dark, values.t_hot,
        values.mu, values.sigma, values.status, caveats, values.misfit, lit is not total,
        masked_mean(total, mask), values.fit, lines, blocks, np.flatnonzero(sign), shared,
        _kind(total, values), values.fano,
    )  # fmt: skip


def _shared(total: StackSum, values: ValueWeights, weight: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the pixels with a weight below 1 that the specimen made, not the detector.

    On the axis of the histogram they are near to the median of the 24 pixels around, or, if dark, to the
    sixth darkest of these. Where these are as dark or bright as broken ones, a block of pixels may be broken.
    """
    middle, image = values.middle / total.unit, total.values
    below = weight < WEIGHT_STEPS if total.nonfinite is None else (weight < WEIGHT_STEPS) & ~total.nonfinite
    at = np.flatnonzero(below)
    if at.size == 0:
        return at
    noise = _difference(image, min(BEYOND_BLOBS, image.shape[1] // 2))
    parts = np.array_split(at, 1 + at.size // SAMPLE)
    sixth, median = np.concatenate([sorted_around(image, part)[[5, 11]] for part in parts], axis=1)
    pixels = image.reshape(-1)[at]
    dark = pixels < middle
    around = np.where(dark & (sixth > DARKEST * middle), sixth, median)
    ratio = np.maximum(pixels, 0) / np.maximum(around, 1)
    like = (around > DARKEST * middle) & (around < BRIGHTEST * middle) & (ratio > DARKEST)
    z = 1.5 * np.sqrt(np.maximum(around, 0) * middle) * (np.cbrt(ratio * ratio) - 1)
    like &= np.where(dark, z > NEAR_DARK * values.t_dark * noise, z < NEAR_HOT * values.t_hot * noise)
    return np.asarray(at[like])


def _difference(image: NDArray[Any], apart: int) -> float:
    """Return the noise that pixels differ by which are so many pixels apart along x."""
    rows = image[:: -(-image.size // SAMPLE)].astype(np.int64)
    return NOISE * float(np.median(np.abs(rows[:, apart:] - rows[:, : rows.shape[1] - apart])))


def _kind(total: StackSum, values: ValueWeights) -> ValueKind:
    """Return the kind of a sum's values; where electrons have many counts, neighbors that share them tell
    blobs.
    """
    if values.kind != "integrating" or total.shape[1] <= 2 * BEYOND_BLOBS:
        return values.kind
    shared = _difference(total.values, 1) < IN_BLOBS * _difference(total.values, BEYOND_BLOBS)
    return "blobs" if shared else values.kind


def _lines(total: StackSum, values: ValueWeights) -> tuple[BadLine, ...]:
    """Find the lines of a sum that read too much or too little; those of known defects are none."""
    if values.status not in ("ok", "sparse"):
        return ()
    found = bad_lines(total.values, *_center(total, values))
    unknown = total.nonfinite
    return tuple(line for line in found if unknown is None or unknown[line.pixels].mean() < KNOWN)


def _blocks(total: StackSum, values: ValueWeights) -> tuple[tuple[BadBlock, ...], NDArray[np.int8]]:
    """Find the blocks of a sum that read too much or too little, and where some are broken: 1 where they read
    too much, -1 where too little.
    """
    sign = np.zeros(total.shape, np.int8)
    if values.status not in ("ok", "sparse"):
        return (), sign
    blocks, dead = blocks_of(total.values, *_center(total, values), total.nonfinite)
    sign.reshape(-1)[dead] = -1
    for block in blocks:
        if abs(block.excess) >= BROKEN:
            sign[block.pixels] = 1 if block.excess > 0 else -1
    if total.nonfinite is not None:
        sign[total.nonfinite] = 0
    return blocks, sign


def _center(total: StackSum, values: ValueWeights) -> tuple[float, float]:
    """Return center and width of a sum's good pixels, in units of its values."""
    sigma = max(values.sigma, math.sqrt(max(values.mu, 0)) if total.is_counts else 0)
    return values.mu / total.unit, sigma / total.unit


def _is_uneven(total: StackSum, values: ValueWeights) -> bool:
    """Return whether the histogram is wider or less normal than one illumination makes it."""
    large = min(total.shape) >= FLATTEN_SIDE and values.middle >= FLATTEN_MEDIAN
    poisson = total.is_counts and large and values.half > QUIET * values.middle**0.5
    return poisson and (values.misfit > MISFIT or values.spread > WIDE)


def masked_mean(total: StackSum, mask: Mask) -> float:
    """Return the mean of a stack's sum over unmasked pixels, counts; computed in integers, so exact."""
    masked, values = np.flatnonzero(mask), total.values
    good = mask.size - masked.size
    if good == 0:
        return float("nan")
    quick = values.itemsize <= MEASURED and values.flags.c_contiguous
    whole = moments(values.reshape(-1))[2] if quick else values.sum(dtype=np.int64)
    kept = int(whole) - int(values.reshape(-1)[masked].sum(dtype=np.int64))
    return kept / good * 2.0**-total.exponent

"""What is done to every frame of a stack: scaled (method `session`), pattern off, outliers filled."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics import kernels
from mrcz_dask.numerics.outliers.filling import Pixels, fill_at
from mrcz_dask.numerics.outliers.weights import WEIGHT_STEPS, is_masked
from mrcz_dask.numerics.philox import Purpose
from mrcz_dask.numerics.reference import framewise
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import Form

FINENESS = 32
INT16 = 32767
EXACT = 1 << 24  # integers that float32 holds
SMALLEST_DIVISOR = 0.1
ONE = 1 << 15  # of a scale

Image = NDArray[np.float32]
Moments = tuple[int, int, int, int]
Scale = NDArray[np.uint16]
Steps = NDArray[Any]  # int16 or int32
Arguments = tuple[Steps, np.float32, bool, Scale, NDArray[np.intp], Image, Image]


@dataclass(frozen=True, slots=True)
class Correction:
    """The correction of one stack; what the store keeps of it gives the same pixels again.

    Attributes
    ----------
    form
        ``subtract``, ``subtract-raw`` (both: minus the pattern in counts) or ``divide``.
    pattern
        (ny, nx) in steps of `step`: counts per frame, or for ``divide`` relative to 1. int16, or int32 where
        int16 would need steps that are not small against the noise of a frame.
    step
        A power of two: at most 1/32 of the pattern's standard deviation and of the noise of a frame, or what
        int16 needs to hold it.
    weight
        (ny, nx) uint8: share of the pixel that is kept, in 255ths; below 128 it is an outlier.
    fill
        float32, counts: what replaces the pixels of weight < 255, in raster order.
    scale
        (ny, nx) uint16, 1 in 32768ths: what pixels are multiplied with before the pattern is subtracted;
        None = with nothing.
    """

    form: Form
    pattern: Steps
    step: float
    weight: NDArray[np.uint8]
    fill: NDArray[np.float32]
    scale: Scale | None = None

    def ready(self) -> ReadyCorrection:
        """Return the correction as it is applied to frames."""
        where = np.flatnonzero(self.weight < WEIGHT_STEPS)
        share = self.weight.flat[where].astype(np.float32) / np.float32(WEIGHT_STEPS)
        return ReadyCorrection(self, np.ascontiguousarray(self.pattern).reshape(-1), where, share)

    def take_rows(self, rows: NDArray[np.intp]) -> Correction:
        """Return the correction of some rows, as an image of their own."""
        partial = self.weight < WEIGHT_STEPS
        before = np.concatenate([[0], np.cumsum(partial.sum(axis=1))])
        fill = [self.fill[before[y] : before[y + 1]] for y in rows.tolist()]
        return Correction(
            self.form,
            self.pattern[rows],
            self.step,
            self.weight[rows],
            np.concatenate([self.fill[:0], *fill]),
            None if self.scale is None else self.scale[rows],
        )

    def factor(self) -> Image | None:
        """Return the scale, (ny, nx) float32; None where there is none."""
        return None if self.scale is None else self.scale.astype(np.float32) / np.float32(ONE)


@dataclass(frozen=True, slots=True)
class ReadyCorrection:
    """A correction with all that applying it needs."""

    correction: Correction
    pattern: Steps
    where: NDArray[np.intp]
    share: NDArray[np.float32]

    def apply(self, frame: NDArray[Any], out: Image | None = None) -> Image:
        """Return w I' + (1 - w) fill, float32 counts.

        I' = I - pattern, or scale I - pattern, or I / max(.1, 1 + pattern).

        Parameters
        ----------
        frame
            (ny, nx) counts.
        out
            (ny, nx) float32, C-contiguous: where to put it.
        """
        out = np.empty(frame.shape, np.float32) if out is None else out
        framewise.correct(_flat(frame), *self._arguments, out.reshape(-1))
        return out

    def apply_rounded(
        self, frame: NDArray[Any], step: float, key: int, k: int, offset: float = 0.0
    ) -> tuple[NDArray[np.int16], Moments]:
        """Return what `apply` gives less an offset, in steps: rounded up or down at random, unbiased.

        Beside it, minimum, maximum, sum and sum of squares of the steps.

        Parameters
        ----------
        frame
            (ny, nx) counts.
        step
            Counts per stored unit, a power of two for which no pixel leaves int16; see `int16_steps`.
        key, k
            Key of the stack's random numbers, and the frame's index.
        offset
            Counts.
        """
        out = np.empty(frame.size, np.int16)
        inverse = np.float32(1 / step)
        found = framewise.correct_and_round(
            _flat(frame),
            *self._arguments,
            np.float32(offset),
            inverse,
            np.uint64(key),
            k,
            int(Purpose.ROUNDING),
            out,
        )
        return out.reshape(frame.shape), found

    def at_dose(self, factor: float | None) -> ReadyCorrection:
        """Return the correction for frames of `factor` times the dose that it was made for.

        The fill goes with the dose, and the pattern of the form ``subtract``; the other two do not. None
        stands for a blank frame, which is left as it is.
        """
        one = self.correction
        if factor == 1.0:
            return self
        if factor is None:
            whole = replace(self.without_pattern(), where=self.where[:0], share=self.share[:0])
            return replace(whole, correction=replace(whole.correction, fill=one.fill[:0]))
        step = one.step * factor if one.form == "subtract" else one.step
        return replace(self, correction=replace(one, step=step, fill=one.fill * np.float32(factor)))

    def without_pattern(self) -> ReadyCorrection:
        """Return the correction that fills outliers alone."""
        return replace(self, correction=replace(self.correction, form="subtract", step=0.0, scale=None))

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx) of the frames that it corrects."""
        return self.correction.pattern.shape

    @property
    def _arguments(self) -> Arguments:
        """What compiled loops take between frame and output."""
        one = self.correction
        scale = np.zeros(0, np.uint16) if one.scale is None else np.ascontiguousarray(one.scale).reshape(-1)
        step, divide = np.float32(one.step), one.form == "divide"
        return self.pattern, step, divide, scale, self.where, self.share, one.fill

    def largest(self, low: float, high: float, factor: float = 1.0) -> float:
        """Return a bound of what `apply` can give for pixels between low and high, absolute.

        `factor` is the largest with which `at_dose` is asked for a frame's correction.
        """
        correction = self.correction
        filled = factor * float(np.abs(correction.fill).max(initial=0))
        biggest = max(abs(low), abs(high))
        if correction.scale is not None:
            biggest *= float(correction.scale.max(initial=ONE)) / ONE
        pattern = correction.pattern
        lowest, highest = float(pattern.min()) * correction.step, float(pattern.max()) * correction.step
        if correction.form == "divide":
            return max(biggest / max(SMALLEST_DIVISOR, 1 + lowest), filled)
        return max(biggest + factor * max(abs(lowest), abs(highest)), filled)


def _flat(frame: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(kernels.native(frame)).reshape(-1)


def make_correction(
    form: Form,
    pattern: Image | None,
    mean: MeanImage,
    weight: NDArray[np.uint8],
    neighbourly: NDArray[np.bool_],
    scale: Image | None = None,
    noise: float = math.inf,
) -> Correction:
    """Return the correction of a stack: the pattern in steps, and the fill from the corrected mean image.

    Parameters
    ----------
    form
        How the pattern is taken off.
    pattern
        (ny, nx) float32: counts per frame, or for ``divide`` relative to 1; None = nothing is taken off.
    mean
        The stack's mean over frames, (ny, nx), counts per frame.
    weight
        (ny, nx) uint8, see `byte_weight`.
    neighbourly
        (ny, nx) bool: another outlier is near; these are filled with a flat kernel.
    scale
        (ny, nx) float32, below 2: what pixels are multiplied with before the pattern is subtracted; None =
        with nothing. ``divide`` takes none.
    noise
        Standard deviation of a pixel from frame to frame, in the unit of the pattern; infinite = not known.

    Raises
    ------
    ParameterError
        For a scale and the form ``divide``.
    """
    if scale is not None and form == "divide":
        raise ParameterError("the form divide takes no scale; expected subtract")
    factors = None if scale is None else np.rint(scale * np.float32(ONE)).astype(np.uint16)
    step, stored = 1.0, np.zeros(weight.shape, np.int16)
    if pattern is not None:
        step, dtype = pattern_step(pattern, noise)
        stored = stored.astype(dtype)
        kernels.in_steps(np.ascontiguousarray(pattern).reshape(-1), np.float32(step), stored.reshape(-1))
    less = None if pattern is None else stored
    pixels = Pixels(mean.values, mean.factor, less, step, form == "divide", factors)
    asked = np.flatnonzero(weight < WEIGHT_STEPS)
    filled = fill_at(pixels, is_masked(weight), neighbourly, asked)
    return Correction(form, stored, step, weight, filled.astype(np.float32), factors)


def pattern_step(pattern: Image, noise: float = math.inf) -> tuple[float, type[np.int16] | type[np.int32]]:
    """Return the power of two in which a pattern is kept, and the type that holds it.

    Rounding is small against the pattern, and against the noise of a frame, in the same unit.
    """
    largest, deviation = kernels.spread_of(np.ascontiguousarray(pattern).reshape(-1))
    if largest == 0:
        return 1.0, np.int16
    coarse = math.ceil(math.log2(largest / (INT16 - 1)))
    fine = min(deviation, noise) / FINENESS
    wanted = math.floor(math.log2(fine)) if fine > 0 else coarse
    if wanted < coarse and 2.0**coarse > noise / FINENESS:
        return 2.0 ** max(wanted, math.ceil(math.log2(largest / EXACT))), np.int32
    return 2.0 ** max(wanted, coarse), np.int16

"""Correct a stack's frames: subtract the pattern, fill outliers; method `session` scales pixels first."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled, flat
from mrcz_dask.numerics.moments import shifted_sums
from mrcz_dask.numerics.outliers.filling import CorrectedPixels, fill_at, poisson
from mrcz_dask.numerics.outliers.weights import WEIGHT_STEPS, is_masked
from mrcz_dask.numerics.philox import Purpose, uniform
from mrcz_dask.numerics.reference import framewise
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import Form

FINENESS = 32
INT16 = 32767
EXACT = 1 << 24  # integers that float32 holds
SMALLEST_DIVISOR = 0.1
ONE = 1 << 15  # of a scale
NO_SCALE = np.zeros(0, np.uint16)

Image = NDArray[np.float32]
Moments = tuple[int, int, int, int]
Scale = NDArray[np.uint16]
Steps = NDArray[Any]  # int16 or int32


@dataclass(frozen=True, slots=True)
class Correction:
    """The correction of a stack, as the session store keeps it: pattern, weights of pixels, filling of
    outliers.

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
        (ny, nx) uint8: share of the pixel's own value that is kept, in 255ths; below 128 it is an outlier.
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
        """Return the correction with flat arrays, prepared for being applied to many frames."""
        where = np.flatnonzero(self.weight < WEIGHT_STEPS)
        share = self.weight.flat[where].astype(np.float32) / np.float32(WEIGHT_STEPS)
        return ReadyCorrection(self, np.ascontiguousarray(self.pattern).reshape(-1), where, share)

    def take_rows(self, rows: NDArray[np.intp]) -> Correction:
        """Return the correction for some rows alone, with which an image of these rows can be corrected."""
        before = np.concatenate([[0], np.cumsum((self.weight < WEIGHT_STEPS).sum(axis=1))])
        fill = [self.fill[before[y] : before[y + 1]] for y in rows.tolist()]
        return replace(
            self,
            pattern=self.pattern[rows],
            weight=self.weight[rows],
            fill=np.concatenate([self.fill[:0], *fill]),
            scale=None if self.scale is None else self.scale[rows],
        )

    def factor(self) -> Image | None:
        """Return the factors that multiply pixels first, (ny, nx) float32; None if there are none."""
        return None if self.scale is None else self.scale.astype(np.float32) / np.float32(ONE)


@dataclass(frozen=True, slots=True)
class ReadyCorrection:
    """The correction of a stack, with the flat arrays that applying it to frames needs.

    Attributes
    ----------
    correction
        The correction of the stack.
    pattern
        Its pattern, flat.
    where, share
        Flat indices of the pixels of weight < 255, and the share of each that is kept, 0..1.
    """

    correction: Correction
    pattern: Steps
    where: NDArray[np.intp]
    share: NDArray[np.float32]

    def apply(self, frame: NDArray[Any], out: Image | None = None) -> Image:
        """Correct one frame: w I' + (1 - w) fill, I' without pattern, w the weight; float32 counts.

        I' = I - pattern, or scale I - pattern, or I / max(.1, 1 + pattern).

        Parameters
        ----------
        frame
            (ny, nx) counts.
        out
            (ny, nx) float32, C-contiguous: where to put it.
        """
        out = np.empty(frame.shape, np.float32) if out is None else out
        framewise.correct(flat(frame), self._arguments, out.reshape(-1))
        return out

    def apply_rounded(
        self, frame: NDArray[Any], step: float, key: int, k: int, offset: float = 0.0
    ) -> tuple[NDArray[np.int16], Moments]:
        """Correct one frame and round it to int16 steps, up or down at random so that no pixel's mean shifts;
        return its moments, too.

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
        steps = np.empty(frame.size, np.int16)
        rounding = np.float32(offset), np.float32(1 / step), np.uint64(key), k, int(Purpose.ROUNDING)
        moments = framewise.correct_and_round(flat(frame), self._arguments, *rounding, steps)
        return steps.reshape(frame.shape), moments

    def at_dose(self, factor: float | None) -> ReadyCorrection:
        """Return the correction for frames with `factor` times the stack's dose.

        The fill goes with the dose, and the pattern of the form ``subtract``; the other two do not. None
        stands for a blank frame, which is left as it is.
        """
        correction = self.correction
        if factor == 1.0:
            return self
        if factor is None:
            unfilled = replace(correction, form="subtract", step=0.0, scale=None, fill=correction.fill[:0])
            return replace(self, correction=unfilled, where=self.where[:0], share=self.share[:0])
        step = correction.step * factor if correction.form == "subtract" else correction.step
        return replace(
            self, correction=replace(correction, step=step, fill=correction.fill * np.float32(factor))
        )

    def drawn(self, key: int, k: int) -> ReadyCorrection:
        """Return the correction for frame k in which outliers stay whole counts: each is kept with the
        probability that is its share, or replaced by a Poisson draw round its fill.

        `key` is that of the stack's random numbers.
        """
        kept = uniform(self.where, key, Purpose.REPLACE, k) < self.share
        mean = self.correction.fill.astype(np.float64)
        fill = poisson(mean, uniform(self.where, key, Purpose.DRAW, k)).astype(np.float32)
        return replace(self, correction=replace(self.correction, fill=fill), share=kept.astype(np.float32))

    def without_pattern(self) -> ReadyCorrection:
        """Return the correction that fills outliers but leaves the pattern, for a comparison."""
        return replace(self, correction=replace(self.correction, form="subtract", step=0.0, scale=None))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (ny, nx) of the frames that it corrects."""
        return self.correction.pattern.shape

    @property
    def _arguments(self) -> framewise.Correction:
        """The arguments of compiled loops between frame and output."""
        correction = self.correction
        scale = NO_SCALE if correction.scale is None else np.ascontiguousarray(correction.scale).reshape(-1)
        step, divide = np.float32(correction.step), correction.form == "divide"
        return self.pattern, step, divide, scale, self.where, self.share, correction.fill

    def largest(self, low: float, high: float, factor: float = 1.0) -> float:
        """Return the largest absolute value that corrected pixels can have if pixels before are between low
        and high, counts.

        `factor` is the largest dose that frames have, relative to that of the stack; see `at_dose`.
        """
        correction, pattern = self.correction, self.pattern
        filled = factor * float(np.abs(correction.fill).max(initial=0))
        brightest = max(abs(low), abs(high))
        if correction.scale is not None:
            brightest *= float(correction.scale.max(initial=ONE)) / ONE
        least, most = float(pattern.min()) * correction.step, float(pattern.max()) * correction.step
        if correction.form == "divide":
            return max(brightest / max(SMALLEST_DIVISOR, 1 + least), filled)
        return max(brightest + factor * max(abs(least), abs(most)), filled)


def make_correction(
    form: Form,
    pattern: Image | None,
    mean: MeanImage,
    weight: NDArray[np.uint8],
    neighbourly: NDArray[np.bool_],
    scale: Image | None = None,
    noise: float = math.inf,
) -> Correction:
    """Make a stack's correction from its pattern; compute outliers' filling from the corrected mean image.

    Parameters
    ----------
    form
        Form in which the pattern is removed.
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
        _put_steps(flat(pattern), np.float32(step), stored.reshape(-1))
    taken_off = None if pattern is None else stored
    pixels = CorrectedPixels(mean.values, mean.factor, taken_off, step, form == "divide", factors)
    fill = fill_at(pixels, is_masked(weight), neighbourly, np.flatnonzero(weight < WEIGHT_STEPS))
    return Correction(form, stored, step, weight, fill.astype(np.float32), factors)


def pattern_step(pattern: Image, noise: float = math.inf) -> tuple[float, type[np.int16] | type[np.int32]]:
    """Choose the step, a power of two, in which a pattern is stored, and the integer dtype that holds it.

    Rounding is small against the pattern, and against the noise of a frame, in the same unit.
    """
    largest, deviation = _spread_of(flat(pattern))
    if largest == 0:
        return 1.0, np.int16
    coarse = math.ceil(math.log2(largest / (INT16 - 1)))
    fine = min(deviation, noise) / FINENESS
    wanted = math.floor(math.log2(fine)) if fine > 0 else coarse
    if wanted < coarse and 2.0**coarse > noise / FINENESS:
        return 2.0 ** max(wanted, math.ceil(math.log2(largest / EXACT))), np.int32
    return 2.0 ** max(wanted, coarse), np.int16


@compiled
def _spread_of(values: Image) -> tuple[float, float]:
    """Return the largest absolute value and the standard deviation of flat values."""
    largest = np.float32(0)
    for i in range(values.size):
        largest = max(largest, abs(values[i]))
    mean = shifted_sums(values, 0.0)[0] / values.size
    return float(largest), np.sqrt(shifted_sums(values, mean)[1] / values.size)


@compiled
def _put_steps(pattern: Image, step: np.float32, stored: Steps) -> None:
    """Round a flat pattern to steps."""
    inverse = np.float32(1) / step
    for i in range(stored.size):
        stored[i] = stored.dtype.type(np.rint(pattern[i] * inverse))

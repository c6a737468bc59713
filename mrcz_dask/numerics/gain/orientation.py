"""Find how a gain reference must be turned and flipped, by comparing it with a session's pattern.

An orientation is, in this order: so many quarter turns, each of which takes row r, column c of an image with
ny rows to row c, column ny - 1 - r (clockwise where the first row is drawn at the top, as relion_display
does; counter-clockwise where it is drawn at the bottom, as MotionCor and 3dmod do); then, if it flips, the
order of the rows is reversed. Rows are those of the arrays, which are in the order of the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import uniform_filter

from mrcz_dask.numerics.arrays import Floats, Image, Mask
from mrcz_dask.numerics.gain.gain import as_multiplier, fit_dark, fit_gain, size_factor
from mrcz_dask.values.errors import ParameterError, SessionError

Sense = Literal["multiply", "divide", "subtract"]

SIDE = 9  # pixels of the local mean that is taken off: the specimen is coarser, most of a gain finer
CERTAIN = 6.0
APART = 2.0
WIDEST = 7.5  # medians of the absolute values, some five standard deviations


@dataclass(frozen=True, slots=True, order=True)
class Orientation:
    """An orientation of a gain: one of the eight ways to turn and flip an image; see the module for the
    convention.

    Attributes
    ----------
    turns
        Quarter turns, 0 to 3; they come first.
    flip
        Whether the order of the rows is reversed then.
    """

    turns: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.turns not in range(4) or not isinstance(self.flip, (bool, np.bool_)):
            raise ParameterError(f"orientation is {self.turns!r}, {self.flip!r}; expected 0-3, True or False")

    def apply(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the image (ny, nx) turned and flipped, C-contiguous."""
        turned = np.rot90(image, -self.turns)
        return np.ascontiguousarray(turned[::-1] if self.flip else turned)

    def then(self, other: Orientation) -> Orientation:
        """Return the orientation that results from this one followed by `other`."""
        turns = self.turns + (-other.turns if self.flip else other.turns)
        return Orientation(turns % 4, self.flip != other.flip)

    @property
    def inverse(self) -> Orientation:
        """The orientation that undoes this one."""
        return self if self.flip else Orientation(-self.turns % 4)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape (ny, nx) that an image of `shape` has after it is turned."""
        return shape[::-1] if self.turns % 2 else shape

    def __str__(self) -> str:
        return f"rotate {self.turns} flip {int(self.flip)}"


IDENTITY = Orientation()
ROWS = Orientation(0, True)
COLUMNS = Orientation(2, True)
TRANSPOSE = Orientation(3, True)
ALL = tuple(Orientation(turns, flip) for flip in (False, True) for turns in range(4))


def rotated_flipped(rotate: int, flip: int) -> Orientation:
    """Return the orientation given by RELION's ``--gain_rot`` and ``--gain_flip``, or MotionCor's options of
    the same meaning.

    Parameters
    ----------
    rotate
        Quarter turns, 0 to 3.
    flip
        After them: 0 nothing, 1 upside down (rows), 2 left to right (columns).

    Raises
    ------
    ParameterError
        For other numbers.
    """
    if rotate not in range(4) or flip not in range(3):
        raise ParameterError(f"rotate {rotate!r}, flip {flip!r}; expected 0-3 turns and flip 0-2")
    return Orientation(rotate).then((IDENTITY, ROWS, COLUMNS)[flip])


@dataclass(frozen=True, slots=True)
class WarpFlags:
    """Warp's three options for turning a gain, applied in this order: reverse the columns, reverse the rows,
    swap rows and columns.
    """

    flip_x: bool
    flip_y: bool
    transpose: bool

    @property
    def orientation(self) -> Orientation:
        """The orientation that these options give."""
        orientation = IDENTITY
        for flag, step in ((self.flip_x, COLUMNS), (self.flip_y, ROWS), (self.transpose, TRANSPOSE)):
            orientation = orientation.then(step) if flag else orientation
        return orientation


def warp_flags(orientation: Orientation) -> WarpFlags:
    """Return the options of Warp that turn a gain into an orientation."""
    bits = (False, True)
    every = (WarpFlags(x, y, transpose) for transpose in bits for y in bits for x in bits)
    return next(flags for flags in every if flags.orientation == orientation)


def as_others_read(orientation: Orientation, *, gain_tiff: bool, frames_tiff: bool) -> Orientation:
    """Convert an orientation to that for RELION, MotionCor and Warp, which flip the rows of TIFF files.

    Parameters
    ----------
    orientation
        From the gain's rows as they are in its file to the frames' as they are in theirs.
    gain_tiff, frames_tiff
        Whether the gain and the frames are in TIFF files.
    """
    before = ROWS if gain_tiff else IDENTITY
    after = ROWS if frames_tiff else IDENTITY
    return before.then(orientation).then(after)


@dataclass(frozen=True, slots=True)
class OrientationScore:
    """The agreement of a gain reference, turned in one orientation, with a session's pattern: their
    correlation.

    Attributes
    ----------
    orientation
        Orientation into which the reference is turned.
    sense
        ``multiply`` or ``divide`` by it; ``subtract`` a dark.
    z
        Correlation in standard deviations of what images without a relation give; positive = the case takes
        pattern away. NaN where the shapes do not fit.
    correlation
        The same, -1 to 1.
    added
        Variance that the reference adds to the pattern, in standard deviations; negative = it removes some.
    """

    orientation: Orientation
    sense: Sense
    z: float
    correlation: float
    added: float = math.nan

    @property
    def fits(self) -> bool:
        """Whether the turned reference has the shape of the frames, or that times 2, 4, 1/2 or 1/4."""
        return not math.isnan(self.z)

    def __str__(self) -> str:
        agreement = f"{self.z:.1f}" if self.fits else "does not fit"
        return f"{self.orientation} {self.sense}: {agreement}"


def score_orientations(
    pattern: NDArray[Any], good: Mask, reference: NDArray[Any], orientations: Sequence[Orientation] = ALL
) -> tuple[OrientationScore, ...]:
    """Compare a gain reference with a session's pattern in all orientations, multiplied and divided; return
    scores, best first.

    Parameters
    ----------
    pattern
        (ny, nx) relative response of the session's pixels, positive where `good`.
    good
        (ny, nx) bool, True = known (the opposite of a mask).
    reference
        2-D gain reference in the order of its file; zero, negative and non-finite pixels are left out.
    orientations
        Which are scored, multiplied and divided.

    Notes
    -----
    Orientations in which the reference does not fit the frames come last. Logarithms of both, less their
    means over 9 x 9 good pixels, are correlated. The standard deviation is that of the cross-correlation over
    all cyclic shifts (Parseval), so that columns, rows and waves count as the few independent numbers which
    they are. What is added to the variance of the pattern is the variance of the reference less twice the
    covariance.
    """
    multiplier = as_multiplier(reference)

    def logarithm(turned: Image) -> Floats:
        """Return the fine part of the logarithm of a multiplier."""
        response = fit_gain(turned, (good.shape[0], good.shape[1]))
        known = good & (response > 0)
        return _fine(np.log(np.where(known, response, 1).astype(np.float64)), known)

    fine = _fine(np.log(np.where(good, pattern, 1).astype(np.float64)), good)
    return _score(fine, good, multiplier, logarithm, orientations)


def score_darks(frame: NDArray[Any], good: Mask, dark: Image) -> tuple[OrientationScore, ...]:
    """Compare a dark with a session's mean frame in all eight orientations; return scores, best first.

    Parameters
    ----------
    frame
        (ny, nx) mean frame of a session, counts, dark included.
    good
        (ny, nx) bool, True = known.
    dark
        2-D dark reference in the order of its file, counts per frame.
    """

    def subtracted(turned: Image) -> Floats:
        """Return the fine part of the negative of a dark."""
        fitted = fit_dark(turned, (good.shape[0], good.shape[1])).astype(np.float64)
        return _fine(-fitted, good & np.isfinite(fitted))

    scores = _score(_fine(frame, good), good, dark, subtracted, ALL)
    return tuple(replace(score, sense="subtract") for score in scores if score.sense == "multiply")


def _score(
    pattern: Floats,
    good: Mask,
    reference: Image,
    effect: Callable[[Image], Floats],
    orientations: Sequence[Orientation],
) -> tuple[OrientationScore, ...]:
    """Score a reference that is added to the fine pattern, and one that is subtracted; best first."""
    spectrum, scores = fft.rfft2(pattern), []
    # how often each column of a real image's half spectrum counts
    nx = good.shape[1]
    twice = np.full(nx // 2 + 1, 2.0)
    twice[0] = 1
    if nx % 2 == 0:
        twice[-1] = 1
    own = np.abs(spectrum) ** 2
    for turn in orientations:
        if size_factor(turn.shape(reference.shape), good.shape) is None:
            scores += [OrientationScore(turn, sense, math.nan, math.nan) for sense in ("multiply", "divide")]
            continue
        other = fft.rfft2(effect(turn.apply(reference)))
        others = np.abs(other) ** 2
        covariance = -float((twice * (spectrum * other.conj()).real).sum())
        chance = math.sqrt(float((twice * own * others).sum()))
        power = float((twice * others).sum())
        norm = math.sqrt(float((twice * own).sum()) * power)
        z, r, half = _ratio(covariance, chance), _ratio(covariance, norm), _ratio(power, 2 * chance)
        scores += [
            OrientationScore(turn, "multiply", z, r, half - z),
            OrientationScore(turn, "divide", -z, -r, half + z),
        ]
    return tuple(sorted(scores, key=lambda score: -score.z if score.fits else math.inf))


def _ratio(one: float, other: float) -> float:
    return one / other if other > 0 else 0.0


def _fine(image: NDArray[Any], good: Mask) -> Floats:
    """Return the image minus its mean over the good pixels around; 0 where not good."""
    fine = np.where(good, image, 0).astype(np.float64)
    known = uniform_filter(good.astype(np.float64), SIDE)
    fine -= uniform_filter(fine, SIDE) / np.maximum(known, 0.5 / SIDE**2)
    fine[~good] = 0
    largest = WIDEST * float(np.median(np.abs(fine[good]))) if good.any() else 0.0
    return np.clip(fine, -largest, largest)


def decide(scores: Sequence[OrientationScore]) -> OrientationScore:
    """Return the best of the scores if it is beyond doubt; otherwise raise an error.

    Raises
    ------
    SessionError
        If it is below 6 standard deviations, or less than twice the next orientation's; lists the scores.
    """
    fitting = [s for s in scores if s.fits]
    if not fitting:
        raise SessionError("the gain fits the frames in no orientation; give the one of this camera")
    best = max(fitting, key=lambda s: s.z)
    rest = max((abs(s.z) for s in fitting if s.orientation != best.orientation), default=0.0)
    if best.z < CERTAIN or best.z < APART * rest:
        listed = "; ".join(map(str, fitting))
        raise SessionError(
            f"the gain's orientation cannot be told from these stacks: the best score is {best.z:.1f} sigma, "
            f"the next {rest:.1f}; expected at least {CERTAIN:g}, and {APART:g} times the next. Scores: "
            f"{listed}. Say how the gain is turned (--gain-rotate, --gain-flip, --gain-divide), let more "
            "stacks decide, or give the gain of this camera"
        )
    return best

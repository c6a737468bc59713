"""Checks gain and dark against a session; names the options of other programs for the same gain file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.gains import Reference
from mrcz_dask.formats.places import rows_are_reversed
from mrcz_dask.numerics.gain.estimate import LEAST_RESPONSE, SessionPattern
from mrcz_dask.numerics.gain.gain import Gain
from mrcz_dask.numerics.gain.orientation import (
    CERTAIN,
    IDENTITY,
    Orientation,
    OrientationScore,
    Sense,
    as_others_read,
    decide,
    score_darks,
    score_orientations,
    warp_flags,
)
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.params import GainParams

FEWEST_COUNTS = 10.0  # below, logarithms of counts follow a gain by half or less, and a right one seems wrong
LARGEST_EXCESS = 50.0  # of a pixel's charge over the mean, so that its exponential is finite


@dataclass(frozen=True, slots=True)
class GainProblem:
    """A warning that a gain or dark does not fit the stacks, with its text and how bad it is.

    Attributes
    ----------
    text
        Sentence for the user.
    worse
        Whether it is worse than none in every orientation.
    undecided
        Whether more stacks may tell.
    """

    text: str
    worse: bool = False
    undecided: bool = False


@dataclass(frozen=True, slots=True)
class GainOrientation:
    """The orientation and sense (multiply or divide) of a reference, and who chose it: the user or the
    stacks.

    Attributes
    ----------
    orientation, sense
        From the rows of its file to those of the frames; multiply or divide.
    said_by
        ``options`` or ``stacks``.
    scores
        Scores of all 16 possibilities if the stacks decided, best first.
    """

    orientation: Orientation
    sense: Sense = "multiply"
    said_by: str = "options"
    scores: tuple[OrientationScore, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return orientation and sense as plain values, for the provenance."""
        orientation = self.orientation
        turns = {"turns": orientation.turns, "flip_rows": orientation.flip, "said_by": self.said_by}
        return {"sense": self.sense, "orientation": turns}

    def options(self, best: OrientationScore | None = None) -> str:
        """Return the command-line options that turn the reference this way, or as a better score says."""
        turn = self.orientation if best is None else self.orientation.then(best.orientation)
        words = f"--gain-rotate {turn.turns} --gain-flip {int(turn.flip)}"
        divides = self.sense == "divide"
        divide = divides != (best is not None and best.sense == "divide")
        change = {(True, False): " and no --gain-divide", (False, True): " --gain-divide"}
        return words + change.get((divides, divide), "")


def compare(
    gain: Gain, params: GainParams, about: Mapping[str, Any], way: GainOrientation, pattern: SessionPattern
) -> Iterator[GainProblem]:
    """Check gain and dark against the pattern of a session, and yield a finding for each that does not fit.

    Parameters
    ----------
    gain
        The gain as it is applied, before gamma.
    params
        Exponent of the gain; one by dose rate counts as 1.
    about
        Names of the references, as in the provenance.
    way
        Orientation and sense of gain and dark.
    pattern
        Pattern of the stacks before the gain.
    """
    response, good = pattern.response, pattern.good
    if gain.dark is not None and "dark" in about:
        yield from compare_dark(about, gain.dark, way, replace(pattern, response=response * pattern.dose))
        signal = response * pattern.dose - gain.dark
        mean = float(signal[good].mean())
        if mean <= 0:
            return
        good = good & (signal > LEAST_RESPONSE * mean)
        response = np.where(good, signal / mean, 1)
    if "gain" in about:
        yield from compare_gain(gain, params, about, way, replace(pattern, response=response, good=good))


def accepted(findings: Iterable[GainProblem], *, force: bool) -> tuple[str, ...]:
    """Return findings' texts as warnings; raise an error if a reference is worse than none, unless forced.

    Raises
    ------
    ParameterError
        If a reference is worse than none in every orientation, unless it is forced.
    """
    findings = tuple(findings)
    worse = [problem.text for problem in findings if problem.worse]
    if worse and not force:
        raise ParameterError("; ".join([*worse, "or apply it all the same: --gain-force"]))
    return tuple(problem.text for problem in findings)


def compare_gain(
    gain: Gain,
    params: GainParams,
    about: Mapping[str, Any],
    way: GainOrientation,
    pattern: SessionPattern,
    *,
    charge: bool = False,
) -> Iterator[GainProblem]:
    """Check a gain against a session's pattern from which the dark is subtracted; yield findings if it does
    not remove the pattern.

    Notes
    -----
    Pixels without counts are not in the pattern of stacks, which therefore follows a gain by half or less
    where counts are few. That of charge holds all pixels, and is compared as it is, not its logarithm.
    """
    text = f"{about['gain']['name']}: compared with {pattern.stacks} stacks, this gain"
    image = np.where(gain.bad, 0, gain.at(1.0 if params.by_rate else params.gamma[0]).image)
    response, good, counts = pattern.response, pattern.good, pattern.counts
    if charge:
        response = np.exp(np.minimum(response - 1, LARGEST_EXCESS))
    scores = score_orientations(response, good, image, (IDENTITY,))
    applied = next(score for score in scores if score.sense == "multiply")
    if applied.added < -CERTAIN:
        return
    scores = score_orientations(response, good, image)
    if _all_worse(scores) and (charge or counts >= FEWEST_COUNTS):
        yield GainProblem(
            f"{text} adds pattern in every orientation (as given by {applied.added:.0f} standard errors): "
            "none is better. Are the frames corrected already, do they need --dark, or is it of another "
            "camera or day? Leave --gain out, or give the right one",
            worse=True,
        )
        return
    best = _decided(scores)
    if best is None:
        yield GainProblem(
            f"{text} cannot be judged: it is too flat or {counts:.3g} counts per pixel are too few "
            f"(best orientation {scores[0].z:.1f} standard errors, {CERTAIN:g} decide). It is applied as "
            "given; is it of these frames?",
            undecided=True,
        )
    elif (best.orientation, best.sense) != (IDENTITY, "multiply"):
        yield GainProblem(
            f"{text} fits the frames in another way than as given: give {way.options(best)} "
            f"({best.z:.0f} standard errors; as given {applied.z:.0f}), or --gain-orient auto"
        )
    elif applied.z > 2 * CERTAIN and applied.added > -applied.z / 4:  # -z / 2 if it is right, 0 if squared
        yield GainProblem(
            f"{text} is turned as the frames are, but too strong: it leaves about as much pattern as there "
            "was. Is it squared, or --gain-gamma too large? mrcz-dask gain fit-gamma finds the exponent"
        )


def compare_dark(
    about: Mapping[str, Any], dark: NDArray[Any], way: GainOrientation, pattern: SessionPattern
) -> Iterator[GainProblem]:
    """Check a dark against the mean frame of a session, and yield findings if it does not fit."""
    text = f"{about['dark']['name']}: compared with {pattern.stacks} stacks, this dark"
    level = float(dark[pattern.good].mean(dtype=np.float64))
    scores = score_darks(pattern.response, pattern.good, dark)
    best = _decided(scores)
    if level >= pattern.dose:
        yield GainProblem(
            f"{text} has more counts per pixel ({level:.4g}) than their frames ({pattern.dose:.4g}). Give "
            "the mean of dark frames, not their sum, or leave --dark out",
            worse=True,
        )
    elif _all_worse(scores):
        yield GainProblem(
            f"{text} adds pattern in every orientation: none is better. Are the frames corrected already, or "
            "is it a sum of dark frames? Leave --dark out, or give the mean of dark frames of this camera",
            worse=True,
        )
    elif best is not None and best.orientation != IDENTITY:
        option = GainOrientation(way.orientation).options(best)
        remedy = f"Write the dark the way round that {about['gain']['name']} has" if "gain" in about else ""
        if "turned_as" not in about["dark"]:  # a stack of dark frames, which options do not turn
            remedy = "Give its mean as one image, with these options"
        yield GainProblem(
            f"{text} fits the frames with {option} ({best.z:.0f} standard errors), not as given. "
            f"{remedy or 'Give these options'}"
        )


def _all_worse(scores: tuple[OrientationScore, ...]) -> bool:
    return all(score.added > CERTAIN for score in scores if score.fits)


def _decided(scores: tuple[OrientationScore, ...]) -> OrientationScore | None:
    try:
        return decide(scores)
    except SessionError:
        return None


@dataclass(frozen=True, slots=True)
class ProgramFlags:
    """The options that RELION, MotionCor and Warp need to apply a gain file as this program does.

    Attributes
    ----------
    relion, motioncor, warp
        Options; MotionCor's include ``-InvGain 1`` where it is needed.
    notes
        Advice that options cannot express.
    """

    relion: str
    motioncor: str
    warp: str
    notes: tuple[str, ...]


def program_flags(
    orientation: Orientation, sense: Sense, reference: Reference, frames_format: str
) -> ProgramFlags:
    """Return the options with which RELION, MotionCor and Warp turn a gain file to this orientation.

    Parameters
    ----------
    orientation, sense
        From the rows of the gain's file to those of the frames' files.
    reference
        The gain.
    frames_format
        Format of the frames' files. MRC and MRCZ are taken alike; all three programs flip the rows of TIFF.
    """
    reversed_gain, eer = rows_are_reversed(reference.format), frames_format == "EER"
    read = partial(as_others_read, orientation, frames_tiff=rows_are_reversed(frames_format))
    # with EER frames RELION undoes the reversal of a .gain file
    named_gain = reference.name.lower().endswith(".gain")
    relion, other = read(gain_tiff=reversed_gain and not (eer and named_gain)), read(gain_tiff=reversed_gain)
    warp = warp_flags(other)
    words = {"--gain_flip_x": warp.flip_x, "--gain_flip_y": warp.flip_y, "--gain_transpose": warp.transpose}
    inverse = " -InvGain 1" if sense == "divide" else ""
    divides = eer and not named_gain
    notes = (
        (divides, "RELION divides EER frames by a gain that is not called .gain, and multiplies all others"),
        (
            (sense == "divide") != divides,
            "RELION applies this gain the wrong way: write a turned multiplier (--output) and give it that",
        ),
        (sense == "divide", "Warp multiplies: write a turned multiplier (--output) and give it that"),
    )
    return ProgramFlags(
        f"--gain_rot {relion.turns} --gain_flip {int(relion.flip)}",
        f"-RotGain {other.turns} -FlipGain {int(other.flip)}{inverse}",
        " ".join(word for word, needed in words.items() if needed) or "(none)",
        tuple(note for holds, note in notes if holds),
    )


def option_lines(flags: ProgramFlags) -> Iterator[str]:
    """Yield the options as lines of text, one for each program, and the notes."""
    for name in ("relion", "motioncor", "warp"):
        yield f"{name:<10} {getattr(flags, name)}"
    yield from (f"note: {note}" for note in flags.notes)

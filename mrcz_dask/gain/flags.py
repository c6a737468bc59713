"""Tell the user the options with which RELION, MotionCor and Warp apply the same gain file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from mrcz_dask.formats.gains import Reference
from mrcz_dask.formats.places import rows_are_reversed
from mrcz_dask.numerics.gain.orientation import Orientation, Sense, as_others_read, warp_flags


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
        Of the frames' files: MRC and MRCZ are taken alike, rows of TIFF are reversed by all three when read.
    """
    reversed_gain, eer = rows_are_reversed(reference.format), frames_format == "EER"
    read = partial(as_others_read, orientation, frames_tiff=rows_are_reversed(frames_format))
    # with EER frames RELION undoes the reversal of a .gain file
    named_gain = reference.name.lower().endswith(".gain")
    relion, other = read(gain_tiff=reversed_gain and not (eer and named_gain)), read(gain_tiff=reversed_gain)
    warp = warp_flags(other)
    words = {"--gain_flip_x": warp.flip_x, "--gain_flip_y": warp.flip_y, "--gain_transpose": warp.transpose}
    inverse = " -InvGain 1" if sense == "divide" else ""
    return ProgramFlags(
        f"--gain_rot {relion.turns} --gain_flip {int(relion.flip)}",
        f"-RotGain {other.turns} -FlipGain {int(other.flip)}{inverse}",
        " ".join(word for word, needed in words.items() if needed) or "(none)",
        tuple(_notes(sense, eer and not named_gain)),
    )


def option_lines(flags: ProgramFlags) -> Iterator[str]:
    """Yield the options as lines of text, one for each program, and the notes."""
    for name in ("relion", "motioncor", "warp"):
        yield f"{name:<10} {getattr(flags, name)}"
    yield from (f"note: {note}" for note in flags.notes)


def _notes(sense: Sense, relion_divides: bool) -> Iterator[str]:
    if relion_divides:
        yield "RELION divides EER frames by a gain that is not called .gain, and multiplies all others"
    if (sense == "divide") != relion_divides:
        yield "RELION applies this gain the wrong way: write a turned multiplier (--output) and give it that"
    if sense == "divide":
        yield "Warp multiplies: write a turned multiplier (--output) and give it that"

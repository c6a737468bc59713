"""Options that many commands share: stacks, how files are read, gain and dark reference, messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from mrcz_dask.api.settings import path_text
from mrcz_dask.cli.options.declare import OptionGroup, info, option
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import FourBit, InputParams, Mode0

if TYPE_CHECKING:
    from mrcz_dask.gain.options import GainOptions

T = TypeVar("T", int, float)
Many = list[str] | None  # an option that takes commas, or is repeated

SessionFolder = Annotated[Path, typer.Argument(help="Folder with the session's stacks.")]
StacksOrFolders = Annotated[
    list[Path],
    typer.Argument(help="Stacks of any format that is read, or folders with stacks.", show_default=False),
]
OutputOfKoma = Annotated[
    Path,
    typer.Argument(help="Output folder of `mrcz-dask koma`, such as SESSION/koma.", show_default=False),
]
OutputsOfKoma = Annotated[
    list[Path],
    typer.Argument(
        help="Output folder of `mrcz-dask koma`, such as SESSION/koma; several of one camera.",
        show_default=False,
    ),
]
OutputFolder = Annotated[Path, info("Folder for the outputs.", "-o", "--output", often=True)]
Recursive = Annotated[bool, info("Look into folders below, too.", often=True)]
Exclude = Annotated[
    list[str] | None,
    info("No stacks that match this pattern, or are in this list; repeatable.", often=True),
]
CodecOption = Annotated[str, info("Codec of the stacks: NAME[:LEVEL], such as zstd:1, or auto.")]
AsJson = Annotated[bool, info("Print the result as JSON.", "--json")]
Overwrite = Annotated[bool, info("Replace outputs that are there.", often=True)]
GAIN = info("Gain reference: MRC, TIFF, .gain.", often=True)


class SelectionGroup(OptionGroup, panel="Session"):
    """Options that choose the stacks of a session by name."""

    include: list[str] | None = option(None, "Only stacks that match this pattern; repeatable.")
    exclude: Exclude = None
    recursive: Recursive = False


class InputGroup(OptionGroup, panel="Reading"):
    """Options for files whose headers leave something open: sign of pixels, packing, frames of EER."""

    mode0: Mode0 = option(
        "auto",
        "Sign of 8- and 16-bit MRC pixels (modes 0 and 1) where the file has no footer. auto: IMOD's flag, "
        "else the header's maximum, else the histogram of the pixels.",
    )
    four_bit: FourBit = option(
        "auto",
        "Two pixels in each byte of 8-bit TIFF. auto: where frames have the size of K2 or K3 "
        "super-resolution.",
    )
    eer_frames: int = option(
        40,
        "Raw frames of EER summed to one frame; the last few are spread evenly.",
        metavar="N",
    )
    eer_upsampling: Literal["1", "2", "4"] = option("1", "Sub-pixels of EER along each edge.")

    def params(self) -> InputParams:
        """Return the options for reading files as `InputParams`.

        Raises
        ------
        ParameterError
            When the number of raw frames is out of range.
        """
        return InputParams(self.mode0, self.four_bit, self.eer_frames, int(self.eer_upsampling))


class MessageGroup(OptionGroup, panel="Messages"):
    """Options that choose how much a command prints, and whether as text or JSON."""

    as_json: AsJson = False
    log_json: bool = option(
        False, "Print every message as a line of JSON on standard error, as in OUT/events.jsonl."
    )
    verbose: bool = option(False, "Print a line for every stack.", "-v", "--verbose")
    quiet: bool = option(False, "Print only warnings, failures and the result.", "-q", "--quiet")


def texts_of(values: Many) -> tuple[str, ...]:
    """Split the values of an option at commas, and drop repeated ones."""
    return tuple(dict.fromkeys(part.strip() for text in values or () for part in text.split(",")))


def numbers_of(values: Many, option: str, kind: Callable[[str], T]) -> tuple[T, ...]:
    """Split the values of an option at commas, and return them as numbers without repeated ones.

    Raises
    ------
    ParameterError
        When one of them is no number; names the option.
    """
    try:
        return tuple(kind(part) for part in texts_of(values))
    except ValueError as error:
        text = ",".join(values or ())
        raise ParameterError(f"{option} is {text!r}; expected numbers with commas between them") from error


class GainGroup(OptionGroup, panel="Gain, dark and defects"):
    """Options of gain, dark and defects, which are applied to frames before anything else."""

    gain: Annotated[Path | None, GAIN] = None
    gain_divide: bool = option(False, "Divide by the gain (by it over its mean).")
    gain_rotate: int = option(
        0, "Quarter turns of the gain, 0-3, as RELION's --gain_rot and MotionCor's -RotGain."
    )
    gain_flip: int = option(0, "Then: 1 upside down (rows), 2 left to right, as --gain_flip and -FlipGain.")
    gain_orient: Literal["given", "auto"] = option(
        "given",
        "given: as you give it, with a warning if the first stacks show another orientation; auto: find "
        "orientation and sense from the first stacks, or refuse and print the scores.",
        often=True,
    )
    gain_gamma: str | None = option(
        None,
        "Exponent of the gain. auto: the preprint's curve of a K2 over the dose rate (Eq. 11); a number; or "
        "a curve of your own (mrcz-dask gain fit-gamma).",
        metavar="auto|VALUE|a1,b1,a2,a3",
        unset="1",
        numbers=True,
    )
    frame_time: float | None = option(
        None, "Seconds per frame, for --gain-gamma.", unset="ExposureTime of each .mdoc"
    )
    gain_force: bool = option(
        False, "Apply gain and dark even if the first stacks show that they make the pattern worse."
    )
    dark: Path | None = option(
        None, "Dark reference, counts per frame: subtracted before the gain, turned as the gain is."
    )
    defects: Path | None = option(
        None,
        "Bad pixels: SerialEM's text, lines of x y w h, RELION's STAR, a map, a Falcon's .gain; masked and "
        "filled.",
        often=True,
    )

    def params(self) -> GainOptions:
        """Return the options of gain, dark and defects as `GainOptions`.

        Raises
        ------
        ParameterError
            When options do not go together.
        """
        from mrcz_dask.gain.options import GainOptions

        values: dict[str, Any] = {name.removeprefix("gain_"): value for name, value in vars(self).items()}
        paths = {name: path_text(values[name]) for name in ("gain", "dark", "defects")}
        auto = values.pop("orient") == "auto"
        return GainOptions(auto=auto, **values | paths)

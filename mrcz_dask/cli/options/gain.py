"""Options of gain reference, dark reference and defects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mrcz_dask.api.settings import path_text
from mrcz_dask.cli.options.declare import OptionGroup, info, option

if TYPE_CHECKING:
    from mrcz_dask.gain.options import GainOptions

GAIN = info("Gain reference: MRC, TIFF, .gain.", often=True)


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
        "Bad pixels: SerialEM's text, lines of x y w h, or a map (MRC, TIFF); masked and filled.",
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

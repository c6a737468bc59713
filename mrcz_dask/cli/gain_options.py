"""Options about gain, dark and defects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mrcz_dask.api.settings import gain_options

if TYPE_CHECKING:
    from mrcz_dask.gain.options import GainOptions

PANEL = "Gain, dark and defects"
Gain = Callable[[], "GainOptions"]

GainFile = Annotated[
    Path | None,
    typer.Option("--gain", help="Gain reference: MRC, TIFF, .gain.", rich_help_panel=PANEL),
]
GainDivide = Annotated[
    bool,
    typer.Option("--gain-divide", help="Divide by the gain (by it over its mean).", rich_help_panel=PANEL),
]
GainRotate = Annotated[
    int,
    typer.Option(
        help="Quarter turns of the gain, 0-3, as RELION's --gain_rot and MotionCor's -RotGain.",
        rich_help_panel=PANEL,
    ),
]
GainFlip = Annotated[
    int,
    typer.Option(
        help="Then: 1 upside down (rows), 2 left to right, as --gain_flip and -FlipGain.",
        rich_help_panel=PANEL,
    ),
]
GainOrient = Annotated[
    Literal["given", "auto"],
    typer.Option(
        help="given: as told, with a warning if the first stacks show another; auto: find orientation and "
        "sense on them, or refuse with the scores.",
        rich_help_panel=PANEL,
    ),
]
GainForce = Annotated[
    bool,
    typer.Option(
        "--gain-force",
        help="Apply gain and dark even if the first stacks show that they make the pattern worse.",
        rich_help_panel=PANEL,
    ),
]
Dark = Annotated[
    Path | None,
    typer.Option(
        help="Dark reference, counts per frame: taken off before the gain, turned as the gain is.",
        rich_help_panel=PANEL,
    ),
]
Defects = Annotated[
    Path | None,
    typer.Option(
        help="Bad pixels: SerialEM's text, lines of x y w h, or a map (MRC, TIFF); masked and filled.",
        rich_help_panel=PANEL,
    ),
]
GainGamma = Annotated[
    str | None,
    typer.Option(
        metavar="auto|VALUE|a1,b1,a2,a3",
        help="Exponent of the gain: auto = the preprint's curve of a K2 over the dose rate (Eq. 11); a "
        "number; or a curve of your own (mrcz-dask gain fit-gamma). Default: 1.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
FrameTime = Annotated[
    float | None,
    typer.Option(
        help="Seconds per frame, for --gain-gamma. Default: ExposureTime of each .mdoc.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]


def applied(
    gain: GainFile = None,
    gain_divide: GainDivide = False,
    gain_rotate: GainRotate = 0,
    gain_flip: GainFlip = 0,
    gain_orient: GainOrient = "given",
    gain_gamma: GainGamma = None,
    frame_time: FrameTime = None,
    gain_force: GainForce = False,
    dark: Dark = None,
    defects: Defects = None,
) -> "GainOptions":  # noqa: UP037 - `grouped` evaluates the annotations
    """Return how gain, dark and defects are applied, from the options; see `gain_options`."""
    return gain_options(
        gain,
        dark,
        defects,
        divide=gain_divide,
        rotate=gain_rotate,
        flip=gain_flip,
        orient=gain_orient,
        gamma=gain_gamma,
        frame_time=frame_time,
        force=gain_force,
    )

"""Options that say how inputs are read where the files do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import typer

from mrcz_dask.values.params import InputParams

READING = "Reading"
Inputs = Callable[[], InputParams]

Mode0 = Annotated[
    Literal["auto", "signed", "unsigned"],
    typer.Option(
        help="Sign of 8- and 16-bit MRC pixels (modes 0 and 1) where the file has no footer; auto: IMOD's "
        "flag, else the header's maximum, else as the pixels' histogram looks.",
        rich_help_panel=READING,
    ),
]
FourBit = Annotated[
    Literal["auto", "packed", "plain"],
    typer.Option(
        help="Two pixels in each byte of 8-bit TIFF; auto: told by the size of K2/K3 super-resolution "
        "frames.",
        rich_help_panel=READING,
    ),
]
EerFrames = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Raw frames of EER summed to one frame; what is left over is spread evenly.",
        rich_help_panel=READING,
    ),
]
EerUpsampling = Annotated[
    Literal["1", "2", "4"],
    typer.Option(help="Sub-pixels of EER along each edge.", rich_help_panel=READING),
]


def input_params(
    mode0: Mode0 = "auto",
    four_bit: FourBit = "auto",
    eer_frames: EerFrames = 40,
    eer_upsampling: EerUpsampling = "1",
) -> InputParams:
    """Return how inputs are read, from the options.

    Raises
    ------
    ParameterError
        A number of raw frames that makes no sense.
    """
    return InputParams(mode0, four_bit, eer_frames, int(eer_upsampling))

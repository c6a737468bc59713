"""Options of `mrcz-dask count`, by the panels of its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

FINDING, OUTPUT, STREAM = "Finding electrons", "Output", "A stream of frames"

Raw = Annotated[
    list[Path] | None,
    typer.Argument(help="Stacks of raw frames of any format, or folders with stacks.", show_default=False),
]
Output = Annotated[
    Path,
    typer.Option(
        "-o", "--output", help="Folder for the outputs.", rich_help_panel=OUTPUT, show_default=False
    ),
]
Method = Annotated[
    Literal["fitted", "centroid", "maximum"],
    typer.Option(
        help="Where an electron hit: by a fitted cloud of charge, its centre of mass, or its largest pixel.",
        rich_help_panel=FINDING,
    ),
]
Clusters = Annotated[
    Literal["maxima", "components"],
    typer.Option(
        help="maxima: electrons that overlap are parted; components: pixels above the threshold that touch "
        "are one electron (not with --method fitted).",
        rich_help_panel=FINDING,
    ),
]
DetectorFile = Annotated[
    str | None,
    typer.Option(
        "--detector",
        metavar="FILE.py:NAME",
        help="Your own function of (frame, camera) that returns y, x and charge, in the place of --method; "
        "see workflows/counting.",
        rich_help_panel=FINDING,
        show_default=False,
    ),
]
Sigma = Annotated[
    float, typer.Option(help="Smallest significance of an electron, read noises.", rich_help_panel=FINDING)
]
Charge = Annotated[
    float,
    typer.Option(help="Charge of an electron, read noises; 0 = from the frames.", rich_help_panel=FINDING),
]
Width = Annotated[
    float,
    typer.Option(help="Relative width of the charge; 0 = from the frames.", rich_help_panel=FINDING),
]
Sharing = Annotated[
    float,
    typer.Option(help="Standard deviation of a cloud of charge, pixels.", rich_help_panel=FINDING),
]
Xray = Annotated[
    float,
    typer.Option(
        help="A pixel above so many read noises is an X-ray; 0 = 3.5 times the charge.",
        rich_help_panel=FINDING,
    ),
]
Sample = Annotated[
    int,
    typer.Option(help="Frames from which dark, noise and charge are found.", rich_help_panel=FINDING),
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="Of an earlier run of this detector, or the output folder it is in. Default: that in -o, else "
        "a new one from the frames.",
        rich_help_panel=FINDING,
        show_default=False,
    ),
]
Upsampling = Annotated[
    Literal["1", "2", "4"],
    typer.Option(help="Sub-pixels along each edge of a pixel.", rich_help_panel=OUTPUT),
]
Fraction = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Raw frames summed to one counted frame; what is left over is spread evenly.",
        rich_help_panel=OUTPUT,
    ),
]
EventLists = Annotated[
    bool,
    typer.Option(
        "--events", help="Write event lists, for `mrcz-dask events to-stack`.", rich_help_panel=OUTPUT
    ),
]
Codec = Annotated[str, typer.Option(help="Of the counted stacks.", rich_help_panel=OUTPUT)]
ListenOption = Annotated[
    str | None,
    typer.Option(
        "--listen",
        help="Count frames that a FrameSender pushes to this address, such as tcp://127.0.0.1:5577 (extra "
        "live); needs --calibration.",
        rich_help_panel=STREAM,
        show_default=False,
    ),
]
StackFrames = Annotated[
    int,
    typer.Option(help="Raw frames of a stack where the sender names none.", rich_help_panel=STREAM),
]
Backlog = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Tasks that may wait or run, for each slot of the workers; then the sender waits.",
        rich_help_panel=STREAM,
    ),
]
ZeroBelow = Annotated[
    float | None,
    typer.Option(
        help="LOSSY: pixels below so many read noises are sent to workers as 0. Default: nothing is lost.",
        rich_help_panel=STREAM,
        show_default=False,
    ),
]

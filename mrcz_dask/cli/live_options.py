"""Options of `mrcz-dask live`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mrcz_dask.cli import where as on

FROM, KEPT, PAGE, CORRECTION = "Where frames come from", "What is kept", "Page", "Correction"


def _of(panel: str, name: str, text: str, **more: Any) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel, **more)


Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[SOURCE]",
        help="Folder that is followed: stacks as they settle, a growing MRC frame by frame; with --catch-up "
        "the folder of a recording.",
        show_default=False,
    ),
]
Processors = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--processor",
        metavar="FILE.py[:NAME]",
        help="A processor's file; repeat for more. Each runs in a worker process of its own, and is loaded "
        "again when its file changes.",
        show_default=False,
    ),
]
RoiOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]y0:y1,x0:x1",
        help="Region of interest of all processors, or of the one that is named; repeat for more.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME.PARAMETER=VALUE", help="A parameter at the beginning."),
]
ReplayOption = Annotated[
    list[Path] | None,
    _of(
        FROM,
        "--replay",
        "Stack that is there, as if it were recorded now; repeat for more.",
        show_default=False,
    ),
]
Fps = Annotated[float | None, _of(FROM, "--fps", "Frames a second of --replay. Default: as fast as it goes.")]
Loop = Annotated[bool, _of(FROM, "--loop", "Begin --replay again at its end.")]
ListenOption = Annotated[
    str | None,
    _of(
        FROM,
        "--listen",
        "Take frames that a FrameSender pushes to this address, such as tcp://127.0.0.1:5577 (extra live).",
        show_default=False,
    ),
]
Token = Annotated[
    str, _of(FROM, "--token", "What senders have to know.", envvar="MRCZ_DASK_TOKEN", show_default=False)
]
UntilClosed = Annotated[bool, _of(FROM, "--until-closed", "End with the last sender.")]
New = Annotated[bool, _of(FROM, "--new", "Leave out what is in the folder at the beginning.")]
Settle = Annotated[
    str, _of(FROM, "--settle", "Take a stack when it has not changed for so long, such as 5s or 1m.")
]
UntilIdle = Annotated[
    str | None,
    _of(
        FROM,
        "--until-idle",
        "End when no frame came for so long, such as 10m, and all files have settled.",
        show_default=False,
    ),
]
CatchUp = Annotated[
    bool,
    _of(FROM, "--catch-up", "Process every frame of a recording, in order, with the parameters of --store."),
]
Store = Annotated[
    Path | None, _of(KEPT, "--store", "Zarr folder for results: frame, time and values of each processor.")
]
Append = Annotated[bool, _of(KEPT, "--append", "Go on in a --store that is there.")]
Overwrite = Annotated[bool, _of(KEPT, "--overwrite", "Replace a --store that is there.")]
Record = Annotated[Path | None, _of(KEPT, "--record", "Folder in which every frame is kept, as MRCZ.")]
RecordFrames = Annotated[
    int, _of(KEPT, "--record-frames", "Frames of a recorded stack where the source names none.")
]
Port = Annotated[int, _of(PAGE, "--port", "Port of the page; 0 = any that is free.")]
Host = Annotated[str, _of(PAGE, "--host", "Address at which the page listens; others see it unencrypted.")]
NoPage = Annotated[bool, _of(PAGE, "--no-page", "No page.")]
Stay = Annotated[bool, _of(PAGE, "--stay", "Keep the page when the source has ended, until Ctrl-C.")]
Correct = Annotated[
    bool,
    _of(
        CORRECTION,
        "--correct",
        "Processors get frames with gain, outliers and the pattern of the stacks so far taken off.",
    ),
]
CorrectFrames = Annotated[
    int,
    _of(CORRECTION, "--correct-frames", "Frames that count as a stack where the source names none."),
]
Memory = Annotated[
    str, typer.Option(help="Memory that a processor may take, such as 2GB.", rich_help_panel=on.WHERE)
]
Timeout = Annotated[
    str,
    typer.Option(
        help="Time that a frame may take in a processor before its worker is replaced, such as 30s.",
        rich_help_panel=on.WHERE,
    ),
]

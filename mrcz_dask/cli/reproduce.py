"""`mrcz-dask reproduce`: makes an output again from its inputs, and compares bit for bit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mrcz_dask.cli.console import print_json, say
from mrcz_dask.cli.exits import DONE, PARTLY
from mrcz_dask.cli.options.declare import command, info
from mrcz_dask.cli.options.shared import AsJson
from mrcz_dask.cli.progress import Bars


@command()
def reproduce(
    path: Annotated[
        Path,
        typer.Argument(help="An output of `koma`, a counted stack, or an event list.", show_default=False),
    ],
    session: Annotated[Path | None, info("Folder of the inputs.", unset="the one above the file")] = None,
    calibration: Annotated[
        Path | None, info("Calibration of a counted stack, or its folder.", unset="beside the file")
    ] = None,
    detector: Annotated[
        str | None,
        info("Your own function that found the electrons of a counted stack.", metavar="FILE.py:NAME"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a file again as its footer says, with KOMA or counting, and compare the two bit for bit.

    Exit code: 0 the same, 3 not the same, 1 an input is missing or changed.
    """
    from mrcz_dask.api.reproduce import reproduce as run_again

    with Bars() as bars:
        found = run_again(path, session, bars, calibration=calibration, detector=detector)
    if as_json:
        print_json(asdict(found))
    elif found.same:
        say(f"{path}: reproduced, every byte the same")
    else:
        say(f"{path}: not the same")
        for line in found.lines():
            say(f"  {line}")
    raise typer.Exit(DONE if found.same else PARTLY)

"""`report`: what a run found out, as a page, as figures, as data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcz_dask.cli.console import print_json, say
from mrcz_dask.cli.exits import DONE
from mrcz_dask.cli.options.shared import AsJson
from mrcz_dask.values.errors import ParameterError

if TYPE_CHECKING:
    from mrcz_dask.report.data import SessionData


def report(
    output: Annotated[
        Path,
        typer.Argument(help="Output folder of `mrcz-dask koma`, such as SESSION/koma.", show_default=False),
    ],
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the figures instead: each as PNG and SVG, with its data as CSV.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace figures that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make OUT/report.html: what was done, the detector's health, noise, stacks to look at, and a verdict.

    One file that needs no network. It is made from the session store, the log and the footers of the
    outputs; the inputs may be gone. `koma` makes it at the end of every run.

    Exit code: 0 made, 2 wrong usage, 1 anything else.
    """
    if figures is None and overwrite:
        raise ParameterError("--overwrite is of --figures; the page is always made anew")
    if figures is not None or as_json:
        _more(output, figures, overwrite=overwrite, as_json=as_json)
    else:
        from mrcz_dask.report.files import write_page

        say(str(write_page(output)))
    raise typer.Exit(DONE)


def _more(output: Path, folder: Path | None, *, overwrite: bool, as_json: bool) -> None:
    from mrcz_dask.report.files import all_data, write_figures
    from mrcz_dask.report.gather import gather

    data: SessionData = gather(output)
    for path in () if folder is None else write_figures(data, folder, overwrite=overwrite):
        if not as_json:
            say(str(path))
    if as_json:
        print_json(all_data(data))

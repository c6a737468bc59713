"""`mrcz-dask report`: shows the results of a run as a web page, as figures, or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mrcz_dask.cli.console import print_json, say
from mrcz_dask.cli.options.declare import command, info
from mrcz_dask.cli.options.shared import AsJson, OutputOfKoma
from mrcz_dask.values.errors import ParameterError


@command()
def report(
    output: OutputOfKoma,
    figures: Annotated[
        Path | None, info("Folder for the figures instead: each as PNG and SVG, with its data as CSV.")
    ] = None,
    overwrite: Annotated[bool, info("Replace figures that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make OUT/report.html: a summary of the run, the detector's health, noise, odd stacks, and a verdict.

    The page is one file that needs no network. It is made from the session store, the log and the footers of
    the outputs; the inputs may be gone. `koma` makes it at the end of every run.

    Exit code: 0 made, 2 wrong usage, 1 anything else.
    """
    if figures is None and overwrite:
        raise ParameterError("--overwrite is of --figures; the page is always made anew")
    if figures is None and not as_json:
        from mrcz_dask.report.files import write_page

        say(str(write_page(output)))
        return
    from mrcz_dask.report.files import all_data, write_figures
    from mrcz_dask.report.gather import gather

    data = gather(output)
    paths = [] if figures is None else write_figures(data, figures, overwrite=overwrite)
    if as_json:
        print_json(all_data(data))
    else:
        for path in paths:
            say(str(path))

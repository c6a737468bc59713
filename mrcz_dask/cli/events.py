"""`mrcz-dask events`: makes counted stacks from lists of electrons, without the raw frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrcz_dask.cli.console import alert, print_json, say
from mrcz_dask.cli.exits import DONE, PARTLY, failed
from mrcz_dask.cli.options.count import FractionGroup
from mrcz_dask.cli.options.declare import command
from mrcz_dask.cli.options.shared import AsJson, Folder, Overwrite
from mrcz_dask.values.errors import MrczDaskError, error_text


@command()
def to_stack(
    lists: Annotated[
        list[Path],
        typer.Argument(help="Event lists, STEM.events.zarr.", show_default=False, metavar="EVENTS..."),
    ],
    output: Folder,
    *,
    fractions: FractionGroup,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make counted stacks of event lists: the bytes that `count` writes with the same options."""
    from mrcz_dask.counting import events_to_stack
    from mrcz_dask.counting.rendering import stem_of_events

    params = fractions.params()
    done: list[str] = []
    problems: dict[str, Exception] = {}
    for path in lists:
        try:
            # two lists of one name in different folders: the first is not replaced by the second
            replace = overwrite and str(output / f"{stem_of_events(path)}.mrcz") not in done
            done.append(str(events_to_stack(path, output, params, overwrite=replace)))
        except (MrczDaskError, OSError) as error:
            problems[str(path)] = error
            alert(f"{path}: {error_text(error).removeprefix(f'{path}: ')}")
    if as_json:
        print_json({"done": done, "failed": {path: error_text(error) for path, error in problems.items()}})
    else:
        for output_path in done:
            say(output_path)
    raise typer.Exit(DONE if not problems else PARTLY if done else failed(problems.values()))

"""`mrcz-dask zarr-view`: lets Zarr read the stacks of a session in place, without copying pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrcz_dask.cli.console import print_json, say, warn
from mrcz_dask.cli.exits import DONE, FAILED, PARTLY
from mrcz_dask.cli.options.declare import command, info
from mrcz_dask.cli.options.shared import AsJson, Overwrite, Recursive
from mrcz_dask.values.errors import OutputExistsError, SessionError


@command()
def zarr_view(
    session: Annotated[
        Path, typer.Argument(help="Folder with MRCZ or MRC stacks, or with the outputs of koma.")
    ] = Path(),
    output: Annotated[Path, info("JSON file for the references.", "-o", "--output")] = Path(
        "session.zarr.json"
    ),
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write references (fsspec, kerchunk) through which Zarr and xarray read the stacks where they are.

    Every stack is an array (frame, y, x) whose chunks are the bytes in its file: nothing is copied. The files
    must stay where they are.

    Exit code: 0 all stacks are in it, 3 some are not, 1 none.
    """
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output}: is there; use --overwrite to replace it")
    from mrcz_dask.convert.zarr_view import view
    from mrcz_dask.session.discovery import discover

    try:
        discovery = discover(session, recursive=recursive)
    except SessionError:  # as in the folder of a run
        discovery = discover(session, recursive=recursive, outputs=True)
    references = view(discovery.stacks)
    left_out = {discovery.name_of(file.path): file.reason for file in discovery.rejected}
    left_out |= references.left_out
    for name, reason in left_out.items():
        warn(f"{name}: left out: {reason.replace(' (--exclude)', '')}")
    if not references.arrays:
        raise typer.Exit(FAILED)
    references.write(output)
    if as_json:
        print_json({"output": str(output), "arrays": list(references.arrays), "left_out": left_out})
    else:
        say(f"{output}: {len(references.arrays)} arrays, {len(references.references)} references")
    raise typer.Exit(PARTLY if left_out else DONE)

"""Counted stacks from event lists, without the raw frames."""

from __future__ import annotations

import os
from pathlib import Path

from mrcz_dask.counting.checking import event_problems
from mrcz_dask.counting.params import FractionParams
from mrcz_dask.counting.rendering import write_counted
from mrcz_dask.counting.store import SUFFIX, Events
from mrcz_dask.session.output_folder import make_folder
from mrcz_dask.values.errors import DamagedError, OutputExistsError


def events_to_stack(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    params: FractionParams | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the counted stack of an event list: the bytes that `count` writes with the same parameters.

    Parameters
    ----------
    path
        Of the event list, ``STEM.events.zarr``.
    output
        Folder in which STEM.mrcz goes.
    params
        Upsampling, raw frames in each counted one, codec.
    overwrite
        Replace a stack that is there.

    Returns
    -------
    Path
        Of the stack.

    Raises
    ------
    FormatError
        There is no event list.
    DamagedError
        Its electrons are not those that were written.
    OutputExistsError
        The output is there.
    SpaceError
        The folder cannot take it.
    """
    events = Events(path)
    target = Path(output) / f"{stem_of_events(events.path)}.mrcz"
    if target.exists() and not overwrite:
        raise OutputExistsError(
            f"{target} is there already; use --overwrite to replace it, or another folder"
        )
    problems = event_problems(events.path)
    if problems:  # Zarr gives zeros for a chunk that is gone
        raise DamagedError(f"{events.path}: {'; '.join(problems)}; copy it again, or count again")
    make_folder(target.parent)
    return write_counted(target, events, params or FractionParams())


def stem_of_events(path: Path) -> str:
    """Return the stem of the stack whose event list this is."""
    return path.name.removesuffix(SUFFIX)

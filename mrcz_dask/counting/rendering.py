"""Make a counted stack from events: the bytes are the same from a run and from an event list."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.packing import pixels
from mrcz_dask.counting.params import FractionParams
from mrcz_dask.counting.store import SUFFIX, EventList, EventSource, event_problems
from mrcz_dask.formats import provenance
from mrcz_dask.formats.mrc.writer import StackWriter
from mrcz_dask.numerics.counting.places import add_events
from mrcz_dask.session.output_folder import make_folder
from mrcz_dask.values.errors import DamagedError, OutputExistsError
from mrcz_dask.values.timing import phase

STEP = "fractions"
# Up to so many raw frames no pixel of 8 bits overflows: of one frame a pixel has a few electrons at most.
BYTES = 64
READ = 16


def counted_frames(source: EventSource, params: FractionParams) -> Iterator[NDArray[Any]]:
    """Yield the counted frames of a stack, (ny, nx) times upsampling, from its events; uint8 or uint16."""
    raw, ny, nx = source.about["shape"]
    bounds = params.bounds(raw)
    for start, stop in pairwise(bounds):
        image = np.zeros((ny * params.upsampling, nx * params.upsampling), _dtype(bounds))
        for first in range(start, stop, READ):
            events = source.read(first, min(first + READ, stop))
            with phase("apply"):
                add_events(pixels(events.y), pixels(events.x), params.upsampling, image)
        yield image


def _dtype(bounds: tuple[int, ...]) -> np.dtype[Any]:
    return np.dtype(np.uint8 if max(np.diff(bounds)) <= BYTES else np.uint16)


def write_counted(path: Path, source: EventSource, params: FractionParams) -> Path:
    """Write a counted stack from events in MRCZ; the file appears whole, or not at all.

    Parameters
    ----------
    path
        Path of the file.
    source
        Events of the stack.
    params
        Parameters by which they become frames.

    Raises
    ------
    SpaceError
        If the folder is full or cannot be written.
    """
    about, up = source.about, params.upsampling
    raw, ny, nx = about["shape"]
    bounds = params.bounds(raw)
    shape = (len(bounds) - 1, ny * up, nx * up)
    pixel_size = about["pixel_size"]
    with StackWriter(
        path,
        shape,
        _dtype(bounds),
        codec=params.codec,
        pixel_size=None if pixel_size is None else pixel_size / up,
        meta=about["meta"] or None,
        pixels={"unit": "e-", "dose_per_frame": about["events"] / np.prod(shape)},
        provenance=provenance.append(about["provenance"], _step(about, params, bounds)),
    ) as writer:
        for image in counted_frames(source, params):
            writer.append(image, owned=True)
    if about["acquired_from"] == "mtime":  # nothing else says when the stack was taken
        seconds = datetime.fromisoformat(about["acquired"]).timestamp()
        os.utime(path, (seconds, seconds))
    return path


def _step(about: dict[str, Any], params: FractionParams, bounds: tuple[int, ...]) -> dict[str, Any]:
    per_pixel = about["events"] / (about["shape"][1] * about["shape"][2] * params.upsampling**2)
    factor = about["provenance"][-1]["results"]["coincidence"]["factor"]
    dose = per_pixel / (len(bounds) - 1)
    short = about["shape"][0] < params.fraction
    return provenance.step(
        STEP,
        parameters=params,
        inputs=[{"role": "events", "digest": about["digest"], "events": about["events"]}],
        results={
            "raw_frames_per_frame": sorted({int(n) for n in np.diff(bounds)}),
            "dose_per_frame": dose,
            "corrected_dose_per_frame": dose * factor if isinstance(factor, float) else None,
        },
        caveats=[f"fewer raw frames than --fraction {params.fraction}: one frame of all"] if short else [],
    )


def events_to_stack(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    params: FractionParams | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Make the counted stack from an event list, with any upsampling and fractions, without the raw frames.

    Parameters
    ----------
    path
        Path of the event list, ``STEM.events.zarr``.
    output
        Folder for STEM.mrcz.
    params
        Upsampling, raw frames in each counted frame, codec.
    overwrite
        Whether a stack that is there is replaced.

    Returns
    -------
    Path
        Path of the stack.

    Raises
    ------
    FormatError
        If there is no event list.
    DamagedError
        If its events are not those that were written.
    OutputExistsError
        If the output is there.
    SpaceError
        If the folder is full or cannot be written.
    """
    events = EventList(path)
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
    """Return the stem of the stack that an event list is of: STEM of ``STEM.events.zarr``."""
    return path.name.removesuffix(SUFFIX)

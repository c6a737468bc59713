"""From electrons to a counted stack: the same bytes from a run and from its event list."""

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
from mrcz_dask.counting.params import FractionParams, frame_bounds
from mrcz_dask.counting.store import EventSource
from mrcz_dask.formats import provenance
from mrcz_dask.formats.mrc.writer import StackWriter
from mrcz_dask.numerics.counting.binning import add_events
from mrcz_dask.values.timing import phase

STEP = "fractions"
# up to so many raw frames no pixel of 8 bits overflows: of one frame a pixel has a few electrons at most
BYTES = 64
READ = 16


def fractions(source: EventSource, params: FractionParams) -> Iterator[NDArray[Any]]:
    """Yield the counted frames of a stack, (ny, nx) times upsampling, uint8 or uint16."""
    raw, ny, nx = source.about["shape"]
    bounds = frame_bounds(raw, params.fraction)
    dtype = counted_dtype(bounds)
    for start, stop in pairwise(bounds):
        image = np.zeros((ny * params.upsampling, nx * params.upsampling), dtype)
        for at in range(start, stop, READ):
            found = source.found(at, min(at + READ, stop))
            with phase("apply"):
                add_events(pixels(found.y), pixels(found.x), params.upsampling, image)
        yield image


def counted_dtype(bounds: tuple[int, ...]) -> np.dtype[Any]:
    """Return the type of counted frames."""
    return np.dtype(np.uint8 if max(np.diff(bounds)) <= BYTES else np.uint16)


def write_counted(path: Path, source: EventSource, params: FractionParams) -> Path:
    """Write a counted stack in MRCZ; it appears whole, or not at all.

    Parameters
    ----------
    path
        Of the file.
    source
        The electrons.
    params
        How they become frames.

    Raises
    ------
    SpaceError
        The folder cannot take it.
    """
    about, up = source.about, params.upsampling
    raw, ny, nx = about["shape"]
    bounds = frame_bounds(raw, params.fraction)
    shape = (len(bounds) - 1, ny * up, nx * up)
    size = about["pixel_size"]
    with StackWriter(
        path,
        shape,
        counted_dtype(bounds),
        codec=params.codec,
        pixel_size=None if size is None else size / up,
        meta=about["meta"] or None,
        pixels={"unit": "e-", "dose_per_frame": about["events"] / np.prod(shape)},
        provenance=provenance.append(about["provenance"], _step(about, params, bounds)),
    ) as writer:
        for image in fractions(source, params):
            writer.append(image, owned=True)
    _date(path, about)
    return path


def _step(about: dict[str, Any], params: FractionParams, bounds: tuple[int, ...]) -> dict[str, Any]:
    per_pixel = about["events"] / (about["shape"][1] * about["shape"][2] * params.upsampling**2)
    factor = about["provenance"][-1]["results"]["coincidence"]["factor"]
    dose = per_pixel / (len(bounds) - 1)
    sizes = sorted({int(n) for n in np.diff(bounds)})
    short = about["shape"][0] < params.fraction
    return provenance.step(
        STEP,
        parameters=params,
        inputs=[{"role": "events", "digest": about["digest"], "events": about["events"]}],
        results={
            "raw_frames_per_frame": sizes,
            "dose_per_frame": dose,
            "corrected_dose_per_frame": dose * factor if isinstance(factor, float) else None,
        },
        caveats=[f"fewer raw frames than --fraction {params.fraction}: one frame of all"] if short else [],
    )


def _date(path: Path, about: dict[str, Any]) -> None:
    """Give a stack the time of its input where nothing else says when that was taken."""
    if about["acquired_from"] == "mtime":
        seconds = datetime.fromisoformat(about["acquired"]).timestamp()
        os.utime(path, (seconds, seconds))

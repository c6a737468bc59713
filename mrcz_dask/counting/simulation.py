"""Write simulated raw stacks to disk, with the true electrons beside them in Zarr, to test counting."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import zarr

from mrcz_dask.formats.mrc.writer import StackWriter
from mrcz_dask.numerics.counting.params import RawParams
from mrcz_dask.numerics.counting.simulate import RawStack, Truth
from mrcz_dask.session.simulation import filled_at_once

TRUTH = "truth.zarr"
PIXEL_SIZE = 1.06
START = datetime(2026, 10, 14, 18, 30)
APART = timedelta(seconds=66)


def write_raw(
    folder: str | os.PathLike[str],
    params: RawParams | None = None,
    *,
    stacks: int = 1,
    dark_frames: int = 0,
    codec: str = "auto",
) -> tuple[Path, ...]:
    """Simulate raw stacks of one detector into a folder, with the truth in ``truth.zarr``.

    Parameters
    ----------
    folder
        Folder of the raw stacks, empty or new.
    params
        Parameters of the frames; each stack has electrons of its own.
    stacks
        Number of stacks.
    dark_frames
        Number of frames without electrons, in ``dark.mrcz``; 0 = no such stack.
    codec
        Compression of the stacks.

    Returns
    -------
    tuple of Path
        The stacks, without the one of dark frames.

    Raises
    ------
    OutputExistsError
        If the folder is not empty.

    Notes
    -----
    ``truth.zarr`` has one group a stack: `frame` (uint32), `y`, `x` (float64, pixels: pixel i covers i <= y <
    i + 1) and `charge` (float64, ADU) of its electrons; and at the root `offset`, `noise` (ADU) and `gain` of
    the pixels.
    """
    stack = RawStack(params or RawParams())
    params, names = stack.params, [f"raw_{k:03d}" for k in range(stacks)]
    with filled_at_once(Path(folder)) as place:
        root = zarr.create_group(place / TRUTH, attributes={"params": params.to_dict(), "stems": names})
        for name in ("offset", "noise", "gain"):
            root.create_array(name, data=getattr(stack, name))
        for k, name in enumerate(names):
            frames = range(k * params.frames, (k + 1) * params.frames)
            truth = _write(place / f"{name}.mrcz", stack, frames, codec, START + k * APART)
            group = root.create_group(name)
            counts = [electrons.y.size for electrons in truth]
            number = np.repeat(np.arange(params.frames, dtype=np.uint32), counts)
            group.create_array("frame", data=number)
            for column in ("y", "x", "charge"):
                values = np.concatenate([getattr(electrons, column) for electrons in truth])
                group.create_array(column, data=values)
        if dark_frames:
            dark = RawStack(replace(params, occupancy=0.0, xrays=0.0))
            frames = range(stacks * params.frames, stacks * params.frames + dark_frames)
            _write(place / "dark.mrcz", dark, frames, codec, START - APART)
    return tuple(Path(folder) / f"{name}.mrcz" for name in names)


def _write(path: Path, stack: RawStack, frames: range, codec: str, time: datetime) -> list[Truth]:
    """Write some frames of an endless stack, and return their electrons."""
    shape = (len(frames), *stack.params.shape)
    meta = {"acquisition_time": time.isoformat()}
    truth = []
    with StackWriter(
        path, shape, stack.params.dtype, codec=codec, pixel_size=PIXEL_SIZE, meta=meta
    ) as writer:
        for k in frames:
            frame = stack.frame(k)
            writer.append(frame.values, owned=True)
            truth.append(frame.truth)
    return truth

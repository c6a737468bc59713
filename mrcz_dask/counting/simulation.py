"""Simulated raw stacks on disk, with their electrons beside them in Zarr."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from mrcz_dask.formats.mrc.writer import StackWriter
from mrcz_dask.numerics.counting.raw import RawParams
from mrcz_dask.numerics.counting.simulate import RawStack
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
        Made if need be; must be empty.
    params
        Of the stacks; each has electrons of its own.
    stacks
        How many.
    dark_frames
        Frames without electrons, in ``dark.mrcz``; 0 = no such stack.
    codec
        Of the stacks.

    Returns
    -------
    tuple of Path
        The stacks, without that of dark frames.

    Raises
    ------
    OutputExistsError
        There is something in the folder.

    Notes
    -----
    ``truth.zarr`` has one group a stack: `frame` (uint32), `y`, `x` (float64, pixels: pixel i covers i <= y <
    i + 1) and `charge` (float64, ADU) of its electrons; and at the root `offset`, `noise` (ADU) and `gain` of
    the pixels.
    """
    params = params or RawParams()
    names = [f"raw_{k:03d}" for k in range(stacks)]
    with filled_at_once(Path(folder)) as place:
        truth = zarr.create_group(place / TRUTH, attributes={"params": params.to_dict(), "stems": names})
        for name in ("offset", "noise", "gain"):
            truth.create_array(name, data=getattr(RawStack(params), name))
        for k, name in enumerate(names):
            stack = _Exposure(params, k)
            _write(place / f"{name}.mrcz", stack, params.frames, codec, START + k * APART)
            _write_truth(truth.create_group(name), stack, params.frames)
        if dark_frames:
            dark = _Exposure(replace(params, occupancy=0.0, xrays=0.0), stacks)
            _write(place / "dark.mrcz", dark, dark_frames, codec, START - APART)
    return tuple(Path(folder) / f"{name}.mrcz" for name in names)


class _Exposure(RawStack):
    """Stack k of a detector: its frames are those behind the frames of the stacks before it."""

    def __init__(self, params: RawParams, k: int) -> None:
        super().__init__(params)
        self.begin = k * params.frames


def _write(path: Path, stack: _Exposure, frames: int, codec: str, time: datetime) -> None:
    shape = (frames, *stack.params.shape)
    meta: dict[str, Any] = {"acquisition_time": time.isoformat()}
    with StackWriter(
        path, shape, stack.params.dtype, codec=codec, pixel_size=PIXEL_SIZE, meta=meta
    ) as writer:
        for k in range(frames):
            writer.append(stack.frame(stack.begin + k).values, owned=True)


def _write_truth(group: zarr.Group, stack: _Exposure, frames: int) -> None:
    found = [stack.frame(stack.begin + k).truth for k in range(frames)]
    number = np.repeat(np.arange(frames, dtype=np.uint32), [one.y.size for one in found])
    group.create_array("frame", data=number)
    for name in ("y", "x", "charge"):
        group.create_array(name, data=np.concatenate([getattr(one, name) for one in found]))

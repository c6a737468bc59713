"""Finds frames of a Zarr array that were never written, and refuses stores with links."""

from __future__ import annotations

import math
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.libraries import library
from mrcz_dask.formats.source import open_file
from mrcz_dask.values.errors import HeaderError, TruncatedError


def check_store(folder: Path) -> None:
    """Raise an error if a Zarr store holds links, pipes or devices:
    a link could lead to any file of the user.

    Raises
    ------
    HeaderError
        Names the first link, pipe or device.
    """
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    what = "a link" if entry.is_symlink() else "a pipe, socket or device"
                    raise HeaderError(f"{entry.path}: is {what}; expected a file; copy the store (cp -rL)")


def absent_frames(array: Any, folder: Path) -> list[int]:
    """Return the numbers of the frames of a Zarr array that were not written completely.

    Parameters
    ----------
    array
        A Zarr array, (n, y, x), or (y, x): one frame.
    folder
        Of the store.
    """
    shape, outer, inner = (
        (1, *sizes)[-3:] for sizes in (array.shape, array.shards or array.chunks, array.chunks)
    )
    within = [o // i for o, i in zip(outer, inner, strict=True)]
    sharded = library("zarr.codecs", "formats", "Zarr stores").ShardingCodec
    sharding = next((c for c in getattr(array.metadata, "codecs", ()) if isinstance(c, sharded)), None)
    absent = np.zeros(shape[0], bool)
    for at in product(*(range(-(-size // step)) for size, step in zip(shape, outer, strict=True))):
        file = folder / array.path / array.metadata.encode_chunk_key(at[-len(array.shape) :])
        there = np.full(within, file.exists())
        if sharding is not None and there.all():
            there = _in_shard(file, sharding, within)
        first = at[0] * outer[0]
        used = [-(-min(o, n - k * o) // i) for k, o, n, i in zip(at, outer, shape, inner, strict=True)]
        whole = there[: used[0], : used[1], : used[2]].all(axis=(1, 2)).repeat(inner[0])
        absent[first : first + outer[0]] |= ~whole[: len(absent) - first]
    return np.flatnonzero(absent).tolist()


def _in_shard(file: Path, sharding: Any, within: list[int]) -> NDArray[np.bool_]:
    """Look up in a shard's index (offset and size of each chunk, all bits 1 = none) which are there."""
    count = math.prod(within)
    checked = len(sharding.index_codecs) > 1  # a crc32c of 4 bytes behind it
    size = 16 * count + 4 * checked
    with os.fdopen(open_file(file), "rb") as stream:
        at_end = str(sharding.index_location.value) == "end"
        stream.seek(*((-min(size, file.stat().st_size), os.SEEK_END) if at_end else (0,)))
        index = stream.read(16 * count)
    if len(index) < 16 * count:
        raise TruncatedError(f"{file}: is shorter than its index of {size} bytes; copy it again")
    entries = np.frombuffer(index, "<u8").reshape(*within, 2)
    return np.asarray((entries != np.iinfo(np.uint64).max).any(axis=-1))

"""Frames of an array that were never written: in HDF5, in files that it links to, and in Zarr."""

from __future__ import annotations

import math
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.libraries import library
from mrcz_dask.formats.source import Source
from mrcz_dask.values.errors import FormatError, HeaderError, TruncatedError

_LARGEST_TREE = 10_000  # groups: what is larger was not made by a detector


class JoinedStacks:
    """Datasets (n, y, x) of one kind, one after the other, as one.

    Attributes
    ----------
    parts
        The datasets, in order.
    """

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self._ends[-1]), *parts[0].shape[1:])
        self.dtype, self.attrs, self.size = parts[0].dtype, parts[0].attrs, sum(part.size for part in parts)

    def __getitem__(self, i: int) -> Any:
        k = int(np.searchsorted(self._ends, i, side="right"))
        return self.parts[k][i - self._ends[k] + len(self.parts[k])]


def linked_stacks(file: Any, source: Source) -> dict[str, JoinedStacks]:
    """Find the stacks that an HDF5 file has in other files of its folder, by group.

    Raises
    ------
    TruncatedError
        A file is not there.
    FormatError
        A link leads out of the folder, or to stacks of several kinds.
    """
    h5py = library("h5py", "hdf5", "HDF5 files")
    stacks: dict[str, JoinedStacks] = {}
    groups = [file]
    while groups and len(groups) < _LARGEST_TREE:
        group, parts = groups.pop(), []
        for key in sorted(group):
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                _check_link(source, link.filename)
                parts.append(group[key])
            elif isinstance(link, h5py.HardLink) and group.get(key, getclass=True) is h5py.Group:
                groups.append(group[key])
        parts = [part for part in parts if isinstance(part, h5py.Dataset) and len(part.shape) == 3]
        if len({(part.shape[1:], part.dtype) for part in parts}) > 1:
            raise FormatError(f"{source.name}: {group.name} links to stacks of several sizes; expected one")
        if parts:
            stacks[group.name.strip("/")] = JoinedStacks(parts)
    return stacks


def _check_link(source: Source, name: str) -> None:
    if source.path is None:
        raise FormatError(f"{source.name}: has frames in {name}; give the path of the file, not its bytes")
    folder = source.path.resolve().parent
    target = folder / name
    if not target.resolve().is_relative_to(folder):
        raise HeaderError(f"{source.name}: links to {name}, outside of its folder; put it beside this file")
    if not target.exists():
        raise TruncatedError(f"{source.name}: links to {name}, which is not there; copy it again")


def unwritten_frames(array: Any, source: Source, axis: int) -> list[int]:
    """Return the numbers of the frames of a dataset for which not all chunks were written.

    Parameters
    ----------
    array
        A dataset of h5py, or several that are joined.
    source
        Of its file.
    axis
        That of the frames: 0, or -1 for the last.

    Raises
    ------
    TruncatedError
        It is made of other files, of which one is not there, or has no such frames.
    """
    if isinstance(array, JoinedStacks):
        starts = np.cumsum([0, *(len(part) for part in array.parts)]).tolist()
        pairs = zip(starts, array.parts, strict=False)
        return [start + k for start, part in pairs for k in unwritten_frames(part, source, 0)]
    if len(array.shape) < 3:
        return [] if array.id.get_storage_size() else [0]
    n = array.shape[axis]
    if array.is_virtual:
        _check_sources(array, source)
        return []
    if array.chunks is None:
        return [] if array.id.get_storage_size() or array.external else list(range(n))
    grid = [-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
    stored = array.id.get_num_chunks()
    if stored == int(np.prod(grid)):
        return []
    each = array.chunks[axis]
    counts = np.zeros(grid[axis], int)
    for k in range(stored):
        counts[array.id.get_chunk_info(k).chunk_offset[axis] // each] += 1
    whole = int(np.prod(grid)) // grid[axis]
    return [k for k in range(n) if counts[k // each] < whole]


def _check_sources(array: Any, source: Source) -> None:
    """Complain if a virtual dataset has frames in files that are not there, or that were not written."""
    h5py = library("h5py", "hdf5", "HDF5 files")
    for link in array.virtual_sources():
        if source.path is None or link.file_name == "." or "%" in link.file_name:
            continue
        path = source.path.parent / link.file_name
        if not path.exists():
            raise TruncatedError(f"{source.name}: has frames in {path}, which is not there; copy it, too")
        with h5py.File(path, "r", locking=False) as file:
            part = file.get(link.dset_name)
            if part is None or (not part.is_virtual and unwritten_frames(part, source, 0)):
                raise TruncatedError(f"{source.name}: has frames in {path} that were never written there")
    fixed = None not in array.maxshape  # selections without an end cannot be counted
    counts = (link.vspace.get_select_npoints() for link in array.virtual_sources() if fixed)
    missing = array.size - sum(counts)
    if fixed and missing > 0:
        raise TruncatedError(
            f"{source.name}: {missing} of its {array.size} pixels are in no file that it is made of; "
            "expected all; make it again when all are written"
        )


def absent_frames(array: Any, folder: Path) -> list[int]:
    """Return the numbers of the frames of a Zarr array of which not all chunks are stored.

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
    with file.open("rb") as stream:
        at_end = str(sharding.index_location.value) == "end"
        stream.seek(*((-min(size, file.stat().st_size), os.SEEK_END) if at_end else (0,)))
        index = stream.read(16 * count)
    if len(index) < 16 * count:
        raise TruncatedError(f"{file}: is shorter than its index of {size} bytes; copy it again")
    entries = np.frombuffer(index, "<u8").reshape(*within, 2)
    return np.asarray((entries != np.iinfo(np.uint64).max).any(axis=-1))

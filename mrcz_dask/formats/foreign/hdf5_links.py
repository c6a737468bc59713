"""Finds the frames of an HDF5 file whose pixels are in other files beside it,
such as master files of Dectris.

HDF5 follows a link to any file of the user, and shows zeros where one is missing. So links are followed here,
one by one, and what a dataset is made of is checked before it is read.
"""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.foreign.hdf5_chunks import FilteredPixels, VirtualPixels
from mrcz_dask.formats.libraries import library
from mrcz_dask.formats.places import resolved
from mrcz_dask.formats.source import ByteSource, open_file
from mrcz_dask.values.errors import FormatError, HeaderError, TruncatedError

_LARGEST_TREE = 10_000  # groups: what is larger was not made by a detector
# Start, count, stride and size along each axis.
Hyperslab = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]
_DEEPEST = 8  # links to links, and arrays made of arrays


class JoinedStacks:
    """Several HDF5 datasets (n, y, x) of equal frames, read one after the other as one stack.

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
        self.chunks = max((part.chunks for part in parts if part.chunks), key=math.prod, default=None)

    def __getitem__(self, i: int) -> Any:
        k = int(np.searchsorted(self._ends, i, side="right"))
        return self.parts[k][i - self._ends[k] + len(self.parts[k])]


class LinkedFiles:
    """Opens an HDF5 file together with the files beside it that hold its pixels.

    Parameters
    ----------
    source
        The file.
    root
        The same, opened by h5py; closed together with the others.

    Attributes
    ----------
    stored
        Bytes of all that have been opened.
    """

    def __init__(self, source: ByteSource, root: Any) -> None:
        self._source, self._root, self._h5py = source, root, library("h5py", "hdf5", "HDF5 files")
        self.name, self.stored = source.name, source.size
        self._files: dict[Path, Any] = {}
        self._checked: set[tuple[str, str]] = set()
        self._closing = ExitStack()
        self._closing.callback(source.close)
        self._closing.callback(root.close)
        self.close = self._closing.close

    def open(self, origin: Any, name: str) -> Any:
        """Open an HDF5 file named by another one; it must be in the same folder or below."""
        if self._source.path is None:
            raise FormatError(f"{self.name}: has frames in {name}; give the path of the file, not its bytes")
        namer = self._source.path if origin == self._root else Path(origin.filename)
        folder = resolved(namer).parent
        path = resolved(folder / name)
        if not path.is_relative_to(folder):
            raise HeaderError(f"{namer}: links to {name}, outside of its folder; put it beside this file")
        if not path.exists():
            raise TruncatedError(f"{namer}: links to {name}, which is not there; copy it again")
        os.close(open_file(path))  # no pipe or device
        if path not in self._files:
            self._files[path] = self._closing.enter_context(self._h5py.File(path, "r", locking=False))
            self.stored += path.stat().st_size
        return self._files[path]

    def follow(self, group: Any, path: str, depth: int = 0) -> Any:
        """Return the dataset or group at a path in an HDF5 file, or None;
        checks and follows links to other files.

        Raises
        ------
        TruncatedError, PlaceError, HeaderError
            A link leads to a file that is not there, is no regular file, or lies elsewhere.
        FormatError
            Links lead in a circle.
        """
        if depth > _DEEPEST:
            raise FormatError(f"{self.name}: links to {path} in a circle; expected a stack")
        group = group.file if path.startswith("/") else group
        for part in filter(None, path.split("/")):
            link = group.get(part, getlink=True) if isinstance(group, self._h5py.Group) else None
            match link:
                case self._h5py.ExternalLink():
                    group = self.follow(self.open(group.file, link.filename), f"/{link.path}", depth + 1)
                case self._h5py.SoftLink():
                    group = self.follow(group, link.path, depth + 1)
                case self._h5py.HardLink():
                    group = group[part]
                case _:
                    return None
        return group

    def stacks(self) -> dict[str, JoinedStacks]:
        """Return the stacks whose datasets are in other files, by the HDF5 group that links to them.

        Raises
        ------
        FormatError
            A group links to stacks of several kinds; or as `follow` raises.
        """
        stacks: dict[str, JoinedStacks] = {}
        groups = [self._root]
        while groups and len(groups) < _LARGEST_TREE:
            group, parts = groups.pop(), []
            for key in sorted(group):
                link = group.get(key, getlink=True)
                if isinstance(link, self._h5py.ExternalLink):
                    parts.append(self.follow(group, key))
                elif (
                    isinstance(link, self._h5py.HardLink)
                    and group.get(key, getclass=True) is self._h5py.Group
                ):
                    groups.append(group[key])
            parts = [part for part in parts if isinstance(part, self._h5py.Dataset) and len(part.shape) == 3]
            if len({(part.shape[1:], part.dtype) for part in parts}) > 1:
                raise FormatError(f"{self.name}: {group.name} links to stacks of several sizes; expected one")
            if parts:
                stacks[group.name.strip("/")] = JoinedStacks(parts)
        return stacks

    def check(self, array: Any, depth: int = 0) -> None:
        """Raise an error unless all pixels of a dataset are in the opened files,
        as HDF5 would open any others.

        Raises
        ------
        HeaderError
            They are in a file of another format (external storage), or in files that it does not name.
        TruncatedError
            Some are in no file.
        """
        if isinstance(array, JoinedStacks):
            for part in array.parts:
                self.check(part)
        elif array.external:
            raise HeaderError(
                f"{self.name}: has its pixels in {array.external[0][0]}, which is no HDF5 file; expected "
                "them in this one; write it again without external storage"
            )
        elif array.is_virtual and (key := (array.file.filename, array.name)) not in self._checked:
            if depth > _DEEPEST:
                raise FormatError(f"{self.name}: is made of arrays in a circle; expected a stack")
            covered = sum_of_blocks([], array.shape)
            for link in array.virtual_sources():
                for block in self._check_part(array, link, depth):
                    covered.select_hyperslab(*block, op=self._h5py.h5s.SELECT_OR)
            if missing := array.size - covered.get_select_npoints():
                raise TruncatedError(
                    f"{self.name}: {missing} of its {array.size} pixels are in no file that it is made of; "
                    "expected all; make it again when all are written"
                )
            self._checked.add(key)

    def pixels(self, array: Any) -> Any:
        """Return the reader of a checked dataset: of HDF5 itself, or our own where chunks are compressed.

        Raises
        ------
        HeaderError
            Chunks went through a filter that is not known, or a virtual dataset is made of odd blocks.
        """
        if isinstance(array, JoinedStacks):
            return JoinedStacks([self.pixels(part) for part in array.parts])
        if array.is_virtual:
            parts = []
            for link in array.virtual_sources():
                part = self._part(array, link)
                spaces = ((link.vspace, array.shape), (link.src_space, part.shape))
                here, there = (indices_of(blocks_of(space, shape)) for space, shape in spaces)
                if [len(k) for k in here if len(k) > 1] != [len(k) for k in there if len(k) > 1] or not here:
                    raise HeaderError(
                        f"{self.name}: takes irregular blocks from {link.dset_name} in {link.file_name}; "
                        "expected regular ones; write it as one dataset"
                    )
                parts.append((here, self.pixels(part), there))
            return VirtualPixels(array, parts)
        filtered = array.chunks and array.id.get_create_plist().get_nfilters()
        return FilteredPixels(self.name, array) if filtered else array

    def _part(self, array: Any, link: Any) -> Any:
        """Return the dataset that a part of a virtual one comes from, or None."""
        file = array.file if link.file_name == "." else self.open(array.file, link.file_name)
        return self.follow(file, f"/{link.dset_name}")

    def _check_part(self, array: Any, link: Any, depth: int) -> list[Hyperslab]:
        """Check one dataset of which a virtual one is made; return the blocks that come from it."""
        where = f"{link.dset_name} in {link.file_name}"
        if "%" in link.file_name or "%" in link.dset_name:
            raise HeaderError(f"{self.name}: has frames in {where}, a pattern; expected the names of files")
        part = self._part(array, link)
        if not isinstance(part, self._h5py.Dataset):
            raise TruncatedError(f"{self.name}: has frames in {where}, which is not there; copy it again")
        self.check(part, depth + 1)
        if not part.is_virtual and unwritten_frames(part, 0):
            raise TruncatedError(f"{self.name}: has frames in {where} that were never written there")
        blocks, origins = blocks_of(link.vspace, array.shape), blocks_of(link.src_space, part.shape)
        count, available = (
            space.get_select_npoints() if space.select_valid() else 0
            for space in (sum_of_blocks(blocks, array.shape), sum_of_blocks(origins, part.shape))
        )
        if count != available:
            raise TruncatedError(
                f"{self.name}: {available} of {count} pixels of {where} are there; copy both again"
            )
        return blocks if count else []


def sum_of_blocks(blocks: list[Hyperslab], shape: tuple[int, ...]) -> Any:
    """Return the HDF5 selection (dataspace) that covers all given blocks of an array."""
    h5s = library("h5py", "hdf5", "HDF5 files").h5s
    space = h5s.create_simple(shape)
    space.select_none()
    for block in blocks:
        space.select_hyperslab(*block, op=h5s.SELECT_OR)
    return space


def blocks_of(space: Any, shape: tuple[int, ...]) -> list[Hyperslab]:
    """Return the blocks of an HDF5 selection; blocks of unlimited size end with the array."""
    h5s = library("h5py", "hdf5", "HDF5 files").h5s
    ones = (1,) * len(shape)
    if space.get_select_type() == h5s.SEL_ALL:
        return [((0,) * len(shape), ones, shape, shape)]
    if space.get_select_type() != h5s.SEL_HYPERSLABS:
        return []
    if not space.is_regular_hyperslab():
        pairs = space.get_select_hyper_blocklist().tolist()
        return [(tuple(a), ones, ones, tuple(z - y + 1 for y, z in zip(a, b, strict=True))) for a, b in pairs]
    start, stride, count, block = map(list, space.get_regular_hyperslab())
    for k, n in enumerate(shape):
        left = max(0, n - start[k])
        block[k] = left if block[k] == h5s.UNLIMITED else block[k]
        count[k] = max(0, left - block[k]) // stride[k] + 1 if count[k] == h5s.UNLIMITED else count[k]
    if 0 in block:
        return []
    return [(tuple(start), tuple(count), tuple(stride), tuple(block))]


def indices_of(blocks: list[Hyperslab]) -> list[NDArray[Any]]:
    """Return the indices along each axis of a selection; none unless it is one set of regular blocks."""
    if len(blocks) != 1:
        return []
    return [
        (first + step * np.arange(count)[:, None] + np.arange(size)).ravel()
        for first, count, step, size in zip(*blocks[0], strict=True)
    ]


def unwritten_frames(array: Any, axis: int) -> list[int]:
    """Return the numbers of the frames of an HDF5 dataset that were not written completely.

    Parameters
    ----------
    array
        A dataset of h5py, or several that are joined; of a virtual one nothing is known here.
    axis
        That of the frames: 0, or -1 for the last.
    """
    if isinstance(array, JoinedStacks):
        starts = np.cumsum([0, *(len(part) for part in array.parts)]).tolist()
        pairs = zip(starts, array.parts, strict=False)
        return [start + k for start, part in pairs for k in unwritten_frames(part, 0)]
    if array.is_virtual:
        return []
    n = array.shape[axis] if len(array.shape) == 3 else 1
    if array.chunks is None:
        return [] if array.id.get_storage_size() else list(range(n))
    grid = [-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
    stored = array.id.get_num_chunks()
    if stored == math.prod(grid):
        return []
    if n == 1:
        return [0]
    each = array.chunks[axis]
    counts = np.zeros(grid[axis], int)
    for k in range(stored):
        counts[array.id.get_chunk_info(k).chunk_offset[axis] // each] += 1
    whole = math.prod(grid) // grid[axis]
    return [k for k in range(n) if counts[k // each] < whole]

"""Reads stacks from HDF5 and Zarr: finds the three-dimensional array in the file,
and reads it frame by frame.

Frames that were never written are no frames of zeros. HDF5 knows which these are. Zarr leaves chunks of zeros
out, too, unless it is told to write them; it cannot be known which they are, so that they are refused.
"""

from __future__ import annotations

import base64
import io
import math
import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.checksummed import ChecksummedSource
from mrcz_dask.formats.costs import check_cost
from mrcz_dask.formats.foreign.hdf5_links import JoinedStacks, LinkedFiles, unwritten_frames
from mrcz_dask.formats.frames import FirstRow, FrameSource, native
from mrcz_dask.formats.libraries import decoding, library, opening
from mrcz_dask.formats.metadata import open_node, reading
from mrcz_dask.formats.mrc.layout import Complain
from mrcz_dask.formats.places import ZARR_FILES, measure
from mrcz_dask.formats.provenance import plain
from mrcz_dask.formats.sidecar import ATTRIBUTE, unsealed
from mrcz_dask.formats.source import ByteSource, Cursor, open_file
from mrcz_dask.values.checks import in_runs
from mrcz_dask.values.errors import FooterError, FormatError, HeaderError, NoStackError, TruncatedError
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.timing import phase

_LARGEST_PIXEL = 1000.0  # Angstrom
_PIXEL_SIZES = ("pixel_size", "pixelsize", "apix", "apix_x", "EMAN.apix_x")
_LONGEST = 4096
_MOST = 64


class ArrayReader(ChecksummedSource):
    """Reads a stack from a three-dimensional HDF5 or Zarr array; row 0 is at the top.

    Parameters
    ----------
    name
        Name of the file in messages.
    kind
        ``HDF5`` or ``Zarr``.
    array
        With shape, dtype, attributes, and slices that give NumPy arrays.
    inside
        Its path in the file.
    frames_last
        Axes are (y, x, n) instead of (n, y, x).
    close
        Called at the end.
    unwritten
        Numbers of the frames that cannot be read, as they were never written.
    """

    first_row: FirstRow = "top"

    def __init__(
        self,
        name: str,
        kind: str,
        array: Any,
        inside: str,
        frames_last: bool,
        close: Callable[[], None],
        unwritten: Sequence[int] = (),
    ) -> None:
        self.name, self.format = name, kind
        self._array, self._last, self._close = array, frames_last, close
        self.unwritten = unwritten
        n, ny, nx = np.roll(array.shape, 1).tolist() if frames_last else (1, *array.shape)[-3:]
        if min(n, ny, nx) < 1:
            raise FormatError(f"{name}: {inside} has the shape {array.shape}; expected frames with pixels")
        self.shape, self.dtype = (int(n), int(ny), int(nx)), native(f"{name}: {inside}", array.dtype)
        self._fills = _fill_values(f"{name}: {inside}", array.attrs)
        where, attrs = f"{name}: attribute {ATTRIBUTE}", array.attrs
        others = [unsealed(value, where) for key, value in attrs.items() if key != ATTRIBUTE]
        payload = unsealed(attrs[ATTRIBUTE], where) if ATTRIBUTE in attrs else None
        if any(others) or (payload is None and ATTRIBUTE in attrs):
            raise FooterError(f"{where} is damaged, or has another name; copy it again")
        self.attach_payload(payload, where)
        attributes = _plain_attributes(array.attrs)
        size = next((attributes[key] for key in _PIXEL_SIZES if key in attributes), None)
        size = size[0] if isinstance(size, list) and size else size
        if isinstance(size, (int, float)) and 0 < size <= _LARGEST_PIXEL:
            self._file_pixel_size = (float(size), float(size), float(size))
        read = {"format": kind, "first_row": self.first_row, "array": inside}
        self._file_meta = {**({"attributes": attributes} if attributes else {}), "input": read}

    def decode(self, i: int, out: NDArray[Any]) -> None:
        """Decode frame `i` into an array (ny, nx), without comparing its checksum."""
        if i in self.unwritten:
            raise TruncatedError(f"{self.name}: frame {i} was never written; copy the file again")
        image = len(self._array.shape) == 2
        with decoding(self.name, i), phase("decode", out.nbytes):
            frame = self._array[:, :, i] if self._last else self._array[...] if image else self._array[i]
            np.copyto(out, frame, casting="equiv")
        for fill in self._fills:
            count = np.count_nonzero(np.isnan(out) if np.isnan(fill) else out == fill)
            # single zeros are counts, single NaN are masked
            if count == out.size or (count and fill and not np.isnan(fill)):
                raise TruncatedError(
                    f"{self.name}: frame {i}: {count} pixels are missing: they are its fill value {fill:g}; "
                    "copy it again, or remove the attribute if these are counts"
                )

    def close(self) -> None:
        """Close the HDF5 or Zarr file."""
        self._close()


def open_hdf5(source: ByteSource, inside: str, params: InputParams, complain: Complain) -> FrameSource:
    """Open the stack in an HDF5 file: its largest three-dimensional dataset, or the one named `inside`.

    Datasets of a group that are links to other files in the same folder are one stack, in the order of their
    names: master files of Dectris.

    Raises
    ------
    FormatError
        There is none, or several are of the largest size; says what there is.
    TruncatedError
        Frames were never written, unless `complain` does not raise; or a file that it links to is not there.
    MissingLibraryError
        h5py is not installed.
    """
    h5py = library("h5py", "hdf5", "HDF5 files")
    with opening(source.name, "an HDF5 file"):
        options = {} if source.path is None else {"locking": False}
        file = h5py.File(source.path or io.BufferedReader(Cursor(source)), "r", **options)
    files = LinkedFiles(source, file)
    try:
        with opening(source.name, "an HDF5 file"):
            arrays: dict[str, Any] = {}
            file.visititems(arrays.__setitem__)
            arrays = {name: item for name, item in arrays.items() if isinstance(item, h5py.Dataset)}
            arrays |= files.stacks()
            array, path = _choose(source.name, inside, partial(files.follow, file), h5py.Dataset, arrays)
            _check_cost(source.name, files.stored, array)
            files.check(array)
            parts = path.strip("/").split("/")
            # Velox keeps frames on the last axis
            velox = len(parts) == 4 and parts[:2] == ["Data", "Image"] and parts[3] == "Data"
            for part in array.parts if isinstance(array, JoinedStacks) else [array]:
                axes = [axis.label or next(iter(axis.keys()), "") for axis in part.dims]
                _check_meaning(f"{source.name}: {path}", part, velox, axes)
            unwritten = unwritten_frames(array, -1 if velox else 0)
            pixels = files.pixels(array)
        reader = ArrayReader(source.name, "HDF5", pixels, path, velox, files.close, unwritten)
        if unwritten:
            complain(_never_written(reader, "copy it again"))
        return reader
    except BaseException:
        files.close()
        raise


def open_zarr(path: Path, inside: str, params: InputParams, complain: Complain) -> FrameSource:
    """Open the stack in a Zarr store: its largest three-dimensional array, or the one named `inside`.

    Raises
    ------
    FormatError
        There is none, or several are of the largest size; says what there is.
    TruncatedError
        Chunks of some frames are missing, and `complain` raises.
    """
    import zarr

    name = str(path)
    with opening(name, "a Zarr array or group"):
        check_store(path)
        root = open_node(path)
        if isinstance(root, zarr.Array):
            root = arrays = {"/": root}
        else:
            # one by one: of several that are damaged, Zarr's tasks would print what nobody asked for
            nodes = (
                Path(folder) for folder, _, names in os.walk(path) if not set(ZARR_FILES).isdisjoint(names)
            )
            keys = (node.relative_to(path).as_posix() for node in nodes if node != path)
            arrays = {key: item for key in keys if isinstance(item := root.get(key), zarr.Array)}
        array, at = _choose(name, inside, root.get, zarr.Array, arrays)
        _check_cost(name, measure(path).size, array)
        named = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
        _check_meaning(f"{name}: {at}", array, False, named or ())
        reader = ArrayReader(name, "Zarr", array, at, False, lambda: None)
        if reader.footer is None:  # one with checksums is compared with them
            reader.unwritten = absent_frames(array, path)
    if reader.unwritten:
        remedy = f"copy it again. If all their pixels are {array.fill_value}, which Zarr leaves out"
        complain(_never_written(reader, f"{remedy}, write them with write_empty_chunks=True"))
    return reader


def _check_cost(name: str, stored: int, array: Any) -> None:
    """Judge what an array costs: a chunk of it is decoded as a whole."""
    chunk = array.chunks or (1, *array.shape[1:])
    parts = math.prod(-(-size // max(1, step)) for size, step in zip(array.shape, chunk, strict=True))
    at_once = max(math.prod(chunk), math.prod(array.shape[1:])) * array.dtype.itemsize
    decoded = math.prod(array.shape) * array.dtype.itemsize
    check_cost(name, stored=stored, decoded=decoded, at_once=at_once, parts=parts)


def _fill_values(where: str, attributes: Mapping[str, Any]) -> list[float]:
    """Read the values that mark missing pixels (netCDF, xarray); of floats, Zarr holds them as base64."""
    fills: list[float] = []
    for key in ("_FillValue", "missing_value"):
        value = attributes.get(key, [])
        with reading(f"{where}: {key}", "a number", "remove the attribute", HeaderError):
            if isinstance(value, str):
                value = struct.unpack("<d", base64.b64decode(value))
            fills += np.asarray(value, np.float64).ravel().tolist()
    return fills


def _check_meaning(where: str, array: Any, frames_last: bool, names: Iterable[Any]) -> None:
    """Refuse an array whose attributes (netCDF, xarray) or names of axes say it is no stack of counts."""
    usual: dict[str, Any] = {"scale_factor": 1, "add_offset": 0}
    if array.dtype.kind == "i":
        usual["_Unsigned"] = "false"
    stated = {key: np.asarray(array.attrs[key]).tolist() for key in usual if key in array.attrs}
    others = [f"{key} {x!r:.40}" for key, x in stated.items() if x not in (usual[key], [usual[key]])]
    if others:
        raise HeaderError(
            f"{where} has {' and '.join(others)}; expected counts: write them as they are meant"
        )
    axes = [str(name).casefold() for name in names]
    if {"x", "y"} <= set(axes) and (axes[:2] if frames_last else axes[-2:]) != ["y", "x"]:
        expected = "y, x, frame" if frames_last else "frame, y, x"
        raise HeaderError(f"{where} has the axes ({', '.join(axes)}); expected ({expected}): transpose it")


def _never_written(reader: ArrayReader, remedy: str) -> TruncatedError:
    numbers = reader.unwritten
    which = f"{len(numbers)} of {len(reader)} frames were never written ({in_runs(numbers)})"
    return TruncatedError(f"{reader.name}: {which}; {remedy}")


def _choose(
    name: str, inside: str, find: Callable[[str], Any], kind: type, arrays: dict[str, Any]
) -> tuple[Any, str]:
    """Return an array and its path: the named one, an image too, or the only one of the largest size."""
    some = [f"{path} {tuple(array.shape)} {array.dtype}" for path, array in sorted(arrays.items())[:8]]
    listed = f"it has {', '.join(some)}{' ...' if len(arrays) > 8 else ''}" if some else "it has no arrays"
    if inside:
        at = inside.strip("/")
        chosen = arrays[at] if at in arrays else find(inside)
        if not isinstance(chosen, (kind, JoinedStacks)) or len(getattr(chosen, "shape", ())) not in (2, 3):
            raise HeaderError(f"{name}: no three-dimensional array at {inside}, nor image; {listed}")
        return chosen, inside
    stacks = {path: a for path, a in arrays.items() if len(a.shape) == 3 and a.dtype.kind in "iuf"}
    largest = max((array.size for array in stacks.values()), default=0)
    paths = sorted(path for path, array in stacks.items() if array.size == largest)
    how = f"{listed}; expected one stack, or its path: {name}::/path"
    if not paths:
        raise NoStackError(f"{name}: no three-dimensional array in it; {how}")
    if len(paths) > 1:
        raise HeaderError(f"{name}: has {len(paths)} three-dimensional arrays of equal size; {how}")
    return stacks[paths[0]], paths[0]


def _plain_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return texts, numbers and short lists of them; the rest is left out."""
    known: dict[str, Any] = {}
    for key, value in list(attributes.items())[:_MOST]:
        if isinstance(value, (np.ndarray, np.generic)):
            value = value.tolist() if value.size <= _MOST else None
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str):
            value = value[:_LONGEST]
        items = value if isinstance(value, list) else [value]
        if all(isinstance(item, (int, float, str)) for item in items):
            known[str(key)] = plain(value)
    return known


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
                    kind = "a link" if entry.is_symlink() else "a pipe, socket or device"
                    raise HeaderError(f"{entry.path}: is {kind}; expected a file; copy the store (cp -rL)")


def absent_frames(array: Any, folder: Path) -> list[int]:
    """Return the numbers of the frames of a Zarr array that were not written completely.

    Parameters
    ----------
    array
        A Zarr array, (n, y, x), or (y, x): one frame.
    folder
        Folder of the store.
    """
    from zarr.codecs import ShardingCodec

    shape, outer, inner = (
        (1, *sizes)[-3:] for sizes in (array.shape, array.shards or array.chunks, array.chunks)
    )
    within = [o // i for o, i in zip(outer, inner, strict=True)]
    codecs = getattr(array.metadata, "codecs", ())
    sharding = next((c for c in codecs if isinstance(c, ShardingCodec)), None)
    absent = np.zeros(shape[0], bool)
    for at in product(*(range(-(-size // step)) for size, step in zip(shape, outer, strict=True))):
        file = folder / array.path / array.metadata.encode_chunk_key(at[-len(array.shape) :])
        present = np.full(within, file.exists())
        if sharding is not None and present.all():
            present = _in_shard(file, sharding, within)
        first = at[0] * outer[0]
        used = [-(-min(o, n - k * o) // i) for k, o, n, i in zip(at, outer, shape, inner, strict=True)]
        whole = present[: used[0], : used[1], : used[2]].all(axis=(1, 2)).repeat(inner[0])
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

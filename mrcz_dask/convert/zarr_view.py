"""Lets Zarr read the frames of a session's MRC and MRCZ files in place, without copying pixels.

The view is a JSON file of references, as kerchunk lays them out (version 1): for every chunk of every array a
URL, an offset and a length. Each stack is an array (frame, y, x) of Zarr version 2, a frame a chunk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.frames import FrameSource
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.wrapped import MAGIC as WRAPPED
from mrcz_dask.formats.provenance import plain
from mrcz_dask.formats.source import open_file
from mrcz_dask.formats.sources import open_source
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.values.errors import FormatError, MrczDaskError

KERCHUNK = 1
AXES = ["frame", "y", "x"]
ChunkReferences = dict[str, str | list[Any]]
# Zarr has this codec for all chunks of version 2; what they were compressed with is in themselves.
BLOSC = {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 2, "blocksize": 0}


@dataclass(frozen=True, slots=True)
class View:
    """References (file, offset, length) by which Zarr finds the frames of a session in its files.

    Attributes
    ----------
    references
        References by their keys in the hierarchy.
    arrays
        Names of the stacks that are in it.
    left_out
        Names of those that cannot be, with reasons.
    """

    references: ChunkReferences
    arrays: tuple[str, ...]
    left_out: dict[str, str]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the references as a JSON file for kerchunk and fsspec, whole or not at all.

        Raises
        ------
        SpaceError
            When the folder cannot take it.
        """
        content = {"version": KERCHUNK, "refs": self.references}
        write_atomic(path, _json(content).encode())


def view(stacks: Iterable[StackEntry]) -> View:
    """Build references by which Zarr reads the stacks of a session in place, from headers and footers alone.

    Left out are stacks that Zarr cannot decode as they are: chunks of version 5, four-bit pixels, and
    other formats.
    """
    references: ChunkReferences = {".zgroup": _json({"zarr_format": 2}), ".zattrs": _json({})}
    arrays, left_out = [], {}
    for stack in stacks:
        try:
            with open_source(stack.path) as reader:
                references |= _references_to(reader, stack)
        except (MrczDaskError, OSError) as error:
            left_out[stack.name] = str(error)
        else:
            arrays.append(stack.stem)
            folders = PurePosixPath(stack.stem).parents[:-1]
            references |= {f"{folder}/.zgroup": references[".zgroup"] for folder in folders}
    return View(references, tuple(arrays), left_out)


def _references_to(source: FrameSource, stack: StackEntry) -> ChunkReferences:
    """Return the references to one stack, under its stem; a FormatError if Zarr cannot decode it as it is."""
    reader = _readable(source, stack)
    in_file = reader.header.dtype
    # bytes may be unsigned; pixels may be wider in the file than what they hold
    stored = reader.dtype if in_file.itemsize == reader.dtype.itemsize == 1 else in_file
    array = {
        "zarr_format": 2,
        "shape": list(reader.shape),
        "chunks": [1, *reader.shape[1:]],
        "dtype": stored.str,
        "compressor": BLOSC if reader.chunk_version else None,
        "fill_value": None,
        "filters": None,
        "order": "C",
    }
    about = {
        "_ARRAY_DIMENSIONS": AXES,
        "acquired": stack.acquired.time.isoformat(),
        "acquired_from": stack.acquired.source,
        "pixel_size": stack.pixel_size,
        "pixel_size_unit": "Angstrom",
        "scale": reader.scale,
        "offset": reader.offset,
    }
    url = f"file://{stack.path.as_posix()}"  # fsspec takes names as they are, with blanks and all
    chunks = zip(reader.frame_index.offsets, reader.frame_index.nbytes, strict=True)
    return {
        f"{stack.stem}/.zarray": _json(array),
        f"{stack.stem}/.zattrs": _json(plain(about)),
        **{f"{stack.stem}/{k}.0.0": [url, start, size] for k, (start, size) in enumerate(chunks)},
    }


def _readable(reader: FrameSource, stack: StackEntry) -> StackReader:
    """Return the reader if every frame has bytes of its own in the file that Zarr can decode."""
    if reader.format == "Zarr":
        raise FormatError(f"{stack.path}: is Zarr already; open it with zarr.open({stack.path.name!r})")
    with os.fdopen(open_file(stack.path), "rb") as file:
        is_wrapped = file.read(8).startswith(tuple(WRAPPED))
    if is_wrapped or not isinstance(reader, StackReader):
        reason = "compressed as a whole" if is_wrapped else reader.format
        raise FormatError(
            f"{stack.path}: is {reason}; a view refers to the frames of MRC and MRCZ files; write it again "
            "with mrcz-dask recompress, or koma without --format"
        )
    if reader.chunk_version == 5 or reader.header.four_bit:
        reason = "its pixels have four bits"
        if reader.chunk_version == 5:
            reason = "its chunks are of version 5 (blosc2)"
        raise FormatError(
            f"{stack.path}: {reason}, which Zarr cannot read as they are; "
            "write it again with mrcz-dask recompress"
        )
    return reader


def _json(values: Any) -> str:
    return json.dumps(values, separators=(",", ":"))

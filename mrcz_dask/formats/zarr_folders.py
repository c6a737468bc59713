"""Writes and reads whole arrays of this package in Zarr format 3, file by file.

The bytes are those that Zarr writes. Its library works in a loop in the background, at 4 ms for each array.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numcodecs.blosc
import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import decompress_into
from mrcz_dask.formats.metadata import COPY_AGAIN, LARGEST, ZARR_FILE, parse_json, reading
from mrcz_dask.formats.source import read_file
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.timing import phase

_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
_LARGEST_CHUNK = 1 << 32

numcodecs.blosc.use_threads = False  # as Zarr sets it: several threads put their blocks in any order


def write_group(folder: Path, attributes: dict[str, Any]) -> None:
    """Make a folder a Zarr group with these attributes."""
    about = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    (folder / ZARR_FILE).write_text(json.dumps(about, indent=2))


def write_array(
    folder: Path, values: NDArray[Any], rows: int, codec: numcodecs.Blosc, attributes: dict[str, Any]
) -> None:
    """Write an array as a new folder of chunks, and make none of the folders above it.

    Parameters
    ----------
    folder
        Its folder, which is not there yet.
    values
        The array, of at least one axis.
    rows
        Number of items along the first axis in each chunk.
    codec
        Compression of the chunks.
    attributes
        Attributes of the array.
    """
    values = np.ascontiguousarray(values)
    chunk, size = (rows, *(max(1, n) for n in values.shape[1:])), values.itemsize
    packing = {"typesize": size, "cname": codec.cname, "clevel": codec.clevel}
    packing |= {"shuffle": _SHUFFLES[codec.shuffle], "blocksize": codec.blocksize}
    about = {
        "shape": values.shape,
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": values.dtype.type(0).item(),
        "codecs": [
            {"name": "bytes"} | ({} if size == 1 else {"configuration": {"endian": "little"}}),
            {"name": "blosc", "configuration": packing},
        ],
        "attributes": attributes,
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    folder.mkdir()
    (folder / ZARR_FILE).write_text(json.dumps(about, indent=2))
    for k in range(-(-len(values) // rows) if values.size else 0):
        part = values[k * rows : (k + 1) * rows]
        if len(part) < rows:
            part = np.concatenate([part, np.zeros((rows - len(part), *part.shape[1:]), part.dtype)])
        *above, name = _chunk_place(k, values.ndim)
        place = folder
        for inner in above:
            place /= inner
            place.mkdir(exist_ok=True)
        (place / name).write_bytes(codec.encode(part))


def read_array(folder: Path, remedy: str = COPY_AGAIN) -> tuple[NDArray[Any], dict[str, Any]]:
    """Read all of an array that `write_array` wrote, and its attributes; a damaged shape takes no memory.

    Raises
    ------
    DamagedError
        It is not there, a chunk is gone, or something was changed so that it cannot be read.
    """
    with reading(str(folder), "a Zarr array", remedy):
        try:
            about = parse_json(read_file(folder / ZARR_FILE, LARGEST), str(folder), remedy)
            shape, dtype = tuple(about["shape"]), np.dtype(about["data_type"])
            rows, *inner = about["chunk_grid"]["configuration"]["chunk_shape"]
            if dtype.kind not in "biuf" or rows < 1 or inner != [max(1, n) for n in shape[1:]]:
                raise ValueError(f"found chunks of {[rows, *inner]} {dtype} for {shape}")
            values = np.empty(shape, dtype)
            with phase("disk", values.nbytes):
                for k in range(-(-len(values) // rows) if values.size else 0):
                    chunk = read_file(folder.joinpath(*_chunk_place(k, values.ndim)), _LARGEST_CHUNK)
                    into = values[k * rows : (k + 1) * rows]
                    whole = into if len(into) == rows else np.empty((rows, *inner), dtype)
                    decompress_into(chunk, whole)
                    into[...] = whole[: len(into)]
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise DamagedError(f"{error.filename}: is no file; {remedy}") from error
        except DamagedError as error:
            text = str(error)
            raise DamagedError(text if remedy in text else f"{folder}: {text}; {remedy}") from error
        return values, dict(about["attributes"])


def _chunk_place(k: int, axes: int) -> list[str]:
    """Return the path of the k-th chunk along the first axis, in parts, below the array's folder."""
    return ["c", str(k), *["0"] * (axes - 1)]

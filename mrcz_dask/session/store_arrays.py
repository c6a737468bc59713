"""Arrays of the session store: written in chunks of rows, read in strips of rows, each with its hash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from mrcz_dask.formats.metadata import SEAL, open_whole, reading
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.timing import phase

CHUNK_PIXELS = 1 << 22


def read_strips(place: Path, seal: str, remedy: str) -> Iterator[NDArray[Any]]:
    """Yield an array in strips of rows, those of its chunks, so that many can be read side by side.

    Raises
    ------
    DamagedError
        When it is not there, or, after the last strip, when its hash is not the seal.
    """
    with reading(str(place), "an array", remedy):
        array = open_whole(place, remedy)
        state = _begun(array.shape, array.dtype)
        for top in range(0, array.shape[0], array.chunks[0]):
            with phase("disk"):
                strip = np.ascontiguousarray(array[top : top + array.chunks[0]])
            state.update(strip.data)
            yield strip
        if not state.hexdigest() == array.attrs.get(SEAL) == seal:
            raise DamagedError(f"{place}: has changed since it was written; {remedy}")


def write_array(group: zarr.Group, name: str, values: NDArray[Any], seal: str) -> None:
    """Write an array in chunks of whole rows, with its hash, the seal."""
    rows = max(1, CHUNK_PIXELS // max(1, values[0].size)) if values.size else 1
    chunks = tuple(max(1, n) for n in (min(rows, values.shape[0]), *values.shape[1:]))
    codec = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")  # a few % larger than zstd, twice as fast
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        compressors=[codec],
        fill_value=0,
        config={"write_empty_chunks": True},  # looking for empty ones takes longer than writing them
        attributes={SEAL: seal},
    )
    array[...] = values


def move_files(made: dict[str, Any], folder: Path) -> None:
    """Move files that Zarr made in memory into a folder, where Zarr would take twice the time for each."""
    for name, content in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.as_buffer_like())
    made.clear()


def _begun(shape: tuple[int, ...], dtype: np.dtype[Any]) -> xxhash.xxh3_64:
    return xxhash.xxh3_64(f"{shape} {dtype.str} ".encode())


def array_digest(values: NDArray[Any]) -> str:
    """Return the xxh3-64 of shape, type and pixels of an array."""
    state = _begun(values.shape, values.dtype)
    state.update(np.ascontiguousarray(values).data)
    return state.hexdigest()

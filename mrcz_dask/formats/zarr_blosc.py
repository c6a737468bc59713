"""Checks blosc chunks of Zarr arrays before they are decoded.

The decoder in numcodecs does not compare the length that a chunk states with the bytes that are there: after
damage it reads memory that is not its own, which ends the process. Importing this module makes Zarr take the
classes below for what it reads, in the whole process. What they write is the same.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numcodecs
import numpy as np
import zarr.codecs
from numcodecs.compat import ensure_contiguous_ndarray

from mrcz_dask.formats.compression.chunks import CHUNK_HEADER, ChunkHeader, decompress_into
from mrcz_dask.values.errors import DamagedError

_BloscCodec: Any = zarr.codecs.BloscCodec
ROOM = 1 << 16  # bytes by which codecs before blosc may enlarge a chunk, beside twice its pixels


class CheckedBlosc(numcodecs.Blosc):  # type: ignore[misc]
    """Decodes and encodes blosc chunks of Zarr format 2; a damaged chunk is a DamagedError."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Return the decoded bytes of a blosc chunk."""
        chunk = memoryview(ensure_contiguous_ndarray(buf)).cast("B")
        if out is None:
            out = np.empty(ChunkHeader.parse(chunk).nbytes, np.uint8)
        decompress_into(chunk, ensure_contiguous_ndarray(out))
        return out


class CheckedBloscCodec(_BloscCodec):  # type: ignore[misc]
    """Decodes and encodes blosc chunks of Zarr format 3; a damaged chunk is a DamagedError."""

    @cached_property
    def _blosc_codec(self) -> CheckedBlosc:
        # not super()._blosc_codec, which would be kept, unchecked, where other threads find it
        settings = _BloscCodec._blosc_codec.func(self).get_config()
        return CheckedBlosc(**{name: value for name, value in settings.items() if name != "id"})

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        """Decode a chunk, unless it states so many bytes that they cannot be pixels of the array."""
        stated = ChunkHeader.parse(chunk_bytes[:CHUNK_HEADER].to_bytes()).nbytes
        pixels = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
        if stated > 2 * pixels + ROOM:
            raise DamagedError(f"the chunk states {stated} bytes; its pixels have {pixels}")
        return await super()._decode_single(chunk_bytes, chunk_spec)


numcodecs.register_codec(CheckedBlosc)
zarr.registry.register_codec("blosc", CheckedBloscCodec)
zarr.config.set({"codecs.blosc": f"{__name__}.{CheckedBloscCodec.__qualname__}"})

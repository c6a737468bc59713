"""Checks blosc chunks of Zarr arrays before they are decoded.

The decoder in numcodecs does not compare the length that a chunk states with the bytes that are there: after
damage it reads memory that is not its own, which ends the process. Importing this module makes Zarr take the
classes below for what it reads, in the whole process. What they write is the same.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numcodecs
import numpy as np
from numcodecs.compat import ensure_contiguous_ndarray

from mrcz_dask.formats.compression.chunks import ChunkHeader, decompress_into
from mrcz_dask.formats.libraries import library

zarr: Any = library("zarr", "formats", "Zarr stores")
_BloscCodec: Any = zarr.codecs.BloscCodec


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


numcodecs.register_codec(CheckedBlosc)
zarr.registry.register_codec("blosc", CheckedBloscCodec)
zarr.config.set({"codecs.blosc": f"{__name__}.{CheckedBloscCodec.__qualname__}"})

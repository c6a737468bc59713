"""Reads blosc chunks, each of which holds one compressed frame of an MRCZ file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.source import ByteSource
from mrcz_dask.values.errors import DamagedError, TruncatedError

CHUNK_HEADER = 16
_HEADER_5 = 32
_COPIED = 0x02
_FORMATS = {0: "blosclz", 1: "lz4", 2: "snappy", 3: "zlib", 4: "zstd"}

# blosc2 holds the GIL while it works unless it is told once not to
blosc2.set_releasegil(True)


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """The first 16 bytes of a blosc chunk (one compressed frame): version, codec, sizes.

    Attributes
    ----------
    version
        2 or 5.
    flags, typesize, blocksize
        As blosc holds them.
    nbytes
        Decoded bytes.
    cbytes
        Bytes of the whole chunk, this header included.
    """

    version: int
    flags: int
    typesize: int
    nbytes: int
    blocksize: int
    cbytes: int

    @classmethod
    def parse(cls, data: bytes | memoryview) -> ChunkHeader:
        """Read the header of a blosc chunk from its first 16 bytes.

        Raises
        ------
        DamagedError
            They are no chunk of version 2 or 5.
        """
        if len(data) < CHUNK_HEADER:
            raise DamagedError(f"{len(data)} bytes; a blosc chunk has a header of {CHUNK_HEADER}")
        version, _, flags, typesize, nbytes, blocksize, cbytes = struct.unpack_from("<4B3I", data)
        if version not in (2, 5) or cbytes < CHUNK_HEADER:
            raise DamagedError(
                f"no blosc chunk: version {version} (expected 2 or 5) of {cbytes} bytes "
                f"(expected at least {CHUNK_HEADER})"
            )
        return cls(version, flags, typesize, nbytes, blocksize, cbytes)

    @property
    def codec(self) -> str | None:
        """Name of the compression, such as ``zstd``; None if the pixels are only copied or all equal."""
        if self.flags & _COPIED or (self.version == 5 and self.cbytes == _HEADER_5):
            return None
        return _FORMATS.get(self.flags >> 5, f"format {self.flags >> 5}")


def walk(source: ByteSource, offset: int, count: int, nbytes: int) -> tuple[tuple[int, int], ...]:
    """Return offset and size of each of `count` compressed frames stored one after the other,
    from their headers.

    Parameters
    ----------
    source
        The file.
    offset, count
        Where the first begins, and how many.
    nbytes
        Decoded bytes that each must have.

    Returns
    -------
    tuple of (offset, cbytes)

    Raises
    ------
    TruncatedError
        The file ends first; says how many whole frames are there.
    DamagedError
        Bytes that are no chunk, or a chunk of another size.
    """
    places: list[tuple[int, int]] = []
    for k in range(count):
        cut_off = TruncatedError(
            f"{source.name}: cut off: its {source.size} bytes hold {k} whole frames of {count}; copy it again"
        )
        if offset + CHUNK_HEADER > source.size:
            raise cut_off
        try:
            chunk = ChunkHeader.parse(source.read_at(offset, CHUNK_HEADER))
            check_size(chunk, nbytes)
        except DamagedError as error:
            raise DamagedError(f"{source.name}: frame {k} at byte {offset}: {error}") from error
        if offset + chunk.cbytes > source.size:
            raise cut_off
        places.append((offset, chunk.cbytes))
        offset += chunk.cbytes
    return tuple(places)


def check_size(chunk: ChunkHeader, nbytes: int) -> None:
    """Raise an error unless a compressed frame decodes to `nbytes`, before memory is allocated for it.

    Raises
    ------
    DamagedError
        It holds another number of bytes.
    """
    if chunk.nbytes != nbytes:
        raise DamagedError(f"the chunk holds {chunk.nbytes} bytes, a frame has {nbytes}")


def decompress_into(chunk: bytes | memoryview, out: NDArray[Any]) -> None:
    """Decompress a frame's blosc chunk into a C-contiguous array of exactly its size.

    Raises
    ------
    DamagedError
        The bytes are no chunk, are not all there, or do not decode to the size of `out`.
    """
    header = ChunkHeader.parse(chunk)
    check_size(header, out.nbytes)
    if header.cbytes != len(chunk):
        raise DamagedError(f"the chunk says it has {header.cbytes} bytes, {len(chunk)} are there")
    try:
        blosc2.decompress2(chunk, dst=out.reshape(-1).view(np.uint8), nthreads=1)
    except (ValueError, RuntimeError) as error:
        raise DamagedError(f"the {header.codec or 'copied'} chunk cannot be decoded ({error})") from error

"""Version-2 chunks from blosc2's streams.

blosc2 compresses faster than the blosc1 in numcodecs (bit shuffle with AVX2, a newer zstd) but writes version
5 alone. Both keep a block as the same stream; this is what differs:

========  ===========================================  ==================================================
bytes     version 2                                    version 5
========  ===========================================  ==================================================
header    16 bytes                                     the same 16, then 16 more for filters and codec
table     int32 a block: where its stream begins       the same
a block   int32 length, stream                         the same; a length <= 0 stands for one value repeated
tail      not bit-shuffled unless 8 items divide it    shuffled but for its last items
========  ===========================================  ==================================================

So a tail that blosc1 does not shuffle is stored as it is, and blocks of one repeated value go to blosc1.
"""

from __future__ import annotations

import struct
from typing import Any

import blosc2
import numpy as np
from numcodecs import blosc as blosc1
from numpy.typing import NDArray

from mrcz_dask.formats.chunks import CHUNK_HEADER, ChunkHeader

SHUFFLES = {"none": blosc1.NOSHUFFLE, "byte": blosc1.SHUFFLE, "bit": blosc1.BITSHUFFLE}
FILTERS = {
    "none": blosc2.Filter.NOFILTER,
    "byte": blosc2.Filter.SHUFFLE,
    "bit": blosc2.Filter.BITSHUFFLE,
}
_FLAGS = {"none": 0, "byte": 1, "bit": 4}
_WHOLE_BLOCKS, _COPIED = 0x10, 0x02
_FORMATS = {"lz4": 1 << 5, "lz4hc": 1 << 5, "zstd": 4 << 5}
_HEADER_5 = 32


def block_size(items: int, itemsize: int, limit: int) -> int:
    """Return the block size: the limit, or where 8 does not divide the items one that leaves hardly a tail.

    Bit planes of a 1 MiB block of bytes are 128 KiB, as zstd's own blocks are: smaller ones cost up to 1 %
    of space. A long tail that blosc1 does not shuffle costs as much, whatever the codec.
    """
    groups, rest = divmod(items, 8)
    unit = 8 * itemsize
    count = max(1, items * itemsize // limit)
    return groups // count * unit if rest else min(groups, max(1, limit // unit)) * unit


def compress(items: NDArray[Any], name: str, level: int, shuffle: str, limit: int) -> bytes:
    """Return a chunk of version 2.

    Parameters
    ----------
    items
        Unsigned integers of the pixels' size, 1-D, C-contiguous.
    name, level
        Of the codec.
    shuffle
        ``none``, ``byte`` or ``bit``.
    limit
        Bytes of a block, about.
    """
    block = block_size(items.size, items.itemsize, limit)
    chunk = _from_blosc2(items, name, level, shuffle, block) if block and name in _FORMATS else None
    return chunk or _from_blosc1(items, name, level, shuffle, block)


def _from_blosc1(items: NDArray[Any], name: str, level: int, shuffle: str, block: int) -> bytes:
    # else calls from the main thread share one context and its number of threads
    blosc1.use_threads = False
    return bytes(blosc1.compress(items, name.encode(), level, SHUFFLES[shuffle], blocksize=block))


def _from_blosc2(items: NDArray[Any], name: str, level: int, shuffle: str, block: int) -> bytes | None:
    head = _shuffled_alike(items, shuffle, block)
    chunk = compress5(items[:head], name, level, shuffle, block, splitmode=blosc2.SplitMode.NEVER_SPLIT)
    starts = _streams(chunk, block)
    if starts is None:
        return None
    tail = items[head:].tobytes()
    count = starts.size + bool(tail)
    starts += CHUNK_HEADER + 4 * count - starts[0]
    streams = memoryview(chunk)[_HEADER_5 + 4 * starts.size :]
    end = CHUNK_HEADER + 4 * count + len(streams)
    ending = (struct.pack("<i", end), struct.pack("<i", len(tail)) + tail) if tail else (b"", b"")
    flags = _FORMATS[name] | _WHOLE_BLOCKS | _FLAGS[shuffle]
    sizes = (items.nbytes, block, end + len(ending[1]))
    header = struct.pack("<4B3I", 2, 1, flags, items.itemsize, *sizes)
    return b"".join((header, starts.tobytes(), ending[0], streams, ending[1]))


def _shuffled_alike(items: NDArray[Any], shuffle: str, block: int) -> int:
    """Return how many items both versions shuffle alike; blosc1 leaves the rest alone."""
    is_alike = items.size % 8 == 0 if shuffle == "bit" else shuffle == "byte" and items.itemsize > 1
    return items.size if is_alike else items.nbytes // block * block // items.itemsize


def _streams(chunk: bytes, block: int) -> NDArray[np.int32] | None:
    """Return where the streams of a version-5 chunk begin, or None if version 2 has no such chunk."""
    header = ChunkHeader.parse(chunk)
    if header.flags & _COPIED or header.blocksize != block or header.cbytes == _HEADER_5:
        return None
    count = -(-header.nbytes // block)
    starts = np.frombuffer(chunk, "<i4", count, _HEADER_5).copy()
    lengths = np.array([struct.unpack_from("<i", chunk, start)[0] for start in starts])
    ends = starts + 4 + lengths
    is_alike = lengths.min() > 0 and starts[0] == _HEADER_5 + 4 * count and ends[-1] == header.cbytes
    return starts if is_alike and np.array_equal(ends[:-1], starts[1:]) else None


def compress5(items: NDArray[Any], name: str, level: int, shuffle: str, block: int, **options: Any) -> bytes:
    """Return a chunk of version 5, compressed by one thread; parameters as `compress`."""
    return bytes(
        blosc2.compress2(
            items,
            codec=blosc2.Codec[name.upper()],
            clevel=level,
            filters=[FILTERS[shuffle]],
            filters_meta=[0],
            typesize=items.itemsize,
            blocksize=block,
            nthreads=1,
            **options,
        )
    )

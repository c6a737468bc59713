"""Makes blosc chunks of version 2, which every MRCZ reader knows, from streams compressed by blosc2.

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
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

import blosc2
import numpy as np
from numcodecs import blosc as blosc1
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import CHUNK_HEADER, ChunkHeader

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
Piece = bytes | memoryview


def block_size(items: int, itemsize: int, limit: int) -> int:
    """Return the block size for blosc in bytes: at most `limit`,
    so that few pixels stay outside whole blocks.

    Bit planes of a 1 MiB block of bytes are 128 KiB, as zstd's own blocks are: smaller ones cost up to 1 %
    of space. A long tail that blosc1 does not shuffle costs as much, whatever the codec.
    """
    groups, rest = divmod(items, 8)
    unit = 8 * itemsize
    count = max(1, items * itemsize // limit)
    return groups // count * unit if rest else min(groups, max(1, limit // unit)) * unit


def compress(items: NDArray[Any], name: str, level: int, shuffle: str, limit: int) -> bytes:
    """Compress the pixels of one frame into a blosc chunk of version 2, which every MRCZ reader knows.

    Parameters
    ----------
    items
        Unsigned integers of the pixels' size, 1-D, C-contiguous.
    name, level
        Name and level of the codec.
    shuffle
        ``none``, ``byte`` or ``bit``.
    limit
        Bytes of a block, about.
    """
    block = block_size(items.size, items.itemsize, limit)
    chunk = _from_blosc2(items, name, level, shuffle, block) if block and name in _FORMATS else None
    if chunk is not None:
        return chunk
    # else calls from the main thread share one context and its number of threads
    blosc1.use_threads = False
    return bytes(blosc1.compress(items, name.encode(), level, SHUFFLES[shuffle], blocksize=block))


def _from_blosc2(items: NDArray[Any], name: str, level: int, shuffle: str, block: int) -> bytes | None:
    # blosc1 leaves alone what is behind the last whole block, unless both shuffle all items alike
    is_alike = items.size % 8 == 0 if shuffle == "bit" else shuffle == "byte" and items.itemsize > 1
    head = items.size if is_alike else items.nbytes // block * block // items.itemsize
    chunk = compress5(items[:head], name, level, shuffle, block, splitmode=blosc2.SplitMode.NEVER_SPLIT)
    starts = _stream_starts(chunk, block)
    if starts is None:
        return None
    ends, stored = np.append(starts[1:], len(chunk)), memoryview(chunk)
    streams: list[list[Piece]] = [[stored[a + 4 : b]] for a, b in zip(starts, ends, strict=True)]
    tail = items[head:].tobytes()
    return chunk_of(items, name, shuffle, block, [*streams, [tail]] if tail else streams)


def chunk_of(
    items: NDArray[Any], name: str, shuffle: str, block: int, streams: Sequence[Sequence[Piece]]
) -> bytes:
    """Join compressed blocks into a blosc chunk of version 2.

    Parameters
    ----------
    items, name, shuffle
        As of `compress`.
    block
        Bytes of a block.
    streams
        The shuffled bytes of each block, compressed or as they are; in pieces.
    """
    lengths = [sum(map(len, stream)) for stream in streams]
    base = CHUNK_HEADER + 4 * len(streams)
    starts = list(accumulate((4 + length for length in lengths), initial=base))
    flags = _FORMATS[name] | _WHOLE_BLOCKS | _FLAGS[shuffle]
    header = struct.pack("<4B3I", 2, 1, flags, items.itemsize, items.nbytes, block, starts[-1])
    table = struct.pack(f"<{len(streams)}i", *starts[:-1])
    blocks = ((struct.pack("<i", n), *stream) for n, stream in zip(lengths, streams, strict=True))
    return b"".join((header, table, *chain.from_iterable(blocks)))


def _stream_starts(chunk: bytes, block: int) -> NDArray[np.int32] | None:
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
    """Compress the pixels of one frame into a blosc2 chunk (version 5), in one thread;
    parameters as `compress`.
    """
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

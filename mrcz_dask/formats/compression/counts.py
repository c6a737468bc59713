"""Compresses electron counts with zstd: entropy coding, with hardly any search for repeats,
which counts lack.

Counts are noise. What repeats in them does so by chance, and to write it as a repeat costs more than to code
its bytes one by one. So the search is as narrow as zstd allows. Each bit plane is a zstd frame of its own, as
its statistics are its own. A block of the chunk is these frames end to end. zstd decodes them as one, and so
does every reader of blosc chunks of version 2.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from mrcz_dask.formats.compression import version2

Bytes = NDArray[np.uint8]
_LOOK = 4096  # bytes in the middle of a part that tell which share of it is zero
_NARROW = {
    "window_log": 17,
    "hash_log": 6,
    "chain_log": 6,
    "search_log": 1,
    "min_match": 7,
    "target_length": 0,
    "strategy": zstandard.STRATEGY_FAST,
    "write_content_size": 1,
    "write_checksum": 0,
}
# where zeros prevail repeats are worth a search: by level, from which share of them on, and how
_SPARSE: dict[int, tuple[float, dict[str, int]]] = {
    1: (0.75, {"strategy": zstandard.STRATEGY_DFAST, "window_log": 16}),
    2: (0.75, {"strategy": zstandard.STRATEGY_LAZY2, "min_match": 6}),
    3: (0.4, {"strategy": zstandard.STRATEGY_BTOPT, "min_match": 6, "target_length": 64}),
}
# from here on a narrow search finds the long runs
_EMPTY = 0.97
LEVELS = (min(_SPARSE), max(_SPARSE))


_of_thread = threading.local()  # compressors, by level: they keep their memory, and serve one thread


def _compressors(level: int) -> tuple[zstandard.ZstdCompressor, zstandard.ZstdCompressor]:
    """Return the compressors for dense parts and for those where zeros prevail."""
    known: dict[str, Any] = _of_thread.__dict__
    key = f"level {level}"
    if key not in known:
        parameters = (_NARROW, _NARROW | _SPARSE[level][1])
        known[key] = [
            zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(**values))
            for values in parameters
        ]
    dense, sparse = known[key]
    return dense, sparse


def compress(items: NDArray[Any], level: int, shuffle: str, limit: int) -> bytes:
    """Compress the electron counts of one frame into a blosc chunk of version 2.

    Parameters
    ----------
    items
        Unsigned integers of the pixels' size, 1-D, C-contiguous.
    level
        1 to 3: how hard repeats are searched for where zeros prevail.
    shuffle
        ``none``, ``byte`` or ``bit``.
    limit
        Most bytes of a block.
    """
    block = version2.block_size(items.size, items.itemsize, limit)
    plain = items.view(np.uint8)
    streams = [
        _zstd_frames(plain[start : start + block], items.itemsize, level, shuffle)
        for start in (range(0, plain.size, block) if block else ())
    ]
    chunk = version2.chunk_of(items, "zstd", shuffle, block, streams) if streams else b""
    if 0 < len(chunk) <= plain.size:
        return chunk
    return version2.compress(items, "zstd", 1, shuffle, limit)


def _zstd_frames(block: Bytes, itemsize: int, level: int, shuffle: str) -> list[bytes]:
    """Return a block's shuffled parts as zstd frames; where these save nothing, all parts as they are."""
    dense, sparse = _compressors(level)
    parts, frames = _shuffled_parts(block, itemsize, shuffle), []
    for part in parts:
        start = max(0, (part.size - _LOOK) // 2)
        middle = part[start : start + _LOOK]
        zeros = 1 - np.count_nonzero(middle) / middle.size
        compressor = sparse if _SPARSE[level][0] < zeros < _EMPTY else dense
        frames.append(compressor.compress(part.data))
    return frames if sum(map(len, frames)) < block.size else [part.tobytes() for part in parts]


def _shuffled_parts(block: Bytes, itemsize: int, shuffle: str) -> list[Bytes]:
    """Shuffle the bits or bytes of a block; return a part per plane, with empty ones at the end joined."""
    items = block.size // itemsize
    if shuffle == "bit" and items % 8 == 0:
        from mrcz_dask.numerics.planes import bit_planes  # numba takes long to import

        flat = np.empty(block.size, np.uint8)
        source = block.view()
        source.flags.writeable = False  # or each kind of array is compiled for itself
        bit_planes(source, itemsize, flat)
        planes = flat.reshape(8 * itemsize, -1)
        used = int(block.view(f"u{itemsize}").max()).bit_length()
        return [part for part in (*planes[:used], planes[used:].reshape(-1)) if part.size]
    if shuffle == "byte" and itemsize > 1:
        return list(np.ascontiguousarray(block.reshape(items, itemsize).T))
    return [block]

"""Shuffle bits of integers into bit planes before compression, as blosc and bitshuffle (Masui 2015) do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled

# pixels whose bytes and transposed bits stay in the first cache
TILE = 1 << 12


@compiled
def bit_planes(items: NDArray[np.uint8], itemsize: int, planes: NDArray[np.uint8]) -> None:
    """Shuffle integers for compression: bit k of all items becomes plane k, eight items in a byte, the first
    in the lowest bit.

    Every inner loop begins at 0 and has a constant step: only then it becomes a vector loop.

    Parameters
    ----------
    items
        Little-endian items as their bytes, flat; 8 divides the number of items.
    itemsize
        Bytes of an item: 1, 2, 4 or 8.
    planes
        As many bytes, flat: one plane behind the other. Overwritten.
    """
    length = items.size // itemsize // 8
    words = np.empty(TILE // 8, np.uint64)
    single = words.view(np.uint8)
    for start in range(0, 8 * length, TILE):
        count = min(TILE, 8 * length - start)
        for byte in range(itemsize):
            tile = items[start * itemsize + byte :]
            if itemsize == 1:
                for i in range(count):
                    single[i] = tile[i]
            elif itemsize == 2:
                for i in range(count):
                    single[i] = tile[2 * i]
            elif itemsize == 4:
                for i in range(count):
                    single[i] = tile[4 * i]
            else:
                for i in range(count):
                    single[i] = tile[8 * i]
            # eight bytes as 8 x 8 bits, transposed (Hacker's Delight, 7-3)
            for i in range(count // 8):
                x = words[i]
                t = (x ^ (x >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
                x = x ^ t ^ (t << np.uint64(7))
                t = (x ^ (x >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
                x = x ^ t ^ (t << np.uint64(14))
                t = (x ^ (x >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
                words[i] = x ^ t ^ (t << np.uint64(28))
            for bit in range(8):
                row = planes[(8 * byte + bit) * length + start // 8 :]
                shift = np.uint64(8 * bit)
                for i in range(count // 8):
                    row[i] = np.uint8(words[i] >> shift)

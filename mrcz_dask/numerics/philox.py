"""Random numbers that depend only on stack, frame and pixel (Philox4x32-10; Salmon et al., SC 2011,
doi:10.1145/2063384.2063405).

A number depends on its key and counter alone, so that any worker, in any order, after any retry, draws the
same one. The key is the low half of the stack's digest; the counter is (block of pixels, 0, frame, purpose).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled

ROUNDS = 10
TILE = 4096
BLOCKS = TILE // 8
HIGHEST = 1 - 2.0**-53  # that `uniform` gives


class Purpose(IntEnum):
    """Purposes of random numbers, such as rounding or replacing outliers; each draws numbers of its own."""

    ROUNDING = 1
    REPLACE = 2
    DRAW = 3
    SKETCH = 4


@compiled
def philox4x32(
    blocks: NDArray[np.uint64],
    second: int,
    third: int,
    fourth: int,
    key: np.uint64,
    words: NDArray[np.uint32],
) -> None:
    """Compute the random words of the Philox counters (block, second, third, fourth) into words (4, blocks),
    for all blocks.
    """
    m0, m1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    w0, w1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for b in range(blocks.size):
        c0, c1 = blocks[b] & low, np.uint64(second)
        c2, c3 = np.uint64(third), np.uint64(fourth)
        k0, k1 = key & low, key >> shift
        for _ in range(ROUNDS):
            p, q = c0 * m0, c2 * m1
            c0, c1, c2, c3 = (q >> shift) ^ c1 ^ k0, q & low, (p >> shift) ^ c3 ^ k1, p & low
            k0, k1 = (k0 + w0) & low, (k1 + w1) & low
        words[0, b] = np.uint32(c0)
        words[1, b] = np.uint32(c1)
        words[2, b] = np.uint32(c2)
        words[3, b] = np.uint32(c3)


def key_of(digest: str) -> int:
    """Return the 64-bit key of a stack's random numbers: the low half of its hexadecimal digest."""
    return int(digest, 16) & 0xFFFFFFFFFFFFFFFF


def uniform16(size: int, key: int, purpose: Purpose, frame: int) -> NDArray[np.uint16]:
    """Return a random 16-bit integer for every pixel of a frame of `size` pixels, in raster order.

    Eight pixels share a block, those that are 512 apart in a tile of 4096: pixel j of tile t takes block
    512 t + j % 512, of that word j // 1024, and of that the low (j // 512 even) or high half.
    """
    tiles = -(-size // TILE)
    words = np.empty((4, tiles * BLOCKS), np.uint32)
    blocks = np.arange(tiles * BLOCKS, dtype=np.uint64)
    philox4x32(blocks, 0, frame, int(purpose), np.uint64(key), words)
    halves = np.stack([words & 0xFFFF, words >> 16]).astype(np.uint16).reshape(2, 4, tiles, BLOCKS)
    return halves.transpose(2, 1, 0, 3).reshape(-1)[:size]


def uniform(pixels: NDArray[np.int64], key: int, purpose: Purpose, frame: int) -> NDArray[np.float64]:
    """Return a random number in (0, 1), with 52 random bits, for each of some pixels, given by flat index."""
    words = np.empty((4, pixels.size), np.uint32)
    philox4x32(pixels.astype(np.uint64), 0, frame, int(purpose), np.uint64(key), words)
    high, low = words[0].astype(np.uint64), words[1].astype(np.uint64)
    bits: NDArray[np.uint64] = (high << np.uint64(32) | low) >> np.uint64(12)
    return np.asarray((bits.astype(np.float64) + 0.5) * 2.0**-52)

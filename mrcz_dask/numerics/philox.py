"""Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011, doi:10.1145/2063384.2063405).

A number depends on its key and counter alone, so that any worker, in any order, after any retry, draws the
same one. The key is the low half of the stack's digest; the counter is (block of pixels, 0, frame, purpose).
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
TILE = 4096
BLOCKS = TILE // 8
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)

Words = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]


class Purpose(IntEnum):
    """Uses of random numbers; one stack, frame and pixel may need several kinds."""

    ROUNDING = 1
    REPLACE = 2
    DRAW = 3
    SKETCH = 4


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Return the four 32-bit words of Philox4x32-10 for every counter (held in uint64 arrays)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high_low0, high_low1 = c0 * np.uint64(M0), c2 * np.uint64(M1)
        c0, c1, c2, c3 = (
            (high_low1 >> SHIFT) ^ c1 ^ np.uint64(k0),
            high_low1 & LOW,
            (high_low0 >> SHIFT) ^ c3 ^ np.uint64(k1),
            high_low0 & LOW,
        )
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return c0, c1, c2, c3


def key_of(digest: str) -> int:
    """Return the 64-bit key of a stack: the low half of its hexadecimal digest."""
    return int(digest, 16) & 0xFFFFFFFFFFFFFFFF


def _words(blocks: NDArray[np.uint64], key: int, purpose: Purpose, frame: int) -> Words:
    constant = np.zeros(blocks.shape, np.uint64)
    counter = (blocks, constant, constant + np.uint64(frame), constant + np.uint64(purpose))
    return philox4x32(counter, (key & 0xFFFFFFFF, key >> 32))


def uniform16(size: int, key: int, purpose: Purpose, frame: int) -> NDArray[np.uint16]:
    """Return 16 random bits for each of the pixels 0..size-1 in raster order.

    Eight pixels share a block, those that are 512 apart in a tile of 4096: pixel j of tile t takes block
    512 t + j % 512, of that word j // 1024, and of that the low (j // 512 even) or high half.
    """
    tiles = -(-size // TILE)
    blocks = np.arange(tiles * BLOCKS, dtype=np.uint64)
    words = np.stack(_words(blocks, key, purpose, frame), axis=-1).reshape(tiles, BLOCKS, 4)
    halves = np.stack([words & np.uint64(0xFFFF), words >> np.uint64(16)], axis=-1).astype(np.uint16)
    return halves.transpose(0, 2, 3, 1).reshape(-1)[:size]


def uniform(pixels: NDArray[np.int64], key: int, purpose: Purpose, frame: int) -> NDArray[np.float64]:
    """Return a number in (0, 1) with 52 random bits for each pixel index given; a block for each pixel."""
    w0, w1, _, _ = _words(pixels.astype(np.uint64), key, purpose, frame)
    bits = (w0 << SHIFT | w1) >> np.uint64(12)
    return (bits.astype(np.float64) + 0.5) * 2.0**-52

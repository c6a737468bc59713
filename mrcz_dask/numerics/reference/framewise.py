"""Compiled loops that correct a frame, and that round it to integers at random."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled, inner
from mrcz_dask.numerics.moments import moments
from mrcz_dask.numerics.philox import BLOCKS, TILE, philox4x32

Image = NDArray[np.float32]
Correction = tuple[
    NDArray[Any], np.float32, bool, NDArray[np.uint16], NDArray[np.intp], NDArray[np.float32], Image
]
"""Flat pattern, its step, whether to divide, scale (may be empty), partly kept pixels, their share, fill."""


@inner
def _correct_tile(frame: NDArray[Any], correction: Correction, start: int, k: int, out: Image) -> int:
    """Put w I' + (1 - w) fill of the flat pixels from `start` into out.

    Partly kept pixels before number k lie before `start`; return the number of the first behind the tile.
    """
    pattern, step, divide, scale, where, share, fill = correction
    one, least = np.float32(1), np.float32(0.1)
    counts, off = frame[start : start + out.size], pattern[start : start + out.size]
    if divide:
        for i in range(out.size):
            out[i] = np.float32(counts[i]) / max(least, one + np.float32(off[i]) * step)
    elif scale.size:
        factor, unit = scale[start : start + out.size], np.float32(2.0**-15)
        for i in range(out.size):
            out[i] = np.float32(counts[i]) * (np.float32(factor[i]) * unit) - np.float32(off[i]) * step
    else:
        for i in range(out.size):
            out[i] = np.float32(counts[i]) - np.float32(off[i]) * step
    while k < where.size and where[k] < start + out.size:
        w = share[k]
        own = out[where[k] - start] if w > 0 else np.float32(0)
        out[where[k] - start] = w * own + (one - w) * fill[k]
        k += 1
    return k


@compiled
def correct(frame: NDArray[Any], correction: Correction, out: Image) -> None:
    """Correct a flat frame: subtract the pattern, fill outliers; write the result to `out`."""
    k = 0
    for start in range(0, out.size, TILE):
        k = _correct_tile(frame, correction, start, k, out[start : start + TILE])


@compiled
def correct_and_round(
    frame: NDArray[Any],
    correction: Correction,
    offset: np.float32,
    inverse: np.float32,
    key: np.uint64,
    index: int,
    purpose: int,
    out: NDArray[np.int16],
) -> tuple[Any, Any, Any, Any]:
    """Correct a flat frame, and round it to int16 steps of 1 / inverse counts, up or down at random.

    Return the moments of what was put into out.
    """
    buffer = np.empty(TILE, np.float32)
    blocks, words = np.empty(BLOCKS, np.uint64), np.empty((4, BLOCKS), np.uint32)
    for b in range(BLOCKS):
        blocks[b] = np.uint64(b)
    low: Any = np.int64(32767)
    high: Any = np.int64(-32768)
    total, squares, k = np.int64(0), np.int64(0), 0
    for start in range(0, frame.size, TILE):
        steps = out[start : start + TILE]
        k = _correct_tile(frame, correction, start, k, buffer[: steps.size])
        philox4x32(blocks, 0, index, purpose, key, words)
        for b in range(BLOCKS):
            blocks[b] += np.uint64(BLOCKS)
        # pixel j takes half (j // BLOCKS) % 2 of word j // (2 BLOCKS) of block j % BLOCKS
        for eighth in range(8):
            first = eighth * BLOCKS
            if first < steps.size:
                shift = np.uint32(16 * (eighth % 2))
                values, rounded = buffer[first : first + BLOCKS], steps[first : first + BLOCKS]
                _round_part(values, words[eighth // 2], shift, offset, inverse, rounded)
        least, most, part, square = moments(steps)
        low, high = min(low, least), max(high, most)
        total += part
        squares += square
    return low, high, total, squares


@inner
def _round_part(
    values: NDArray[np.float32],
    words: NDArray[np.uint32],
    shift: np.uint32,
    offset: np.float32,
    inverse: np.float32,
    out: NDArray[np.int16],
) -> None:
    half, scale = np.float32(0.5), np.float32(2.0**-16)
    for b in range(out.size):
        scaled = (values[b] - offset) * inverse
        below = np.floor(scaled)
        chance = (np.float32(np.int32((words[b] >> shift) & np.uint32(0xFFFF))) + half) * scale
        out[b] = np.int16(np.int32(below) + np.int32(chance < scaled - below))

"""Compiled loops over whole images: one pass where NumPy takes many. Tests hold them to NumPy twins.

All of them release the GIL and run in one thread in a fixed order, without fast-math, so that their bits do
not depend on who calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.philox import BLOCKS, TILE

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function when it is first called; keep the machine code for the next process if it can be."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither this folder nor the user's can be written
        return cast(F, numba.njit(nogil=True)(function))


def native(frame: NDArray[Any]) -> NDArray[Any]:
    """Return a frame in a type that compiled code knows: float16 as float32, bytes in native order."""
    if frame.dtype == np.float16:
        return frame.astype(np.float32)
    return frame if frame.dtype.isnative else frame.astype(frame.dtype.newbyteorder("="))


@compiled
def unmasked_sum(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float, int]:
    """Return sum and number of the unmasked pixels; row by row, in float64."""
    total, count = 0.0, 0
    for y in range(image.shape[0]):
        row, good = 0.0, 0
        for x in range(image.shape[1]):
            keep = not mask[y, x]
            row += image[y, x] if keep else 0.0
            good += keep
        total += row
        count += good
    return total, count


@compiled
def profiles(
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    mean: float,
    level: int,
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    blocks: NDArray[np.float64],
) -> None:
    """Add image - mean, 0 at the mask, to sums of columns (each half apart), rows, and blocks of 2**level.

    columns is (2, nx), rows (ny,), blocks (ceil(ny / 2**level), ceil(nx / 2**level)); all zero at the start.
    """
    ny, nx = image.shape
    for y in range(ny):
        half = columns[1 if 2 * y >= ny else 0]
        into = blocks[y >> level]
        total = 0.0
        for x in range(nx):
            value = 0.0 if mask[y, x] else image[y, x] - mean
            half[x] += value
            into[x >> level] += value
            total += value
        rows[y] = total


@compiled
def product(
    a: NDArray[np.float32], mean_a: float, b: NDArray[np.float32], mean_b: float, mask: NDArray[np.bool_]
) -> float:
    """Return the sum over unmasked pixels of (a - mean a)(b - mean b); row by row, in float64."""
    total = 0.0
    for y in range(a.shape[0]):
        row = 0.0
        for x in range(a.shape[1]):
            row += 0.0 if mask[y, x] else (a[y, x] - mean_a) * (b[y, x] - mean_b)
        total += row
    return total


@compiled
def add_up(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    c_first: float,
    c_second: float,
    columns: NDArray[np.float64],
    rows: NDArray[np.float64],
    small: NDArray[np.float64],
    level: int,
) -> NDArray[np.float32]:
    """Return the sum of factors * images, columns (of each half), rows, and small in blocks of 2**level."""
    ny, nx = first.shape
    out = np.empty((ny, nx), np.float32)
    for y in range(ny):
        half = columns[1 if 2 * y >= ny else 0]
        under = small[y >> level]
        for x in range(nx):
            lines = half[x] + rows[y] + under[x >> level]
            out[y, x] = np.float32(c_first * first[y, x] + c_second * second[y, x] + lines)
    return out


@compiled
def _philox_tile(tile: int, key: np.uint64, frame: int, purpose: int, words: NDArray[np.uint32]) -> None:
    """Fill words (4, BLOCKS) with Philox4x32-10 of the tile's blocks; see `philox`."""
    m0, m1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    w0, w1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for b in range(BLOCKS):
        c0, c1 = np.uint64(tile * BLOCKS + b), np.uint64(0)
        c2, c3 = np.uint64(frame), np.uint64(purpose)
        k0, k1 = np.uint64(key) & low, np.uint64(key) >> shift
        for _ in range(10):
            p, q = c0 * m0, c2 * m1
            c0, c1, c2, c3 = (q >> shift) ^ c1 ^ k0, q & low, (p >> shift) ^ c3 ^ k1, p & low
            k0, k1 = (k0 + w0) & low, (k1 + w1) & low
        words[0, b] = np.uint32(c0)
        words[1, b] = np.uint32(c1)
        words[2, b] = np.uint32(c2)
        words[3, b] = np.uint32(c3)


@compiled
def _correct_range(
    frame: NDArray[Any],
    pattern: NDArray[np.int16],
    step: np.float32,
    divide: bool,
    where: NDArray[np.intp],
    share: NDArray[np.float32],
    fill: NDArray[np.float32],
    start: int,
    stop: int,
    out: NDArray[np.float32],
) -> None:
    """Put w I' + (1 - w) fill of the flat pixels start..stop into out[0:stop - start]."""
    one, least = np.float32(1), np.float32(0.1)
    if divide:
        for i in range(start, stop):
            out[i - start] = np.float32(frame[i]) / max(least, one + np.float32(pattern[i]) * step)
    else:
        for i in range(start, stop):
            out[i - start] = np.float32(frame[i]) - np.float32(pattern[i]) * step
    for k in range(np.searchsorted(where, start), np.searchsorted(where, stop)):
        w = share[k]
        own = out[where[k] - start] if w > 0 else np.float32(0)
        out[where[k] - start] = w * own + (one - w) * fill[k]


@compiled
def correct(
    frame: NDArray[Any],
    pattern: NDArray[np.int16],
    step: np.float32,
    divide: bool,
    where: NDArray[np.intp],
    share: NDArray[np.float32],
    fill: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Correct a whole flat frame."""
    for start in range(0, out.size, TILE):
        stop = min(start + TILE, out.size)
        _correct_range(frame, pattern, step, divide, where, share, fill, start, stop, out[start:stop])


@compiled
def correct_and_round(
    frame: NDArray[Any],
    pattern: NDArray[np.int16],
    step: np.float32,
    divide: bool,
    where: NDArray[np.intp],
    share: NDArray[np.float32],
    fill: NDArray[np.float32],
    inverse: np.float32,
    key: np.uint64,
    index: int,
    purpose: int,
    out: NDArray[np.int16],
) -> None:
    """Correct a whole flat frame and round it to steps of 1 / inverse, up or down at random."""
    buffer = np.empty(TILE, np.float32)
    words = np.empty((4, BLOCKS), np.uint32)
    for tile in range((frame.size + TILE - 1) // TILE):
        start = tile * TILE
        stop = min(start + TILE, frame.size)
        _correct_range(frame, pattern, step, divide, where, share, fill, start, stop, buffer)
        _philox_tile(tile, key, index, purpose, words)
        _round_tile(buffer, words, inverse, out[start:stop])


@compiled
def _round_tile(
    buffer: NDArray[np.float32], words: NDArray[np.uint32], inverse: np.float32, out: NDArray[np.int16]
) -> None:
    """Round a tile: pixel j takes half (j // BLOCKS) % 2 of word j // (2 BLOCKS) of block j % BLOCKS."""
    half, scale = np.float32(0.5), np.float32(2.0**-16)
    for part in range(8):
        first = part * BLOCKS
        shift = np.uint32(16 * (part % 2))
        row = words[part // 2]
        for b in range(min(BLOCKS, max(0, out.size - first))):
            scaled = buffer[first + b] * inverse
            below = np.floor(scaled)
            chance = (np.float32((row[b] >> shift) & np.uint32(0xFFFF)) + half) * scale
            out[first + b] = np.int16(below + np.float32(chance < scaled - below))


LANES = 16


@compiled
def _lane_sum(values: NDArray[Any], mean: float, square: bool) -> float:
    """Return sum (v - mean) or sum (v - mean)**2 in float64; sixteen sums side by side, then together."""
    lanes = np.zeros(LANES)
    whole = values.size - values.size % LANES
    for i in range(0, whole, LANES):
        for j in range(LANES):
            d = np.float64(values[i + j]) - mean
            lanes[j] += d * d if square else d
    for i in range(whole, values.size):
        d = np.float64(values[i]) - mean
        lanes[i - whole] += d * d if square else d
    total = 0.0
    for j in range(LANES):
        total += lanes[j]
    return total


@compiled
def add_standardised(values: NDArray[Any], total: NDArray[np.float64]) -> bool:
    """Add flat values, without their mean and of unit norm, to total; False if constant or not finite."""
    constant = True
    for i in range(values.size):
        if not np.isfinite(values[i]):
            return False
        constant = constant and values[i] == values[0]
    if constant:
        return False
    mean = _lane_sum(values, 0.0, False) / values.size
    factor = 1.0 / np.sqrt(_lane_sum(values, mean, True))
    for i in range(values.size):
        total[i] += (np.float64(values[i]) - mean) * factor
    return True


@compiled
def grid_sums(
    values: NDArray[Any],
    mask: NDArray[np.bool_],
    row_of: NDArray[np.intp],
    column_of: NDArray[np.intp],
    sums: NDArray[np.float64],
    pixels: NDArray[np.int64],
) -> None:
    """Add unmasked pixels to sums, their number to pixels: (rows, columns) of a grid, zero at the start."""
    for y in range(values.shape[0]):
        into, count = sums[row_of[y]], pixels[row_of[y]]
        for x in range(values.shape[1]):
            good = not mask[y, x]
            into[column_of[x]] += np.float64(values[y, x]) if good else 0.0
            count[column_of[x]] += good


@compiled
def ratio(
    numerator: NDArray[np.int64],
    missing: NDArray[np.int64],
    weight: int,
    factor: float,
    out: NDArray[np.float32],
) -> int:
    """Put numerator * factor / (weight - missing) into out, all flat; return how many have no weight (0)."""
    empty = 0
    for i in range(out.size):
        own = weight - missing[i]
        if own > 0:
            out[i] = np.float32(numerator[i] * factor / own)
        else:
            out[i] = np.float32(0)
            empty += 1
    return empty


@compiled
def spread_of(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the largest absolute value and the standard deviation of flat values."""
    largest = np.float32(0)
    for i in range(values.size):
        largest = max(largest, abs(values[i]))
    mean = _lane_sum(values, 0.0, False) / values.size
    return float(largest), np.sqrt(_lane_sum(values, mean, True) / values.size)


@compiled
def in_steps(
    pattern: NDArray[np.float32],
    step: np.float32,
    divide: bool,
    mean: NDArray[np.float32],
    stored: NDArray[np.int16],
    corrected: NDArray[np.float32],
) -> None:
    """Round a pattern to steps, and correct the mean image by what was stored; all flat."""
    one, least, inverse = np.float32(1), np.float32(0.1), np.float32(1) / step
    for i in range(pattern.size):
        whole = np.rint(pattern[i] * inverse)
        stored[i] = np.int16(whole)
        off = np.float32(whole * step)
        corrected[i] = mean[i] / max(least, one + off) if divide else mean[i] - off

"""Minimum, maximum, sum and sum of squares of an image in one pass over memory, exact for integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import LANES, compiled, inner, total

# stays in the first cache, and its sum fits 32 bits: BLOCK * 2**16 < 2**31
BLOCK = 1 << 13
# up to here the sum of its squares does too: BLOCK * NARROW**2 < 2**32
NARROW = 724
PIECE = 1 << 15


@compiled
def moments(pixels: NDArray[Any]) -> tuple[int, int, int, int]:
    """Return minimum, maximum, sum, and sum of squares of the pixels of a flat integer image.

    Four plain loops over a block that stays in the cache: each of them becomes one vector loop.

    Parameters
    ----------
    pixels
        (n,) integers of at most 32 bits and magnitude below 2**16, C-contiguous, in native byte order,
        n < 2**31.

    Raises
    ------
    ValueError
        There are none.
    """
    if not pixels.size:
        raise ValueError("no pixels; expected at least one")
    low, high = np.int64(pixels[0]), np.int64(pixels[0])
    total, squares = np.int64(0), np.int64(0)
    for start in range(0, pixels.size, BLOCK):
        # indices from 0: loops over items, or from `start`, are not vectorized
        block = pixels[start : start + BLOCK]
        least, most, part = block[0], block[0], np.int32(0)
        for i in range(block.size):
            least = block[i] if block[i] < least else least
            most = block[i] if block[i] > most else most
        for i in range(block.size):
            part = np.int32(part + np.int32(block[i]))
        if max(-np.int64(least), np.int64(most)) <= NARROW:
            few = np.uint32(0)
            for i in range(block.size):
                few = np.uint32(few + np.uint32(np.int32(block[i]) * np.int32(block[i])))
            squares += np.int64(few)
        else:
            for i in range(block.size):
                squares += np.int64(np.uint32(np.int32(block[i]) * np.int32(block[i])))
        low, high = min(low, np.int64(least)), max(high, np.int64(most))
        total += part
    return low, high, total, squares  # type: ignore[return-value]  # int to Python


@inner
def _add(frame: NDArray[Any], total: NDArray[Any]) -> None:
    for i in range(total.size):
        total[i] += total.dtype.type(frame[i])


@compiled
def add_and_measure(frame: NDArray[Any], total: NDArray[Any]) -> tuple[Any, Any, Any, Any]:
    """Add a flat frame of integers below 2**16 to a running sum, in place, and return the frame's minimum,
    maximum, sum and sum of squares.
    """
    low: Any = np.int64(frame[0])
    high: Any = low
    whole, squares = np.int64(0), np.int64(0)
    for start in range(0, frame.size, PIECE):
        pixels = frame[start : start + PIECE]
        _add(pixels, total[start : start + PIECE])
        least, most, part, square = moments(pixels)
        low, high = min(low, least), max(high, most)
        whole += part
        squares += square
    return low, high, whole, squares


@compiled
def shifted_sums(values: NDArray[Any], shift: float) -> tuple[float, float]:
    """Return the sum, and the sum of squares, of values minus a shift, in float64 and in a fixed order."""
    sums, squares = np.zeros(LANES), np.zeros(LANES)
    for start in range(0, values.size, LANES):
        part = values[start : start + LANES]
        for j in range(part.size):
            d = np.float64(part[j]) - shift
            sums[j] += d
            squares[j] += d * d
    return total(sums), total(squares)


def block_sums(
    image: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums of an image over the blocks of a grid, and the numbers of their pixels, (by, bx).

    Parameters
    ----------
    image
        (ny, nx); sums of integers are exact below 2**53.
    mask
        (ny, nx) bool, True = left out; None = all pixels count.
    rows, columns
        The by + 1 and bx + 1 edges of the blocks.
    """
    sums, pixels = np.zeros((2, rows.size - 1, columns.size - 1))
    _add_blocks(image, np.zeros((0, 0), bool) if mask is None else mask, rows, columns, sums, pixels)
    return sums, pixels


@compiled
def _add_blocks(
    image: NDArray[Any],
    mask: NDArray[np.bool_],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    sums: NDArray[np.float64],
    pixels: NDArray[np.float64],
) -> None:
    """Add unmasked pixels to the sums of their blocks, and their number to pixels; an empty mask is none."""
    for i in range(sums.shape[0]):
        for y in range(rows[i], rows[i + 1]):
            for j in range(sums.shape[1]):
                summed, good = 0.0, 0
                for x in range(columns[j], columns[j + 1]):
                    if mask.size == 0 or not mask[y, x]:
                        summed += np.float64(image[y, x])
                        good += 1
                sums[i, j] += summed
                pixels[i, j] += good

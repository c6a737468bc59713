"""Reduce a sum to a sketch, the signs of differences between adjacent pixels, to compare patterns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled
from mrcz_dask.numerics.philox import Purpose, uniform16

SPOTS = 1 << 17
WORD = 64


def sketch_sizes(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the number of bits in the sketch of an image (y, x): for spots, and for columns and rows."""
    by, bx = _blocks(shape)
    return min(SPOTS, by * bx), 2 * (by + bx) if by * bx else 0


def sketch(values: NDArray[Any], mask: NDArray[np.bool_], key: int) -> bytes:
    """Return a sum's sketch: signs of differences between adjacent pixels, from which breaks are found.

    Parameters
    ----------
    values
        (ny, nx) integers, the sum over frames in any unit.
    mask
        (ny, nx) bool, True = outlier; a block that holds one has no difference.
    key
        Key of the stack, 64 bits: where a difference is 0, a draw of its own decides (Philox4x32-10).

    Returns
    -------
    bytes
        The bits of up to 131072 spots, evenly spread: the sign of the diagonal difference in a block of 2 x 2
        pixels, which neither columns nor rows reach. Then those of columns and rows: the signs of the
        differences between two adjacent ones, over the upper and lower, left and right half. Each of the
        two is filled up with 0 to a multiple of 64 bits.

    Notes
    -----
    Signs of random projections, as in Charikar (STOC 2002, doi:10.1145/509907.509965): two bits agree with
    probability 1 - arccos(rho) / pi, whatever the doses. Integers throughout: the same on any machine. Blocks
    begin at odd pixels, so that in super-resolution they straddle physical ones.
    """
    by, bx = _blocks(values.shape)
    spots, lines = sketch_sizes((values.shape[0], values.shape[1]))
    if not spots:
        return b""
    diagonal = np.zeros(spots, np.int64)
    columns, rows = np.zeros((2, bx), np.int64), np.zeros((2, by), np.int64)
    _diagonals(values, mask, bx, by * bx, diagonal)
    _across(values, mask, columns, rows)
    drawn = uniform16(-(-(spots + lines) // 16), key, Purpose.SKETCH, 0)
    coins = ((drawn[:, None] >> np.arange(16, dtype=np.uint16)) & 1).astype(bool).ravel()
    along = np.concatenate([columns.ravel(), rows.ravel()])
    return _packed(diagonal, coins[:spots]) + _packed(along, coins[spots : spots + lines])


def sketch_words(sketch: bytes, shape: tuple[int, int]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Split a sketch into 64-bit words: those of small spots, and those of columns and rows."""
    words = np.frombuffer(sketch, np.uint64)
    first = -(-sketch_sizes(shape)[0] // WORD)
    return words[:first], words[first:]


def _blocks(shape: tuple[int, ...]) -> tuple[int, int]:
    return max(0, (shape[0] - 1) // 2), max(0, (shape[1] - 1) // 2)


def _packed(differences: NDArray[np.int64], coins: NDArray[np.bool_]) -> bytes:
    signs = np.where(differences == 0, coins, differences > 0)
    return np.packbits(np.pad(signs, (0, -signs.size % WORD))).tobytes()


@compiled
def _diagonals(
    values: NDArray[Any], mask: NDArray[np.bool_], across: int, blocks: int, differences: NDArray[np.int64]
) -> None:
    for k in range(differences.size):
        block = k * blocks // differences.size
        y, x = 1 + 2 * (block // across), 1 + 2 * (block % across)
        if not (mask[y, x] or mask[y, x + 1] or mask[y + 1, x] or mask[y + 1, x + 1]):
            differences[k] = np.int64(values[y, x]) + np.int64(values[y + 1, x + 1])
            differences[k] -= np.int64(values[y, x + 1]) + np.int64(values[y + 1, x])


@compiled
def _across(
    values: NDArray[Any], mask: NDArray[np.bool_], columns: NDArray[np.int64], rows: NDArray[np.int64]
) -> None:
    by, bx = rows.shape[1], columns.shape[1]
    for i in range(by):
        upper, lower = values[1 + 2 * i], values[2 + 2 * i]
        over, under = mask[1 + 2 * i], mask[2 + 2 * i]
        into = columns[2 * i // by]
        for side in range(2):
            total = np.int64(0)
            for j in range((bx + 1) // 2 * side, bx if side else (bx + 1) // 2):
                x = 1 + 2 * j
                good = np.int64(not (over[x] | over[x + 1] | under[x] | under[x + 1]))
                a, b = np.int64(upper[x]), np.int64(upper[x + 1])
                c, d = np.int64(lower[x]), np.int64(lower[x + 1])
                into[j] += good * (a - b + c - d)
                total += good * (a + b - c - d)
            rows[side, i] = total

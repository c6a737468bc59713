"""Find rows and columns, or parts of them, that read too much or too little, from means along lines."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.numerics.kernels import compiled, inner, native

PIECE = 64  # pixels of a line in one mean
SHORTEST = 2  # pieces of a part
NEAR, FAR = 3, 8  # lines on each side, from and to, with which one is compared
SIGMAS, WHOLE_SIGMAS = 5.7, 5.0  # from which on a part of a line, and a whole one, is bad
SMALLEST = 0.03  # relative to the lines on both sides
WIDEST, SUSPECT = 3, 0.6  # lines side by side that differ by this share of the limit; more are no defect
MOST = 0.02  # of all lines
MAD = 1.4826
NEAREST, FARTHEST = (
    2,
    6,
)  # sigma from the center that a pixel counts at most: where lines are found; their excess
END_NATS = 6.0  # evidence that a line ends before the edge of the image


class BadLine(NamedTuple):
    """A row or column, or a part of one, that reads too much or too little.

    Attributes
    ----------
    axis
        0 = a column, along y; 1 = a row, along x.
    place
        Index of the line.
    start, stop
        First pixel, and the one after the last, along the line.
    excess
        How much it reads too much, relative to the lines on both sides.
    """

    axis: int
    place: int
    start: int
    stop: int
    excess: float

    @property
    def pixels(self) -> tuple[slice, slice]:
        """The pixels of the line, as an index of an image (y, x)."""
        along, across = slice(self.start, self.stop), slice(self.place, self.place + 1)
        return (along, across) if self.axis == 0 else (across, along)


def bad_lines(values: NDArray[Any], middle: float, sigma: float) -> tuple[BadLine, ...]:
    """Find the bad rows and columns of a sum.

    Parameters
    ----------
    values
        (y, x) counts.
    middle, sigma
        Center and width of the good pixels, counts. Pixels far from the center count as nearer ones, so that
        a few broken ones make no line.
    """
    found: list[BadLine] = []
    ny, nx = values.shape
    if min(ny, nx) < 2 * SHORTEST * PIECE:
        return ()
    columns, rows = np.zeros((ny // PIECE, nx), np.int64), np.zeros((ny, nx // PIECE), np.int64)
    low, high = middle - NEAREST * sigma, middle + NEAREST * sigma
    _add_pieces(native(values), math.floor(low), math.ceil(high), columns, rows)
    low, high = middle - FARTHEST * sigma, middle + FARTHEST * sigma
    for axis, pieces in enumerate((columns, rows.T)):
        for place, excess in _bad_places(pieces / PIECE):
            start, stop, mean = _ends(values, axis, place, excess, low, high)
            found.append(BadLine(axis, place, start, stop, mean))
    return tuple(found)


def _bad_places(pieces: Floats) -> list[tuple[int, float]]:
    """Return the lines with a bad part, and how much it reads too much, relative.

    Parameters
    ----------
    pieces
        (pieces, lines) means along lines.
    """
    number, lines = pieces.shape
    score, excess = np.zeros(lines), np.zeros(lines)
    length = min(SHORTEST, number)
    while True:
        starts = [*range(0, number - length + 1, max(1, length // 2))]
        parts = np.array([pieces[start : start + length].mean(axis=0) for start in starts])
        left, right = _beside(parts)
        both = np.where(np.abs(left) < np.abs(right), left, right)
        both[left * right <= 0] = 0
        spread = MAD * np.median(np.abs(left - np.median(left)))
        limit = max(SMALLEST, (SIGMAS if length < number else WHOLE_SIGMAS) * spread)
        part, places = np.argmax(np.abs(both), axis=0), np.arange(lines)
        largest = both[part, places]
        better = np.abs(largest) > limit * score
        score[better], excess[better] = np.abs(largest[better]) / limit, largest[better]
        if length == number:
            break
        length = min(2 * length, number)
    bad = score > 1
    # a wide bright or dark stripe is the specimen's
    edges = np.flatnonzero(np.diff(np.concatenate([[False], score > SUSPECT, [False]]).astype(int)))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        bad[start:stop] &= stop - start <= WIDEST
    if np.count_nonzero(bad) > MOST * lines:
        return []
    return [(int(k), float(excess[k])) for k in np.flatnonzero(bad)]


def _beside(parts: Floats) -> tuple[Floats, Floats]:
    """Return how much lines differ from the mean of those on their left, and on their right, relative."""
    lines = parts.shape[1]
    padded = np.pad(parts, ((0, 0), (FAR, FAR)), mode="reflect")
    sums = np.cumsum(np.pad(padded, ((0, 0), (1, 0))), axis=1)
    width = FAR - NEAR + 1
    left = (sums[:, width : width + lines] - sums[:, :lines]) / width
    first = FAR + NEAR
    right = (sums[:, first + width : first + width + lines] - sums[:, first : first + lines]) / width
    return (
        np.divide(parts - left, left, out=np.zeros_like(left), where=left > 0),
        np.divide(parts - right, right, out=np.zeros_like(left), where=right > 0),
    )


def _ends(
    values: NDArray[Any], axis: int, place: int, excess: float, low: float, high: float
) -> tuple[int, int, float]:
    """Return where the bad part of a line begins and stops, and how much it reads too much, relative."""
    across = values.shape[1 - axis]
    reach = [k for d in range(NEAR, FAR + 1) for k in (place - d, place + d) if 0 <= k < across]
    near = np.clip(np.take(values, reach, axis=1 - axis), low, high).mean(axis=1 - axis, dtype=np.float64)
    line = np.clip(np.take(values, place, axis=1 - axis), low, high).astype(np.float64)
    level = near.mean()
    apart = (line - near) / level
    # the likelihood of a part is largest where the sum of what is above half the excess is
    above = np.concatenate([[0.0], np.cumsum(math.copysign(1, excess) * (apart - excess / 2))])
    lowest = np.minimum.accumulate(above)
    stop = int(np.argmax(above - lowest))
    start = int(np.argmin(above[: stop + 1]))
    nats = abs(excess) / float(np.var(apart))
    if (above[0] - above[start]) * nats < END_NATS:
        start = 0
    if (above[stop] - above[-1]) * nats < END_NATS:
        stop = line.size
    return start, stop, float(apart[start:stop].mean())


@compiled
def _add_pieces(
    values: NDArray[Any], low: int, high: int, columns: NDArray[np.int64], rows: NDArray[np.int64]
) -> None:
    """Add clipped pixels to the pieces of columns and of rows to which they belong; the rest is left out."""
    line = np.empty(values.shape[1], np.int64)
    for y in range(values.shape[0]):
        row = values[y]
        for x in range(line.size):
            value: Any = np.int64(row[x])
            line[x] = min(max(value, low), high)
        for piece in range(rows.shape[1]):
            total = np.int64(0)
            for value in line[piece * PIECE : (piece + 1) * PIECE]:
                total += value
            rows[y, piece] = total
        if y // PIECE < columns.shape[0]:
            _add_to(line, columns[y // PIECE])


@inner
def _add_to(line: NDArray[np.int64], total: NDArray[np.int64]) -> None:
    for x in range(line.size):
        total[x] += line[x]

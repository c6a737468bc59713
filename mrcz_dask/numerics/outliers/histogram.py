"""Counting the values of a sum: one exact table, and the median, widths and bins taken from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import native
from mrcz_dask.numerics.outliers.tables import count_values, look_up

BLOCK = 1 << 18
TABLE_BITS = 17
FINENESS = 256  # entries of a table per robust standard deviation, at least
MARGIN = 24  # robust standard deviations that a narrowed table keeps beyond the histogram
MOST_BINS = 8192
BINS_PER_SIGMA = 16

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ValueTable:
    """How many pixels have each value of an integer image.

    Entry e holds the pixels with (value >> shift) == first + e; the first and the last entry also hold all
    that lie below and above.

    Attributes
    ----------
    first
        Value of entry 0, in units of 2**shift.
    shift
        Values are grouped by 2**shift; 0 = one entry a value.
    counts
        Pixels of each entry.
    least, most
        Smallest and largest value of the image.
    """

    first: int
    shift: int
    counts: Counts
    least: int
    most: int

    @property
    def width(self) -> int:
        """Values in an entry."""
        return 1 << self.shift

    @property
    def total(self) -> int:
        """Number of pixels."""
        return int(self.counts.sum())

    @property
    def occupied(self) -> int:
        """Number of entries with pixels."""
        return int(np.count_nonzero(self.counts))

    def centres(self) -> Floats:
        """Return the middle of each entry, in units of a value."""
        entries = self.first + np.arange(self.counts.size, dtype=np.float64)
        return entries * self.width + (self.width - 1) / 2

    def lower_edge(self, entry: int) -> float:
        """Return where an entry begins: integers occupy half a unit to either side."""
        return float((self.first + entry) * self.width) - 0.5

    def quantile(self, share: float) -> float:
        """Return the value below which `share` of the pixels lie, interpolated inside its entry."""
        cumulative = np.cumsum(self.counts)
        rank = share * float(cumulative[-1])
        entry = int(np.searchsorted(cumulative, rank))
        here = int(self.counts[entry])
        inside = (rank - float(cumulative[entry] - here)) / max(here, 1)
        return self.lower_edge(entry) + inside * self.width

    def robust(self) -> tuple[float, float]:
        """Return the median and half the width of the middle 68.27 %."""
        return self.quantile(0.5), (self.quantile(0.841345) - self.quantile(0.158655)) / 2

    def below(self, value: float) -> int:
        """Return the number of pixels in entries whose middle is below `value`."""
        return int(self.counts[self.centres() < value].sum())


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Bins over the middle of a table; what lies outside is counted too.

    Attributes
    ----------
    edges
        Upper edge of each bin, in units of a value.
    counts
        Pixels of each bin.
    below, above
        Pixels under the first and over the last bin.
    """

    edges: Floats
    counts: Counts
    below: int
    above: int

    @property
    def total(self) -> int:
        """All finite pixels."""
        return int(self.counts.sum()) + self.below + self.above

    def cumulative(self) -> Counts:
        """Return the pixels up to each upper edge, those below the first bin included."""
        return self.below + np.cumsum(self.counts)


def tabulate(values: NDArray[Any], nonfinite: NDArray[np.bool_] | None, reach: float) -> ValueTable | None:
    """Count the values of an image of integers.

    The table covers everything if that takes few entries; else it is narrowed until an entry is small against
    the robust width.

    Parameters
    ----------
    values
        (y, x) integers.
    nonfinite
        (y, x) bool, True = not counted; None = count all.
    reach
        Half width of the histogram to come, in robust standard deviations, at most 64.

    Returns
    -------
    ValueTable or None
        None if there is no pixel to count.
    """
    blocks = _Blocks(values, nonfinite)
    least, most = blocks.extremes()
    if most < least:
        return None
    low, high = least, most
    while True:
        shift = max(0, (high - low).bit_length() - TABLE_BITS)
        table = ValueTable(low >> shift, shift, blocks.count(low >> shift, high >> shift, shift), least, most)
        middle, half = table.robust()
        if shift == 0 or table.width * FINENESS <= half:
            return table
        keep = (reach + MARGIN) * (half + table.width)
        low, high = max(least, int(middle - keep)), min(most, int(middle + keep))


def take(table: NDArray[Any], of: ValueTable, values: NDArray[Any]) -> NDArray[Any]:
    """Return an image with, for each pixel, what `table` says of its entry.

    Parameters
    ----------
    table
        One item for each entry of `of`.
    of
        How values belong to entries.
    values
        (y, x) integers.
    """
    out = np.empty(values.shape, table.dtype)
    look_up(_flat(values), of.first, of.shift, table, out.reshape(-1))
    return out


def bins(table: ValueTable, middle: float, half: float, reach: float, whole: bool) -> Histogram:
    """Return the histogram over middle +- reach.

    Parameters
    ----------
    table
        Of the image.
    middle, half
        Median and robust width, in units of a value.
    reach
        Half width of the histogram in units of `half`.
    whole
        True: bins of one value (counts), wider if that takes too many; False: of half/16.
    """
    first = max(0, int(np.floor((middle - reach * half) / table.width)) - table.first)
    last = min(table.counts.size - 1, int(np.ceil((middle + reach * half) / table.width)) - table.first)
    group = _grouping(table, half, last - first + 1, whole)
    starts = np.arange(first, last + 1, group)
    inner = np.add.reduceat(table.counts[: last + 1], starts)
    upper = np.minimum(starts + group, last + 1)
    edges = (table.first + upper) * float(table.width) - 0.5
    return Histogram(edges, inner, int(table.counts[:first].sum()), int(table.counts[last + 1 :].sum()))


def _grouping(table: ValueTable, half: float, entries: int, whole: bool) -> int:
    if whole:
        return -(-entries // MOST_BINS)
    return max(1, round(half / BINS_PER_SIGMA / table.width))


class _Blocks:
    """An image in pieces that fit a processor's cache; sums of integers, so the pieces do not matter."""

    def __init__(self, values: NDArray[Any], nonfinite: NDArray[np.bool_] | None) -> None:
        self._values = _flat(values)
        self._bad = None if nonfinite is None else nonfinite.reshape(-1)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for start in range(0, self._values.size, BLOCK):
            piece = slice(start, start + BLOCK)
            block = self._values[piece]
            yield block if self._bad is None else block[~self._bad[piece]]

    def extremes(self) -> tuple[int, int]:
        seen = [(int(b.min()), int(b.max())) for b in self if b.size]
        return min((s[0] for s in seen), default=0), max((s[1] for s in seen), default=-1)

    def count(self, first: int, last: int, shift: int) -> Counts:
        counts = np.zeros(last - first + 1, np.int64)
        for block in self:
            count_values(block, first, shift, counts)
        return counts


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    """Return the items one behind the other, in native byte order."""
    return np.ascontiguousarray(native(values)).reshape(-1)

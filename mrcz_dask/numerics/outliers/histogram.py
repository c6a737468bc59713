"""Count the pixels of a sum by value, exactly, for the histogram in which outliers are found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.numerics.kernels import compiled, flat, inner

BLOCK = 1 << 18  # pixels that fit a processor's cache
TABLE_BITS = 17
FINENESS = 256  # entries of a table per robust standard deviation, at least
MARGIN = 24  # robust standard deviations that a narrowed table keeps beyond the histogram
MOST_BINS = 8192
BINS_PER_SIGMA = 16
SIDE_BY_SIDE = 4
SMALL = 1 << 12
FEWEST_VALUES = 8  # different ones, of which a common step is no chance

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ValueTable:
    """Table of how many pixels of an integer image have each value, or lie in each small range of values.

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
        """Number of values that one entry of the table covers."""
        return 1 << self.shift

    @property
    def total(self) -> int:
        """Number of pixels counted in the table."""
        return int(self.counts.sum())

    def centers(self) -> Floats:
        """Return the middle value of each entry of the table."""
        entries = self.first + np.arange(self.counts.size, dtype=np.float64)
        return entries * self.width + (self.width - 1) / 2

    def quantile(self, share: float, step: int = 1) -> float:
        """Return the value below which a share (0..1) of the pixels lies, interpolated between multiples of
        `step`.
        """
        cumulative = np.cumsum(self.counts)
        rank = share * float(cumulative[-1])
        entry = int(np.searchsorted(cumulative, rank))
        pixels = int(self.counts[entry])
        inside = (rank - float(cumulative[entry] - pixels)) / max(pixels, 1)
        # integers occupy half a unit to either side
        return float((self.first + entry) * self.width) - 0.5 * step + inside * self.width * step

    def robust(self, step: int = 1) -> tuple[float, float]:
        """Return median and robust standard deviation of the pixels: half the middle 68.27 %'s width."""
        low, middle, high = (self.quantile(share, step) for share in (0.158655, 0.5, 0.841345))
        return middle, (high - low) / 2

    def look_up(self, of_entry: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        """Map an integer image (y, x) through the table: each pixel gets the item of `of_entry` (a weight,
        say) for its value.
        """
        image = np.empty(values.shape, of_entry.dtype)
        look_up(flat(values), self.first, self.shift, of_entry, image.reshape(-1))
        return image

    def step(self) -> int:
        """Return the largest number of which all values are multiples: 1 for counts that are not scaled."""
        values = self.first + 1 + np.flatnonzero(self.counts[1:-1])  # the ends hold all that is beyond
        if self.shift or values.size < FEWEST_VALUES:
            return 1
        return max(1, int(np.gcd.reduce(values)))

    def histogram(self, middle: float, half: float, reach: float, whole: bool, step: int = 1) -> Histogram:
        """Bin the table into a histogram over middle +- reach, on which the normal distribution is fitted.

        Parameters
        ----------
        middle, half
            Median and robust width, in units of a value.
        reach
            Half width of the histogram in units of `half`.
        whole
            True: bins of one value (counts), wider if that takes too many; False: of half/16.
        step
            All values are multiples of it; bins of one value are around one multiple each.
        """
        first = max(0, math.floor((middle - reach * half) / self.width) - self.first)
        last = min(self.counts.size - 1, math.ceil((middle + reach * half) / self.width) - self.first)
        entries = max(1, round(half / BINS_PER_SIGMA / self.width))
        if whole:
            entries = step * -(-(last - first + 1) // (step * MOST_BINS))
            first -= (self.first + first + step // 2) % step
        starts, first = np.arange(first, last + 1, entries), max(0, first)
        upper = np.minimum(starts + entries, last + 1)
        return Histogram(
            edges=(self.first + upper) * float(self.width) - 0.5,
            counts=np.add.reduceat(self.counts[: last + 1], np.maximum(starts, 0)),
            below=int(self.counts[:first].sum()),
            above=int(self.counts[last + 1 :].sum()),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Histogram of the values of a sum around their median, and the numbers of pixels below and above it.

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
        """Number of all finite pixels, those outside the bins included."""
        return int(self.counts.sum()) + self.below + self.above

    def cumulative(self) -> Counts:
        """Return the number of pixels at or below the upper edge of each bin."""
        return self.below + np.cumsum(self.counts)


def tabulate(values: NDArray[Any], nonfinite: NDArray[np.bool_] | None, reach: float) -> ValueTable | None:
    """Count the pixels of an integer image by value; the table's first and last entries collect the rest.

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
    pixels, bad = flat(values), None if nonfinite is None else nonfinite.reshape(-1)

    def blocks() -> Iterator[NDArray[Any]]:
        """Yield pieces without pixels that are not finite."""
        for start in range(0, pixels.size, BLOCK):
            block = pixels[start : start + BLOCK]
            yield block if bad is None else block[~bad[start : start + BLOCK]]

    extremes = [(int(block.min()), int(block.max())) for block in blocks() if block.size]
    if not extremes:
        return None
    least, most = min(low for low, _ in extremes), max(high for _, high in extremes)
    low, high = least, most
    while True:
        shift = max(0, (high - low).bit_length() - TABLE_BITS)
        first = low >> shift
        counts = np.zeros((high >> shift) - first + 1, np.int64)
        for block in blocks():
            count_values(block, first, shift, counts)
        table = ValueTable(first, shift, counts, least, most)
        middle, half = table.robust()
        if shift == 0 or table.width * FINENESS <= half:
            return table
        keep = (reach + MARGIN) * (half + table.width)
        low, high = max(least, int(middle - keep)), min(most, int(middle + keep))


@inner
def _entry(value: Any, first: int, shift: int, last: int) -> Any:
    return min(max((np.int64(value) >> shift) - first, 0), last)


@compiled
def count_values(values: NDArray[Any], first: int, shift: int, counts: Counts) -> None:
    """Add a flat image's pixels to counts, by (value >> shift) - first; the ends collect what lies beyond."""
    if counts.size > SMALL:
        for i in range(values.size):
            counts[_entry(values[i], first, shift, counts.size - 1)] += 1
        return
    # neighbors often have the same value, and adding twice to one entry waits for the first
    tables = np.zeros((SIDE_BY_SIDE, counts.size), np.int64)
    whole = values.size - values.size % SIDE_BY_SIDE
    for i in range(0, whole, SIDE_BY_SIDE):
        for j in range(SIDE_BY_SIDE):
            tables[j, _entry(values[i + j], first, shift, counts.size - 1)] += 1
    for i in range(whole, values.size):
        tables[0, _entry(values[i], first, shift, counts.size - 1)] += 1
    for j in range(SIDE_BY_SIDE):
        for k in range(counts.size):
            counts[k] += tables[j, k]


@compiled
def look_up(values: NDArray[Any], first: int, shift: int, table: NDArray[Any], out: NDArray[Any]) -> None:
    """Write, for each value of a flat image, the table's item for that value into `out`."""
    last = table.size - 1
    for i in range(out.size):
        out[i] = table[_entry(values[i], first, shift, last)]

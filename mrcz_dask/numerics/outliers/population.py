"""The outliers of a session followed from stack to stack: births, deaths, lifetimes, places (Fig. 7a).

Masks are gone through once, packed in bits, and no more than the last few are held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LAGS = (1, 2, 3, 4, 6, 8, 12, 16)
CELLS = 64
CORNER = 8
STANDS_OUT = 8.0
SMALLEST_SHARE = 0.02

Packed = NDArray[np.uint8]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Turnover:
    """What became of the outliers of one stack since the last one before it that has a mask.

    Attributes
    ----------
    hot_births, hot_deaths, dead_births, dead_deaths
        Pixels that are outliers now and were not, and the other way round; None in the first stack.
    """

    hot_births: int | None = None
    hot_deaths: int | None = None
    dead_births: int | None = None
    dead_deaths: int | None = None


@dataclass(frozen=True, slots=True)
class Survival:
    """Of the pixels that are hot in a stack: the share that is hot so many stacks later.

    Attributes
    ----------
    lag
        Stacks between the two.
    share
        Less what chance gives.
    pixels
        Hot in both, over all pairs of stacks: what the share rests on.
    """

    lag: int
    share: float
    pixels: int


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Survival as seen * exp(-lag / stacks).

    Attributes
    ----------
    stacks
        Mean lifetime; infinite where no loss is seen.
    seen
        Share of the hot pixels of a stack that is found again in another taken at once: the rest is near
        the threshold, and comes and goes with counting noise.
    """

    stacks: float
    seen: float


@dataclass(frozen=True, slots=True)
class Line:
    """A row, a column or a corner with more outliers than others.

    Attributes
    ----------
    what
        ``column``, ``row`` or ``corner``.
    place
        Index of the line; 0 to 3 for the corners, row by row.
    pixels
        Outliers in it, mean over stacks.
    usual
        In a typical one.
    """

    what: str
    place: int
    pixels: float
    usual: float


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where outliers are: means over stacks.

    Attributes
    ----------
    cells
        (y, x) float64, outliers in each cell of a grid of at most 64 x 64.
    columns, rows
        float64, in each column and row.
    corners
        (4,) float64, in squares of an eighth of the sides, row by row, and `elsewhere` in such a square.
    """

    cells: NDArray[np.float64]
    columns: NDArray[np.float64]
    rows: NDArray[np.float64]
    corners: NDArray[np.float64]
    elsewhere: float

    def standing_out(self) -> tuple[Line, ...]:
        """Return columns, rows and corners with far more outliers than others."""
        found = [
            Line(what, int(k), float(profile[k]), float(np.median(profile)))
            for what, profile in (("column", self.columns), ("row", self.rows))
            for k in np.flatnonzero(profile > _limit(profile))
        ]
        usual = self.elsewhere
        limit = 2 * usual + STANDS_OUT * math.sqrt(max(usual, 1))
        return (
            *found,
            *(Line("corner", k, float(v), usual) for k, v in enumerate(self.corners) if v > limit),
        )


def _limit(profile: NDArray[np.float64]) -> float:
    """Return what no line of evenly spread outliers exceeds: counting, or the lines' own spread."""
    usual = float(np.median(profile))
    spread = 1.4826 * float(np.median(np.abs(profile - usual)))
    return max(2 * usual, usual + STANDS_OUT * max(spread, math.sqrt(usual), 1.0))


class Census:
    """Follows the outliers of stacks of one shape, taken in in order of time.

    Parameters
    ----------
    shape
        (ny, nx) of the frames.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.turnover: list[Turnover] = []
        self._last: Packed | None = None
        self._recent: dict[int, tuple[Packed, int]] = {}
        self._both, self._chance = np.zeros(len(LAGS), np.int64), np.zeros(len(LAGS))
        self._before = np.zeros(len(LAGS), np.int64)
        self._places = tuple(_Tally(shape) for _ in range(2))

    def add(self, packed: Packed | None) -> None:
        """Take in the outliers of the next stack.

        Parameters
        ----------
        packed
            (2, ny, bytes) uint8: hot and dead pixels, packed along x; None for a stack without a mask, which
            counts as time.
        """
        now = len(self.turnover)
        self._recent.pop(now - LAGS[-1] - 1, None)
        if packed is None:
            self.turnover.append(Turnover())
            return
        self.turnover.append(_turnover(self._last, packed))
        self._last = packed
        self._outlive(now, packed[0])
        for tally, one in zip(self._places, packed, strict=True):
            tally.add(one)

    def _outlive(self, now: int, hot: Packed) -> None:
        """Compare the hot pixels with those of so many stacks before."""
        count = _count(hot)
        for k, lag in enumerate(LAGS):
            if now - lag in self._recent:
                before, number = self._recent[now - lag]
                self._both[k] += _count(before & hot)
                self._before[k] += number
                self._chance[k] += number * count / math.prod(self.shape)
        self._recent[now] = hot, count

    def survival(self) -> tuple[Survival, ...]:
        """Return how many hot pixels outlive how many stacks."""
        return tuple(
            Survival(lag, float((both - chance) / (before - chance)), int(both))
            for lag, both, before, chance in zip(LAGS, self._both, self._before, self._chance, strict=True)
            if before > chance
        )

    def places(self, kind: int) -> Places | None:
        """Return where hot (0) or dead (1) pixels are; None before the first mask."""
        return self._places[kind].places()


class _Tally:
    """Counts outliers over the chip."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape, self._stacks = shape, 0
        self._cell = tuple(-(-n // CELLS) for n in shape)
        self._size = tuple(-(-n // c) for n, c in zip(shape, self._cell, strict=True))
        self._cells = np.zeros(math.prod(self._size), np.int64)
        self._rows, self._columns = (np.zeros(n, np.int64) for n in shape)
        self._corners = np.zeros(4, np.int64)

    def add(self, packed: Packed) -> None:
        y, x = positions(packed)
        self._stacks += 1
        cell = y // self._cell[0] * self._size[1] + x // self._cell[1]
        self._cells += np.bincount(cell, minlength=self._cells.size)
        self._rows += np.bincount(y, minlength=self._rows.size)
        self._columns += np.bincount(x, minlength=self._columns.size)
        (low_y, high_y), (low_x, high_x) = (_ends(v, n) for v, n in zip((y, x), self._shape, strict=True))
        inside = (low_y | high_y) & (low_x | high_x)
        self._corners += np.bincount(2 * high_y[inside] + high_x[inside], minlength=4)

    def places(self) -> Places | None:
        if not self._stacks:
            return None
        total = int(self._cells.sum())
        squares = CORNER**2 - 4
        elsewhere = (total - int(self._corners.sum())) / squares / self._stacks
        cells, columns, rows, corners = (
            v / self._stacks for v in (self._cells, self._columns, self._rows, self._corners)
        )
        return Places(cells.reshape(self._size), columns, rows, corners, elsewhere)


def _ends(at: NDArray[np.intp], n: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which are in the first, and which in the last eighth of n."""
    return at * CORNER < n, at * CORNER >= n * (CORNER - 1)


def positions(packed: Packed) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the bits that are set; most bytes are empty."""
    flat = np.flatnonzero(packed.reshape(-1))
    which, bit = np.nonzero(np.unpackbits(packed.reshape(-1)[flat][:, None], axis=1))
    row, byte = np.divmod(flat[which], packed.shape[1])
    return row, byte * 8 + bit


def lifetime(survival: Sequence[Survival]) -> Lifetime | None:
    """Fit how survival falls with time; None where fewer than two lags say something."""
    known = [s for s in survival if s.share > SMALLEST_SHARE and s.pixels > 0]
    if len(known) < 2:
        return None
    lag, log, weight = (
        np.array(v, np.float64)
        for v in ([s.lag for s in known], [math.log(s.share) for s in known], [s.pixels for s in known])
    )
    middle, level = np.average(lag, weights=weight), np.average(log, weights=weight)
    slope = float((weight * (lag - middle) * (log - level)).sum() / (weight * (lag - middle) ** 2).sum())
    seen = math.exp(level - slope * middle)
    return Lifetime(-1 / slope if slope < 0 else math.inf, min(1.0, seen))


def _turnover(before: Packed | None, now: Packed) -> Turnover:
    if before is None:
        return Turnover()
    changed = before ^ now
    hot, dead = (changed[k] for k in range(2))
    return Turnover(
        _count(hot & now[0]), _count(hot & before[0]), _count(dead & now[1]), _count(dead & before[1])
    )


def _count(packed: Packed) -> int:
    return int(np.bitwise_count(packed).sum(dtype=np.int64))

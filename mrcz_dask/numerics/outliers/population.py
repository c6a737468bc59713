"""Follow a session's outliers from stack to stack: births, deaths, lifetimes, places on the chip (Fig. 7a).

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


@dataclass(frozen=True, slots=True)
class Turnover:
    """Numbers of pixels that became outliers, or ceased to be, between a stack and the last one before it
    that has a mask.

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
    """The share of hot pixels that are still hot a given number of stacks later, less what chance gives.

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
    """The mean lifetime of hot pixels, in stacks, fitted as survival = seen * exp(-lag / stacks).

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
    """A row, column or corner of the chip with many more outliers than is usual.

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
class OutlierPlaces:
    """Numbers of outliers by grid cell, row, column and corner of the chip, means over stacks.

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
        """Return the columns, rows and corners that have far more outliers than the others."""
        lines = []
        for kind, profile in (("column", self.columns), ("row", self.rows)):
            usual = float(np.median(profile))
            spread = 1.4826 * float(np.median(np.abs(profile - usual)))
            # evenly spread outliers scatter by counting, or as the lines do
            limit = max(2 * usual, usual + STANDS_OUT * max(spread, math.sqrt(usual), 1.0))
            lines += [Line(kind, int(k), float(profile[k]), usual) for k in np.flatnonzero(profile > limit)]
        limit = 2 * self.elsewhere + STANDS_OUT * math.sqrt(max(self.elsewhere, 1))
        corners = np.flatnonzero(self.corners > limit)
        lines += [Line("corner", int(k), float(self.corners[k]), self.elsewhere) for k in corners]
        return tuple(lines)


class Census:
    """Accumulates, stack by stack in order of time, a session's outliers: births, deaths, survival, places.

    Parameters
    ----------
    shape
        (ny, nx) of the frames.

    Attributes
    ----------
    turnover
        Births and deaths of each stack added so far.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.turnover: list[Turnover] = []
        self._last: Packed | None = None
        self._recent: dict[int, tuple[Packed, int]] = {}
        self._both, self._chance = np.zeros(len(LAGS), np.int64), np.zeros(len(LAGS))
        self._before = np.zeros(len(LAGS), np.int64)
        self._masks = 0
        self._cell = tuple(-(-n // CELLS) for n in shape)
        self._grid = tuple(-(-n // c) for n, c in zip(shape, self._cell, strict=True))
        # hot and dead pixels
        self._cells = np.zeros((2, math.prod(self._grid)), np.int64)
        self._rows, self._columns = (np.zeros((2, n), np.int64) for n in shape)
        self._corners = np.zeros((2, 4), np.int64)

    def add(self, packed: Packed | None) -> None:
        """Add the hot and dead pixels of the next stack to the census.

        Parameters
        ----------
        packed
            (2, ny, bytes) uint8: hot and dead pixels, packed along x; None for a stack without a mask, which
            counts as time.
        """
        now = len(self.turnover)
        self._recent.pop(now - LAGS[-1] - 1, None)
        births_and_deaths = Turnover()
        if packed is not None:
            if self._last is not None:
                changed = self._last ^ packed
                births, deaths = changed & packed, changed & self._last
                births_and_deaths = Turnover(
                    _count(births[0]), _count(deaths[0]), _count(births[1]), _count(deaths[1])
                )
            self._last = packed
            self._compare(now, packed[0])
            self._add_places(packed)
        self.turnover.append(births_and_deaths)

    def _compare(self, now: int, hot: Packed) -> None:
        """Compare the hot pixels with those of so many stacks before."""
        count = _count(hot)
        for k, lag in enumerate(LAGS):
            if now - lag in self._recent:
                before, number = self._recent[now - lag]
                self._both[k] += _count(before & hot)
                self._before[k] += number
                self._chance[k] += number * count / math.prod(self.shape)
        self._recent[now] = hot, count

    def _add_places(self, packed: Packed) -> None:
        self._masks += 1
        ny, nx = self.shape
        for k in range(2):
            y, x = positions(packed[k])
            cell = y // self._cell[0] * self._grid[1] + x // self._cell[1]
            self._cells[k] += np.bincount(cell, minlength=self._cells.shape[1])
            self._rows[k] += np.bincount(y, minlength=ny)
            self._columns[k] += np.bincount(x, minlength=nx)
            high_y, high_x = y * CORNER >= ny * (CORNER - 1), x * CORNER >= nx * (CORNER - 1)
            inside = (high_y | (y * CORNER < ny)) & (high_x | (x * CORNER < nx))
            self._corners[k] += np.bincount(2 * high_y[inside] + high_x[inside], minlength=4)

    def survival(self) -> tuple[Survival, ...]:
        """Return, for several lags in stacks, the share of hot pixels that are still hot that much later."""
        return tuple(
            Survival(lag, float((both - chance) / (before - chance)), int(both))
            for lag, both, before, chance in zip(LAGS, self._both, self._before, self._chance, strict=True)
            if before > chance
        )

    def places(self, kind: int) -> OutlierPlaces | None:
        """Return where hot (kind 0) or dead (kind 1) pixels are on the chip, mean over stacks; None before
        the first mask.
        """
        n = self._masks
        if not n:
            return None
        elsewhere = int(self._cells[kind].sum()) - int(self._corners[kind].sum())
        return OutlierPlaces(
            cells=(self._cells[kind] / n).reshape(self._grid),
            columns=self._columns[kind] / n,
            rows=self._rows[kind] / n,
            corners=self._corners[kind] / n,
            elsewhere=elsewhere / (CORNER**2 - 4) / n,
        )


def positions(packed: Packed) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and column of every outlier in a mask packed in bits."""
    flat = np.flatnonzero(packed.reshape(-1))
    which, bit = np.nonzero(np.unpackbits(packed.reshape(-1)[flat][:, None], axis=1))
    row, byte = np.divmod(flat[which], packed.shape[1])
    return row, byte * 8 + bit


def lifetime(survival: Sequence[Survival]) -> Lifetime | None:
    """Fit the mean lifetime of hot pixels to their survival; None if known for fewer than two lags."""
    known = [s for s in survival if s.share > SMALLEST_SHARE and s.pixels > 0]
    if len(known) < 2:
        return None
    lag = np.array([s.lag for s in known], np.float64)
    log = np.array([math.log(s.share) for s in known])
    weight = np.array([s.pixels for s in known], np.float64)
    middle, level = np.average(lag, weights=weight), np.average(log, weights=weight)
    slope = float((weight * (lag - middle) * (log - level)).sum() / (weight * (lag - middle) ** 2).sum())
    share = math.exp(level - slope * middle)
    return Lifetime(-1 / slope if slope < 0 else math.inf, min(1.0, share))


def _count(packed: Packed) -> int:
    return int(np.bitwise_count(packed).sum(dtype=np.int64))

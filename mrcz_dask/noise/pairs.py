"""Correlation between the sums of stacks, near and far: whom to compare, and one stack's share of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.tasks import MemberRef
from mrcz_dask.noise.results import StackPairs, known
from mrcz_dask.numerics.noise.correlation import noise_rows
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.session.store import SessionStore

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PairTask:
    """What correlating a stack's sum with others needs.

    Attributes
    ----------
    store
        Path of the session store.
    anchor
        The stack.
    others, doses
        Those that it is compared with, and the dose between, counts per pixel.
    key
        What the result depends on, as a digest.
    """

    store: str
    anchor: MemberRef
    others: tuple[MemberRef, ...]
    doses: tuple[float, ...]
    key: str

    @property
    def name(self) -> str:
        """Of the stack, relative to the session."""
        return self.anchor.name

    @property
    def stem(self) -> str:
        """Of the stack."""
        return self.anchor.stem

    @property
    def places(self) -> tuple[str, ...]:
        """What must be there."""
        return (f"{self.store}/zarr.json",)


def score_pairs(task: PairTask) -> StackPairs:
    """Return Pearson's r of a stack's sum with those of others, over the rows that noise is scored on.

    Raises
    ------
    DamagedError
        When the store cannot be read.
    """
    store = SessionStore(task.store)
    mine = _rows(store, task.anchor)
    found = [_compared(mine, _rows(store, other)) for other in task.others]
    return StackPairs(
        name=task.name,
        others=tuple(other.name for other in task.others),
        doses=task.doses,
        raw=tuple(known(raw) for raw, _ in found),
        filtered=tuple(known(filtered) for _, filtered in found),
    )


def _rows(store: SessionStore, ref: MemberRef) -> tuple[NDArray[Any], Bools]:
    values = store.load(ref.stem, "sum")
    rows = noise_rows(values.shape)
    return values[rows], is_masked(store.load(ref.stem, "weight")[rows])


def _compared(one: tuple[NDArray[Any], Bools], other: tuple[NDArray[Any], Bools]) -> tuple[float, float]:
    good = ~(one[1] | other[1])
    return _pearson(one[0].reshape(-1), other[0].reshape(-1)), _pearson(one[0][good], other[0][good])


def _pearson(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return r without BLAS, whose sums depend on the number of threads; not a number for a constant."""
    if one.size < 2:
        return float("nan")
    x, y = (v - v.mean(dtype=np.float64) for v in (one, other))
    power = float((x * x).sum()) * float((y * y).sum())
    return float((x * y).sum()) / power**0.5 if power > 0 else float("nan")


def lags(count: int) -> list[int]:
    """Return distances between stacks of a session: 1, 2, 3, 4, 6, 8, 12, 16, ..., below `count`."""
    doubled = ((1 << k, 3 << (k - 1)) if k else (1,) for k in range(count.bit_length()))
    return sorted({lag for pair in doubled for lag in pair if lag < count})


def spread_evenly(count: int, sample: int) -> list[int]:
    """Return at most `sample` of 0 .. count - 1, evenly spread."""
    taken = min(count, sample)
    return [(2 * k + 1) * count // (2 * taken) for k in range(taken)]


def pairs(count: int, anchors: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield anchors and whom each is compared with: at every lag the later stack, or else the earlier.

    Every pair comes once.
    """
    seen: set[tuple[int, int]] = set()
    for i in spread_evenly(count, anchors):
        partners = [j for lag in lags(count) if (j := i + lag if i + lag < count else i - lag) >= 0]
        new = [j for j in partners if (min(i, j), max(i, j)) not in seen]
        seen |= {(min(i, j), max(i, j)) for j in new}
        yield i, tuple(new)

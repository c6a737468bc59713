"""Finds the outliers that the sums of many stacks show together, and keeps them in the session store."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.tasks import Pool, member_ref
from mrcz_dask.numerics.outliers.blocks import BadBlock, passing_blocks
from mrcz_dask.numerics.outliers.pooled import Pooled, pooled_outliers
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.params import Settings
from mrcz_dask.values.records import StackRecord
from mrcz_dask.values.timing import phase

NOTHING: tuple[int, Pool | None] = (-1, None)


class Pools:
    """Chooses the stacks whose sums show the lasting outliers of each stack of a session.

    Stacks without a sound mask or a dose are left out, and those that hold the same pixels as an earlier one:
    they show nothing, and get nothing.

    Parameters
    ----------
    records
        Records of the stacks in order of time.
    store
        Path of the session store.
    settings
        Settings of the run.
    """

    def __init__(self, records: Sequence[StackRecord], store: str, settings: Settings) -> None:
        self._store, self._settings, self._last = store, settings, NOTHING
        first: dict[str, int] = {}
        for k, record in enumerate(records):
            if record.sound and record.has_dose:
                first.setdefault(record.digest, k)
        self._records = [records[k] for k in first.values()]
        self._places = {k: place for place, k in enumerate(first.values())}

    def _block(self, i: int) -> int | None:
        """Return the number of the block of stack `i`; None if it is in none."""
        pooled = self._settings.koma.pooled
        return self._places[i] // pooled if pooled and i in self._places else None

    def final(self, i: int) -> bool:
        """Return whether no later stack changes the outliers of stack `i`."""
        block = self._block(i)
        return block is None or (block + 2) * self._settings.koma.pooled <= len(self._records)

    def of(self, i: int) -> Pool | None:
        """Return the stacks that show the outliers of stack `i`: those of its block, and as many on each
        side; None if it is in no block, or alone.
        """
        block = self._block(i)
        if block is None or len(self._records) < 2:
            return None
        if self._last[0] != block:
            pooled = self._settings.koma.pooled
            start = block * pooled
            first = max(0, start - pooled)
            members = tuple(map(member_ref, self._records[first : start + 2 * pooled]))
            stop = min(start + pooled - first, len(members))
            shape, tail_fdr = self._records[0].shape[1:], self._settings.outliers.tail_fdr
            self._last = block, Pool(self._store, shape, members, start - first, stop, tail_fdr)
        return self._last[1]


def pool_outliers(pool: Pool) -> str:
    """Find the outliers of a block of stacks by their common evidence, keep them in the session store until
    the run is over, and return their digest. This is a Dask task.

    Raises
    ------
    DamagedSumError
        If a sum in the session store is damaged.
    """
    _outliers_of(pool)
    return pool.digest


def _outliers_of(pool: Pool) -> list[Pooled]:
    """Return the outliers of the stacks of a block, which are found where the session store has none.

    They are not read back: a task that finds the same may be replacing them.
    """
    store = SessionStore(pool.store)
    pooled = _stored(store, pool)
    if pooled is None:
        coarse = [store.load(m.stem, "coarse")[0].astype(np.float64) for m in pool.members]
        grids = np.array([(1 + image) * m.mean for image, m in zip(coarse, pool.members, strict=True)])
        with phase("fit"):
            block = slice(pool.start, pool.stop)
            pooled = pooled_outliers(_strips(store, pool), grids, pool.shape, block, pool.tail_fdr)
            pooled = list(_with_blocks(store, pool, pooled))
        kinds = [at for one in pooled for at in one]
        ends = np.cumsum([at.size for at in kinds])
        store.put(f"blocks/{pool.digest}", {"at": np.concatenate(kinds), "ends": ends}, {})
    return pooled


def _with_blocks(store: SessionStore, pool: Pool, pooled: list[Pooled]) -> Iterator[Pooled]:
    """Yield the outliers of each stack with its bad blocks that the stacks around do not have."""
    records = [store.record(m.stem) for m in pool.members]
    found = [[BadBlock(*b) for b in r.outliers.get("blocks", ())] if r is not None else [] for r in records]
    for k, one in enumerate(pooled, pool.start):
        hot, dead, others = one
        for block in passing_blocks(found[k], found[:k] + found[k + 1 :]):
            columns = np.arange(block.left, block.right)
            at = (np.arange(block.top, block.bottom)[:, None] * pool.shape[1] + columns).reshape(-1)
            if block.excess > 0:
                hot, dead = np.union1d(hot, at), np.setdiff1d(dead, at)
            else:
                hot, dead = np.setdiff1d(hot, at), np.union1d(dead, at)
            others = np.union1d(others, at)
        yield Pooled(hot, dead, others)


def _stored(store: SessionStore, pool: Pool) -> list[Pooled] | None:
    """Return the outliers of a block from the session store; None if they are not there, or damaged."""
    group = f"blocks/{pool.digest}"
    with suppress(DamagedError, FileNotFoundError):  # another task may be replacing them
        if store.attributes(group):
            at, ends = store.arrays(group, "at", "ends")
            kinds = np.split(at, ends[:-1])
            return [Pooled(*kinds[k : k + 3]) for k in range(0, len(kinds), 3)]
    return None


def _strips(store: SessionStore, pool: Pool) -> Iterator[NDArray[Any]]:
    """Yield the sums of all members in strips of rows, (t, rows, nx) counts."""
    readers = [store.strips(m.stem, "sum") for m in pool.members]
    units = [np.float32(2.0**-m.exponent) for m in pool.members]
    for first in readers[0]:
        rest = (next(reader) for reader in readers[1:])
        whole = first.itemsize <= 2 and not any(m.exponent for m in pool.members)
        strip = np.empty((len(readers), *first.shape), np.int16 if whole else np.float32)
        for out, values, unit in zip(strip, chain([first], rest), units, strict=True):
            np.multiply(values, unit, out=out, casting="unsafe")
        yield strip
    for reader in readers[1:]:
        deque(reader, 0)  # compares the hash


def pooled_of(pool: Pool | None, name: str) -> Pooled | None:
    """Return the outliers of the stack `name` that the stacks around it show; they are found first where they
    are not in the session store. None if they show those of no such stack.
    """
    names = [m.name for m in pool.members[pool.start : pool.stop]] if pool is not None else []
    if pool is None or name not in names:
        return None
    return _outliers_of(pool)[names.index(name)]

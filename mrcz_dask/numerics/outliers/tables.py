"""Compiled loops between an image of integers and a table of its values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled

TABLES = 4
SMALL = 1 << 12


@compiled
def _entry(value: Any, first: int, shift: int, last: int) -> Any:
    return min(max((np.int64(value) >> shift) - first, 0), last)


@compiled
def count_values(values: NDArray[Any], first: int, shift: int, counts: NDArray[np.int64]) -> None:
    """Add to counts how many flat v have (v >> shift) - first = 0, 1, ...; the ends hold all beyond."""
    if counts.size > SMALL:
        for i in range(values.size):
            counts[_entry(values[i], first, shift, counts.size - 1)] += 1
        return
    # neighbours often have the same value, and adding twice to one entry waits for the first
    apart = np.zeros((TABLES, counts.size), np.int64)
    whole = values.size - values.size % TABLES
    lines = values[:whole].reshape(-1, TABLES)
    for i in range(lines.shape[0]):
        for j in range(TABLES):
            apart[j, _entry(lines[i, j], first, shift, counts.size - 1)] += 1
    rest = values[whole:]
    for i in range(rest.size):
        apart[0, _entry(rest[i], first, shift, counts.size - 1)] += 1
    for j in range(TABLES):
        for k in range(counts.size):
            counts[k] += apart[j, k]


@compiled
def look_up(values: NDArray[Any], first: int, shift: int, table: NDArray[Any], out: NDArray[Any]) -> None:
    """Put into out, for each flat value, what the table says of its entry."""
    last = table.size - 1
    for i in range(out.size):
        out[i] = table[_entry(values[i], first, shift, last)]

"""Chooses neighbors by order of time alone; `correction/windows.py` chooses those of a run."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain, islice

from mrcz_dask.values.checks import checked, raise_all, whole
from mrcz_dask.values.errors import ParameterError

MOST = 10**7  # stacks


@checked
def koma_window(i: int, n: int, radius: int, usable: Sequence[bool] | None = None) -> list[int]:
    """Return the indices of the stacks that correct stack `i`: its 2 x radius usable neighbors in time.

    At the ends of the session the window becomes asymmetric so that the number stays; a session of fewer
    than 2 x radius + 1 usable stacks gives all the others.

    Parameters
    ----------
    i
        Index of the stack in order of acquisition, 0 <= i < n; it need not be usable itself.
    n
        Number of stacks.
    radius
        Window radius a >= 1, in usable stacks to either side.
    usable
        n booleans, True = may be a reference; None = all are.

    Returns
    -------
    list of int
        Indices in order of time, without `i`.

    Raises
    ------
    ParameterError
        For an index, radius or `usable` that does not fit.

    Notes
    -----
    McLeod et al. 2017 (bioRxiv 116533), section 2.3: "knock-out" moving average.
    """
    if not 0 <= i < n:
        raise ParameterError(f"stack index is {i}; expected 0 <= i < n = {n}")
    problems = chain(whole("n", n, 1, MOST), whole("radius", radius, 1, MOST, unit=" stacks to either side"))
    raise_all("window", problems)
    if usable is not None and len(usable) != n:
        raise ParameterError(f"usable has {len(usable)} entries; expected one for each of the {n} stacks")
    others = [j for j in range(n) if j != i and (usable is None or usable[j])]
    return centered(others, bisect_left(others, i), radius)


def centered(others: list[int], before: int, radius: int) -> list[int]:
    """Return 2 x radius stacks of `others` around position `before`; at the ends, more on one side."""
    size = min(2 * radius, len(others))
    start = min(max(before - radius, 0), len(others) - size)
    return others[start : start + size]


def long_window(i: int, last: int, length: int, usable: Sequence[bool], first: int = 0) -> list[int]:
    """Return the indices of the last `length` usable stacks from `first` to `last`, without `i`,
    in order of time.
    """
    backwards = (j for j in range(last, first - 1, -1) if j != i and usable[j])
    return list(islice(backwards, length))[::-1]

"""The windows that a worker keeps from one stack of a segment to the next."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.correction import is_masked
from mrcz_dask.numerics.references import Member, WindowSum
from mrcz_dask.runs.store import SessionStore


@dataclass(frozen=True, slots=True)
class MemberRef:
    """A stack as a member of windows: what finds its sum in the store, and its numbers.

    Attributes
    ----------
    name, stem, digest
        Of the stack, see `StackRecord`.
    exponent, mean, n
        Of its sum, see `numerics.references.Member`.
    """

    name: str
    stem: str
    digest: str
    exponent: int
    mean: float
    n: int


@dataclass(frozen=True, slots=True)
class WindowKey:
    """Whose window it is: of a run (a token, as a store may change between runs), a segment, and a kind."""

    run: str
    segment: int
    kind: str


_kept: OrderedDict[WindowKey, WindowSum[MemberRef]] = OrderedDict()
_lock = threading.Lock()


def reference(
    store: SessionStore,
    members: Sequence[MemberRef],
    shape: tuple[int, int],
    raw: bool,
    key: WindowKey,
    most_kept: int,
) -> NDArray[np.float32]:
    """Return the reference image of a window; keep its sum for the next stack of the segment.

    Whether there was a sum to move changes the time and nothing else, as sums are exact. While it is in use
    it is taken out, so that no two threads share one.
    """
    with _lock:
        window = _kept.pop(key, None) or WindowSum(shape, raw)
    window.move_to(members, min(m.exponent for m in members), lambda m: _load(store, m))
    image = window.reference()
    with _lock:
        _kept[key] = window
        while len(_kept) > most_kept:
            _kept.popitem(last=False)
    return image


def forget(run: str, segment: int) -> None:
    """Drop the windows of a segment that is over."""
    with _lock:
        for key in [k for k in _kept if (k.run, k.segment) == (run, segment)]:
            del _kept[key]


def _load(store: SessionStore, ref: MemberRef) -> Member:
    masked = np.flatnonzero(is_masked(store.load(ref.stem, "weight")))
    return Member(store.load(ref.stem, "sum"), ref.exponent, masked, ref.mean, ref.n)

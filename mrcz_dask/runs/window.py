"""The windows that a worker keeps from one stack of a segment to the next."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.references import Member, MovingSum
from mrcz_dask.numerics.weights import is_masked
from mrcz_dask.runs.store import SessionStore
from mrcz_dask.values.records import StackRecord


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


Load = Callable[[SessionStore, MemberRef], Member]
Images = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True)
class WindowKey:
    """Whose window it is: of a run (a token, as a store may change between runs), a segment, and a kind."""

    run: str
    segment: int
    kind: str


_kept: OrderedDict[WindowKey, MovingSum[MemberRef]] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Own:
    """The stack that a reference is for: it stays in the window, but out of the sum."""

    ref: MemberRef
    member: Member


def images_of(
    store: SessionStore,
    members: Sequence[MemberRef],
    own: Own | None,
    make: Callable[[], MovingSum[MemberRef]],
    key: WindowKey,
    most_kept: int,
    load: Load | None = None,
) -> Images:
    """Return the images of a window; keep its sum for the next stack of the segment.

    Parameters
    ----------
    store
        Has the sums of the members.
    members
        The stacks of the window; at least one.
    own
        The stack itself, if it may be a reference for others; it is none of `members`.
    make
        Gives a sum of nothing, of the kind that the images come from.
    key, most_kept
        Under what the sum is kept, and how many are.
    load
        Gives a member other than `own`; None = as the store has it, outliers masked.

    Notes
    -----
    Whether there was a sum to move changes the time and nothing else, as sums are exact. While it is in use
    it is taken out, so that no two threads share one.
    """
    read = load or masked_member
    exponent = min(m.exponent for m in members)
    if own is not None and own.ref.exponent < exponent:
        own = None  # in the sum it would change how the others are rounded
    with _lock:
        window = _kept.pop(key, None) or make()
    if own is None:
        window.move_to(members, exponent, lambda m: read(store, m))
        images = window.images()
    else:
        there = own
        window.move_to(
            {*members, own.ref}, exponent, lambda m: there.member if m == there.ref else read(store, m)
        )
        images = window.images(without=own.member)
    with _lock:
        _kept[key] = window
        while len(_kept) > most_kept:
            _kept.popitem(last=False)
    return images


def forget(run: str, segment: int) -> None:
    """Drop the windows of a segment that is over."""
    with _lock:
        for key in [k for k in _kept if (k.run, k.segment) == (run, segment)]:
            del _kept[key]


def masked_member(store: SessionStore, ref: MemberRef) -> Member:
    """Return a stack of the store as the window sees it, its outliers masked."""
    masked = np.flatnonzero(is_masked(store.load(ref.stem, "weight")))
    return member(ref, store.load(ref.stem, "sum"), masked)


def member_ref(record: StackRecord) -> MemberRef:
    """Return a stack as a member of windows."""
    return MemberRef(record.name, record.stem, record.digest, record.exponent, record.mean, record.exposed())


def member(ref: MemberRef, values: NDArray[Any], masked: NDArray[np.intp]) -> Member:
    """Return a stack as the window sees it, from its sum and the flat indices of its outliers."""
    return Member(values, ref.exponent, masked, ref.mean, ref.n)

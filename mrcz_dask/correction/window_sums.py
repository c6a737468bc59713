"""The sums over the windows of a stack, made from those of the stack before it by what enters and leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.correction.tasks import MemberRef
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.reference.session_sum import SessionSum
from mrcz_dask.numerics.reference.window import NOBODY, Member, MovingSum, WindowSum
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.records import Failure
from mrcz_dask.values.timing import phase

NOWHERE = np.flatnonzero(NOBODY)
# Stacks whose windows are made one from the other, and stacks whose sum a long window begins with.
CHAIN, BLOCK = 24, 16
Kind = Literal["reference", "reference-raw", "session"]
WindowSums = dict[str, MovingSum[MemberRef]]


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring stacks whose sum is kept in the session store, so that a window can begin with it.

    Attributes
    ----------
    store
        The session store.
    members
        In order of time, all of the same binary exponent.
    raw
        See `WindowSum`.
    shape
        (ny, nx).
    """

    store: str
    members: tuple[MemberRef, ...]
    raw: bool
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        """The first of its stacks."""
        return self.members[0].name

    @property
    def places(self) -> tuple[str, ...]:
        """What must be there so that the block can be summed."""
        return (f"{self.store}/zarr.json",)

    @property
    def digest(self) -> str:
        """Digest of its members, by which the store knows the sum."""
        about = "\0".join(f"{m.stem} {m.digest} {m.mean!r}" for m in self.members)
        return xxhash.xxh3_128_hexdigest(f"{self.raw} {about}".encode("utf-8", "backslashreplace"))


@dataclass(frozen=True, slots=True)
class Window:
    """A window of one stack.

    Attributes
    ----------
    kind
        Reference scaled to the dose, reference in counts per frame, or mean and deviation of the session.
    masked
        Whether outliers are left out.
    members
        The stacks of the window, in order of time; at least one.
    own
        The stack itself, where it may be a reference for others: it stays in the sum, and is taken out when
        the images are made. None = it may not.
    blocks
        Sums in the store that a window which begins here may use.
    """

    kind: Kind
    masked: bool
    members: tuple[MemberRef, ...]
    own: MemberRef | None
    blocks: tuple[Block, ...] = ()

    @property
    def exponent(self) -> int:
        """Smallest binary exponent of the members."""
        return min(m.exponent for m in self.members)

    @property
    def held(self) -> MemberRef | None:
        """The stack itself, if it can be in the sum without changing how the others are rounded."""
        return None if self.own is None or self.own.exponent < self.exponent else self.own


@dataclass(frozen=True, slots=True)
class WindowTask:
    """What the windows of one stack are made from.

    Attributes
    ----------
    name, store, shape
        Of the stack, the session store, and (ny, nx).
    windows
        By name.
    """

    name: str
    store: str
    shape: tuple[int, int]
    windows: dict[str, Window]


def advance_windows(
    before: WindowSums | Exception | None, task: WindowTask, *made: str | Failure
) -> WindowSums | Exception:
    """Advance the windows of the stack before to those of a stack; what was given stays as it is.

    Parameters
    ----------
    before
        Sums of another stack's windows by name; None, or an error, to begin anew.
    task
        The windows that are asked for.
    made
        What came of the blocks that they begin with; one that failed is not used.

    Returns
    -------
    dict of MovingSum, or an error
        An error is returned, not raised: this stack tries it again by itself, and the next one begins anew.
    """
    given = before if isinstance(before, dict) else {}
    try:
        with phase("window"):
            return {name: _advanced(given.get(name), task, one, made) for name, one in task.windows.items()}
    except Exception as error:  # noqa: BLE001 - what stays wrong is raised where the stack is corrected
        return error


def _advanced(
    before: MovingSum[MemberRef] | None, task: WindowTask, one: Window, made: Sequence[str | Failure]
) -> MovingSum[MemberRef]:
    store = SessionStore(task.store)
    wanted = frozenset(one.members) | (frozenset() if one.held is None else {one.held})

    def load(ref: MemberRef) -> Member:
        return load_member(store, ref, masked=one.masked)

    if before is not None and before.exponent == one.exponent and len(before.members ^ wanted) < len(wanted):
        return before.moved_to(wanted, one.exponent, load)
    begun = _begin(task.shape, one, store, made)
    begun.move_to(wanted, one.exponent, load)
    return begun


def _begin(
    shape: tuple[int, int], one: Window, store: SessionStore, made: Sequence[str | Failure]
) -> MovingSum[MemberRef]:
    """Return the sum of the blocks of a window."""
    if one.kind == "session":
        return SessionSum(shape)
    total: WindowSum[MemberRef] = WindowSum(shape, one.kind == "reference-raw")
    for block, digest in zip(one.blocks, made, strict=False):
        if isinstance(digest, str) and block.members[0].exponent == one.exponent:
            total.exponent = one.exponent
            total.add(store.block(digest, WindowSum(shape, block.raw), frozenset(block.members)))
    return total


def sum_block(block: Block) -> str:
    """Sum the stacks of a block, keep the sum in the store, and return its digest."""
    store = SessionStore(block.store)
    total: WindowSum[MemberRef] = WindowSum(block.shape, block.raw)
    total.move_to(block.members, block.members[0].exponent, lambda ref: load_member(store, ref))
    store.put_block(block.digest, total)
    return block.digest


def load_member(store: SessionStore, ref: MemberRef, *, masked: bool = True) -> Member:
    """Return a stack of the store as a window sees it, with its outliers left out or not."""
    values = store.load(ref.stem, "sum")
    if masked:
        return Member(
            values, ref.exponent, np.flatnonzero(is_masked(store.load(ref.stem, "weight"))), ref.mean, ref.n
        )
    return unmasked_member(ref, values)


def unmasked_member(ref: MemberRef, values: NDArray[Any]) -> Member:
    """Return a stack as a window sees it that knows of no outliers: its mean is that of all pixels."""
    mean = int(values.sum(dtype=np.int64)) * 2.0**-ref.exponent / values.size
    return Member(values, ref.exponent, NOWHERE, mean, ref.n)


def images_of(sums: WindowSums, task: WindowTask, own: Member | None) -> list[NDArray[np.float32]]:
    """Return the images of the windows of a stack, in their order, without the stack itself."""
    return [
        image
        for name, one in task.windows.items()
        for image in sums[name].images(without=own if one.held is not None else None)
    ]

"""Sums the neighbors in a stack's windows, from those of the stack before or from blocks of stacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.correction.tasks import CorrectionTask, MemberRef, member_ref
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.reference.session_sum import SessionSum
from mrcz_dask.numerics.reference.window import Member, MovingSum, WindowSum
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.records import Failure
from mrcz_dask.values.timing import phase

# Stacks whose windows are made one from the other, and stacks whose sum a long window begins with.
CHAIN, BLOCK = 24, 16
Kind = Literal["reference", "reference-raw", "session"]
WindowSums = dict[str, MovingSum[MemberRef]]


@dataclass(frozen=True, slots=True)
class Block:
    """Record of consecutive stacks whose common sum is kept in the session store, so that long windows start
    faster.

    Attributes
    ----------
    store
        Path of the session store.
    members
        The stacks in order of time, with sums of one binary exponent.
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
        """Name of the first stack, by which messages name the block."""
        return self.members[0].name

    @property
    def places(self) -> tuple[str, ...]:
        """Paths that must exist before the task starts: the session store."""
        return (f"{self.store}/zarr.json",)

    @property
    def digest(self) -> str:
        """Hash of the members, under which the session store keeps the block's sum."""
        about = "\0".join(f"{m.stem} {m.digest} {m.mean!r}" for m in self.members)
        return xxhash.xxh3_128_hexdigest(f"{self.raw} {about}".encode("utf-8", "backslashreplace"))


@dataclass(frozen=True, slots=True)
class Window:
    """Description of one sum over a stack's neighbors: its members, and which images are made from it.

    Attributes
    ----------
    kind
        Reference relative to the dose, reference in counts per frame, or mean and deviation of the session.
    masked
        Whether outliers are left out.
    members
        The stacks of the window in order of time; at least one.
    own
        The stack itself, if it may be in windows: it stays in the sum, and is subtracted from the images.
    blocks
        Sums in the session store with which the window may begin.
    """

    kind: Kind
    masked: bool
    members: tuple[MemberRef, ...]
    own: MemberRef | None
    blocks: tuple[Block, ...] = ()

    @property
    def exponent(self) -> int:
        """Smallest binary exponent of the members, whose sums are integers times 2**-exponent."""
        return min(m.exponent for m in self.members)

    @property
    def held(self) -> MemberRef | None:
        """The stack itself, if the sum holds it too, to be subtracted later; else None."""
        return None if self.own is None or self.own.exponent < self.exponent else self.own


@dataclass(frozen=True, slots=True)
class WindowTask:
    """Arguments of the task that sums the windows of one stack.

    Attributes
    ----------
    name, store, shape
        Name of the stack, path of the session store, and (ny, nx).
    windows
        The windows by name.
    """

    name: str
    store: str
    shape: tuple[int, int]
    windows: dict[str, Window]


def window_task(task: CorrectionTask, *, masked: bool = True, blocks: tuple[Block, ...] = ()) -> WindowTask:
    """Build the task that sums the windows of a stack.

    Parameters
    ----------
    task
        Correction task of the stack.
    masked
        Whether the outliers of all members are left out.
    blocks
        Sums in the session store with which the long window may begin.
    """
    koma, own = task.settings.koma, member_ref(task.record) if task.usable else None
    kind: Kind = "reference-raw" if koma.form == "subtract-raw" else "reference"
    members = {"short": task.short, "long": task.long}
    if koma.method == "session":
        kind, members = "session", {"session": task.short}
    windows = {
        f"{name} {masked}": Window(kind, masked, refs, own, blocks if name == "long" else ())
        for name, refs in members.items()
        if refs
    }
    return WindowTask(task.name, task.store, task.record.shape[1:], windows)


def advance_windows(
    before: WindowSums | Exception | None, task: WindowTask, *blocks: str | Failure
) -> WindowSums | Exception:
    """Make the sums of a stack's windows from those of the stack before: subtract members that left, add new
    ones.

    Parameters
    ----------
    before
        Window sums of another stack by name; None, or an error, to begin anew.
    task
        The windows that are summed.
    blocks
        Digests of the blocks with which they begin; a failure is not used.

    Returns
    -------
    dict of MovingSum, or an error
        An error is returned, not raised: the stack's correction tries again by itself and raises what stays
        wrong, and the next stack begins anew.
    """
    sums = before if isinstance(before, dict) else {}
    try:
        with phase("window"):
            return {
                name: _window_sum(sums.get(name), task, window, blocks)
                for name, window in task.windows.items()
            }
    except Exception as error:  # noqa: BLE001 - what stays wrong is raised where the stack is corrected
        return error


def _window_sum(
    before: MovingSum[MemberRef] | None, task: WindowTask, window: Window, blocks: Sequence[str | Failure]
) -> MovingSum[MemberRef]:
    store, exponent = SessionStore(task.store), window.exponent
    members = frozenset(window.members) | (frozenset() if window.held is None else {window.held})
    load = partial(load_member, store, masked=window.masked)
    if before is not None and before.exponent == exponent and len(before.members ^ members) < len(members):
        return before.moved_to(members, exponent, load)
    total: MovingSum[MemberRef]
    if window.kind == "session":
        total = SessionSum(task.shape)
    else:
        total = WindowSum(task.shape, window.kind == "reference-raw")
        for block, digest in zip(window.blocks, blocks, strict=False):
            if isinstance(digest, str) and block.members[0].exponent == exponent:
                total.exponent = exponent
                total.add(store.block(digest, WindowSum(task.shape, block.raw), frozenset(block.members)))
    total.move_to(members, exponent, load)
    return total


def sum_block(block: Block) -> str:
    """Sum the stacks of a block, keep the sum in the session store, and return its digest."""
    store = SessionStore(block.store)
    total: WindowSum[MemberRef] = WindowSum(block.shape, block.raw)
    total.move_to(block.members, block.members[0].exponent, partial(load_member, store))
    store.put_block(block.digest, total)
    return block.digest


def load_member(store: SessionStore, ref: MemberRef, *, masked: bool = True) -> Member:
    """Load the sum of a window's member from the session store, with its outlier mask if `masked`."""
    values = store.load(ref.stem, "sum")
    return as_member(ref, values, is_masked(store.load(ref.stem, "weight")) if masked else None)


def as_member(ref: MemberRef, values: NDArray[Any], mask: NDArray[np.bool_] | None) -> Member:
    """Return a member of windows from a sum and its mask (True = outlier; None = all pixels count)."""
    if mask is not None:
        return Member(values, ref.exponent, np.flatnonzero(mask), ref.mean, ref.n)
    mean = int(values.sum(dtype=np.int64)) * 2.0**-ref.exponent / values.size
    return Member(values, ref.exponent, np.zeros(0, np.intp), mean, ref.n)

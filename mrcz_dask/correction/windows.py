"""Chooses the neighbors in each stack's windows, says when the choice is final, and sums them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, compress, count, islice
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from mrcz_dask.correction.assess import AssessedStack, Epochs, find_epochs
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.pooling import Pools
from mrcz_dask.correction.tasks import CorrectionTask, MemberRef, member_ref
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.reference.session_sum import SessionSum
from mrcz_dask.numerics.reference.window import Member, MovingSum, WindowSum
from mrcz_dask.numerics.session.breaks import REACH
from mrcz_dask.session.groups import Group
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.params import KomaParams
from mrcz_dask.values.records import Break, Failure
from mrcz_dask.values.texts import some
from mrcz_dask.values.timing import phase
from mrcz_dask.values.windows import centered, long_window

# Stacks whose windows are made one from the other, and stacks whose sum a long window begins with.
CHAIN, BLOCK = 24, 16
Kind = Literal["reference", "reference-raw", "session"]
WindowSums = dict[str, MovingSum[MemberRef]]


@dataclass(frozen=True, slots=True)
class Windows:
    """Record of the neighbors that correct one stack, and whether this choice is final.

    Attributes
    ----------
    short, long
        Indices of the members, ascending; `long` is empty if it equals `short` or the method has none.
    breaks
        Breaks without which the windows would have other members.
    final
        Whether no later stack can change the windows.
    around
        First stack that could be in the short window, and the stack after the last one.
    """

    short: list[int]
    long: list[int]
    breaks: tuple[Break, ...]
    final: bool
    around: tuple[int, int]


def windows_of(
    i: int, usable: Sequence[bool], epochs: Epochs, koma: KomaParams, mates: Collection[int] = ()
) -> Windows:
    """Choose the stacks that correct stack `i`: usable ones of its epoch, without itself, its copies and the
    stacks of its groups.

    Parameters
    ----------
    i
        Index of the stack, which need not be usable.
    usable
        Whether each stack of the session may be in windows.
    epochs
        Epochs of the session.
    koma
        Method, and lengths of the windows.
    mates
        Indices of the copies of stack `i`, and of those that show the same specimen.
    """
    start, stop = epochs.around(i)
    if mates:
        usable = [good and (k == i or k not in mates) for k, good in enumerate(usable)]
    others = list(compress(range(start, stop), usable[start:stop]))
    before = bisect_left(others, i)
    if usable[i]:
        del others[before]
    short = centered(others, before, koma.reach)
    fitted, long, waits = koma.method == "fit", list[int](), _waits_for(i, short, mates, koma)
    if waits > koma.reach or (fitted and koma.long == "around"):
        long = centered(others, before, waits)
    elif fitted and short:
        long = long_window(i, short[-1], koma.long_window, usable, start)
    cut_before = before < koma.reach or (fitted and len(long) < koma.long_window)
    cut_after = len(others) - before < waits
    enough = bisect_left(others, epochs.final) >= waits + max(waits, before)
    breaks = (epochs.at(start) if cut_before else None, epochs.at(stop) if cut_after else None)
    return Windows(
        short,
        long if long != short else [],
        breaks=tuple(found for found in breaks if found is not None),
        final=i < epochs.final and (enough or stop < epochs.final),
        around=(start if before < koma.reach else short[0], stop if cut_after else short[-1] + 1),
    )


def stacks_until_final(i: int, stacks: Sequence[AssessedStack], epochs: Epochs, koma: KomaParams) -> int:
    """Return how many more stacks must be recorded until the windows of stack `i` are final."""
    start, _ = epochs.around(i)
    mates = mates_of(stacks, i, groups_of(stacks))
    later = (k for k in count(start) if k != i and k not in mates and (k >= len(stacks) or stacks[k].usable))
    before = sum(one.usable for k, one in enumerate(stacks[start:i], start) if k not in mates)
    others = list(islice(later, before + 2 * max(koma.reach, koma.long_window)))
    waits = _waits_for(i, centered(others, before, koma.reach), mates, koma)
    last = others[waits + max(waits, before) - 1]
    unsettled = len(stacks) - epochs.final if epochs.final else 0
    behind = max(unsettled, koma.radius + (REACH if koma.breaks == "auto" else 0))
    return max(1, max(i, last) + 1 + behind - len(stacks))


def _waits_for(i: int, short: Sequence[int], mates: Collection[int], koma: KomaParams) -> int:
    """Return how many later usable stacks must be recorded before the windows of stack `i` are complete.

    The long window reaches to both sides where as many stacks of the same specimen as the radius lie in
    between: the short window then shows few specimens, often, and only more of them average out.
    """
    span = range(min(i, short[0]), max(i, short[-1]) + 1) if short else range(0)
    around = koma.long == "around" or sum(k in span for k in mates) >= koma.radius
    return max(koma.reach, koma.long_window // 2) if around and koma.method == "fit" else koma.reach


def correction_tasks(
    plan: Plan,
    stacks: Sequence[AssessedStack],
    epochs: Epochs | None = None,
    *,
    start: int = 0,
    more_to_come: bool = False,
) -> Iterator[CorrectionTask]:
    """Choose the windows of every stack, and yield its correction task, in order of time.

    Parameters
    ----------
    plan
        Plan of the run.
    stacks
        The assessed stacks of the session.
    epochs
        Epochs of the session; None = they are found.
    start
        Index of the first stack that gets a task.
    more_to_come
        Whether later stacks may come. The tasks of stacks that these could change are provisional.
    """
    koma = plan.settings.koma
    epochs = epochs or find_epochs(stacks, koma)
    usable, groups = [one.usable for one in stacks], groups_of(stacks)
    pools = Pools([one.record for one in stacks], str(plan.store), plan.settings)
    for i in range(start, len(stacks)):
        stack = stacks[i]
        windows = windows_of(i, usable, epochs, koma, mates_of(stacks, i, groups))
        stop = max(windows.around[1], i + 1)  # copies behind are not known yet to a run that follows
        score = stack.verdict.score if stack.original is None else np.nan
        yield CorrectionTask(
            path=str(stack.entry.path),
            folder=str(plan.folder),
            store=str(plan.store),
            # these are larger than all the rest
            record=replace(stack.record, sketch="", frames="", grain="", scene=""),
            short=tuple(member_ref(stacks[k].record) for k in windows.short),
            long=tuple(member_ref(stacks[k].record) for k in windows.long),
            usable=stack.usable,
            score=None if np.isnan(score) else float(score),
            breaks=windows.breaks,
            provisional=more_to_come and not (windows.final and pools.final(i)),
            settings=plan.settings,
            acquired=stack.entry.acquired.time.isoformat(sep=" "),
            acquired_from=stack.entry.acquired.source,
            pixel_size=stack.entry.pixel_size,
            mdoc=str(stack.entry.mdoc) if stack.entry.mdoc else None,
            copies=tuple(stacks[k].entry.name for k in stack.copies if k < stop),
            groups=tuple(one for one in stack.groups if any(k != i and k < stop for k in groups[one])),
            same_specimen=sum(not stack.specimens.isdisjoint(stacks[k].specimens) for k in windows.short),
            refusal=_refusal(stacks, windows.around),
            pool=pools.of(i) if pools.final(i) or not more_to_come else None,
        )


def groups_of(stacks: Sequence[AssessedStack]) -> dict[Group, list[int]]:
    """Return the indices of the stacks of every group."""
    groups: defaultdict[Group, list[int]] = defaultdict(list)
    for k, stack in enumerate(stacks):
        for group in stack.groups:
            groups[group].append(k)
    return groups


def mates_of(
    stacks: Sequence[AssessedStack], i: int, groups: Mapping[Group, Sequence[int]]
) -> frozenset[int]:
    """Return the indices of the copies of stack `i`, and of the other stacks in its groups."""
    mates = chain(stacks[i].copies, *(groups[one] for one in stacks[i].groups))
    return frozenset(mates) - {i}


def _refusal(stacks: Sequence[AssessedStack], around: tuple[int, int]) -> str:
    """Return why a stack must not be corrected if most stacks around it hold the same data; else ''."""
    near = [k if stacks[k].original is None else stacks[k].original for k in range(*around) if stacks[k].good]
    same, number = Counter(near).most_common(1)[0] if near else (0, 0)
    if number < 2 or 2 * number <= len(near):
        return ""
    equal = [stacks[k].entry.name for k in range(*around) if same in (k, stacks[k].original)]
    return (
        f"{number} of the {len(near)} stacks around it hold the same data ({some(equal)}): a reference made "
        "of them would take the specimen off. Leave the copies out with --exclude"
    )


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

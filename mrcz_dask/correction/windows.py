"""Chooses the neighbors in each stack's windows, and says when the choice is final."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress, count, islice

import numpy as np

from mrcz_dask.correction.judged_stacks import Epochs, JudgedStack, find_epochs
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.pooling import Pools
from mrcz_dask.correction.tasks import CorrectionTask, member_ref
from mrcz_dask.numerics.session.breaks import REACH
from mrcz_dask.session.groups import Group
from mrcz_dask.values.params import KomaParams
from mrcz_dask.values.records import Break
from mrcz_dask.values.texts import some
from mrcz_dask.values.windows import centered, long_window


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


def stacks_until_final(i: int, stacks: Sequence[JudgedStack], epochs: Epochs, koma: KomaParams) -> int:
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
    stacks: Sequence[JudgedStack],
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
        The judged stacks of the session.
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


def groups_of(stacks: Sequence[JudgedStack]) -> dict[Group, list[int]]:
    """Return the indices of the stacks of every group."""
    groups: defaultdict[Group, list[int]] = defaultdict(list)
    for k, stack in enumerate(stacks):
        for group in stack.groups:
            groups[group].append(k)
    return groups


def mates_of(stacks: Sequence[JudgedStack], i: int, groups: Mapping[Group, Sequence[int]]) -> frozenset[int]:
    """Return the indices of the copies of stack `i`, and of the other stacks in its groups."""
    mates = chain(stacks[i].copies, *(groups[one] for one in stacks[i].groups))
    return frozenset(mates) - {i}


def _refusal(stacks: Sequence[JudgedStack], around: tuple[int, int]) -> str:
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

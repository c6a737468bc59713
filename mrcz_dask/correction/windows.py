"""Which neighbours correct a stack, and when no later stack can change that."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress, count, islice

import numpy as np

from mrcz_dask.correction.assess import AssessedStack, Epochs, find_epochs
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.tasks import CorrectionTask, member_ref
from mrcz_dask.numerics.session.breaks import REACH
from mrcz_dask.values.params import KomaParams
from mrcz_dask.values.records import Break
from mrcz_dask.values.sizes import some
from mrcz_dask.values.windows import centred, long_window


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one stack.

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
    i: int, usable: Sequence[bool], epochs: Epochs, koma: KomaParams, copies: Sequence[int] = ()
) -> Windows:
    """Choose the stacks that correct stack `i`: usable ones of its epoch, without itself and its copies.

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
    copies
        Indices of the copies of stack `i`.
    """
    start, stop = epochs.around(i)
    if copies:
        usable = [good and k not in copies for k, good in enumerate(usable)]
    others = list(compress(range(start, stop), usable[start:stop]))
    before = bisect_left(others, i)
    if usable[i]:
        del others[before]
    short = centred(others, before, koma.reach)
    fitted, long = koma.method == "fit", list[int]()
    if fitted and koma.long == "around":
        long = centred(others, before, koma.waits_for)
    elif fitted and short:
        long = long_window(i, short[-1], koma.long_window, usable, start)
    cut_before = before < koma.reach or (fitted and len(long) < koma.long_window)
    cut_after = len(others) - before < koma.waits_for
    enough = bisect_left(others, epochs.final) >= koma.waits_for + max(koma.waits_for, before)
    return Windows(
        short,
        long if long != short else [],
        breaks=(epochs.at(start) if cut_before else ()) + (epochs.at(stop) if cut_after else ()),
        final=i < epochs.final and (enough or stop < epochs.final),
        around=(start if before < koma.reach else short[0], stop if cut_after else short[-1] + 1),
    )


def stacks_until_final(i: int, stacks: Sequence[AssessedStack], epochs: Epochs, koma: KomaParams) -> int:
    """Return how many more stacks make the windows of stack `i` final, if all are usable without a break."""
    start, _ = epochs.around(i)
    others = (k for k in count(start) if k != i and (k >= len(stacks) or stacks[k].usable))
    before = sum(one.usable for one in stacks[start:i])
    needed = koma.waits_for + max(koma.waits_for, before)
    last = next(islice(others, needed - 1, None))
    behind = max(len(stacks) - epochs.final, koma.radius + (REACH if koma.breaks == "auto" else 0))
    return max(1, max(i, last) + 1 + behind - len(stacks))


def correction_tasks(
    plan: Plan,
    stacks: Sequence[AssessedStack],
    epochs: Epochs | None = None,
    *,
    start: int = 0,
    more_to_come: bool = False,
) -> Iterator[CorrectionTask]:
    """Yield the correction task of every stack, in order of time.

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
    usable = [one.usable for one in stacks]
    for i in range(start, len(stacks)):
        stack = stacks[i]
        windows = windows_of(i, usable, epochs, koma, stack.copies)
        stop = max(windows.around[1], i + 1)  # copies behind are not known yet to a run that follows
        score = stack.verdict.score if stack.original is None else np.nan
        yield CorrectionTask(
            path=str(stack.entry.path),
            folder=str(plan.folder),
            store=str(plan.store),
            record=replace(stack.record, sketch="", frames="", grain=""),  # as large as all the rest
            short=tuple(member_ref(stacks[k].record) for k in windows.short),
            long=tuple(member_ref(stacks[k].record) for k in windows.long),
            usable=stack.usable,
            score=None if np.isnan(score) else float(score),
            breaks=windows.breaks,
            provisional=more_to_come and not windows.final,
            settings=plan.settings,
            acquired=stack.entry.acquired.time.isoformat(sep=" "),
            acquired_from=stack.entry.acquired.source,
            pixel_size=stack.entry.pixel_size,
            mdoc=str(stack.entry.mdoc) if stack.entry.mdoc else None,
            copies=tuple(stacks[k].entry.name for k in stack.copies if k < stop),
            refusal=_refusal(stacks, windows.around),
        )


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

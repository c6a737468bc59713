"""Which neighbours correct a stack, and when no later stack can change that."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np

from mrcz_dask.correction.assess import AssessedStack, Epochs, find_epochs
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.tasks import CorrectionTask, MemberRef, member_ref
from mrcz_dask.numerics.session.breaks import REACH
from mrcz_dask.values.params import KomaParams
from mrcz_dask.values.records import Break
from mrcz_dask.values.sizes import some
from mrcz_dask.values.windows import centred, long_window


def correction_tasks(
    plan: Plan,
    ready: Sequence[AssessedStack],
    segments: Epochs | None = None,
    *,
    start: int = 0,
    more_to_come: bool = False,
) -> Iterator[CorrectionTask]:
    """Yield the task of every stack, in order of time.

    Parameters
    ----------
    plan, ready
        Of the session.
    segments
        Of the session; None = they are looked for.
    start
        Index of the first stack whose task is asked for.
    more_to_come
        Whether stacks may come that change windows. Final are then stacks that have, in what is decided of
        their segment, `reach` usable stacks after them and twice as many in all, or the segment's end.
    """
    koma = plan.settings.koma
    segments = segments or find_epochs(ready, koma)
    usable = [r.usable for r in ready]
    candidates = [k for k, good in enumerate(usable) if good]
    for i in range(start, len(ready)):
        found = windows_of(i, candidates, usable, segments, koma, ready[i].copies)
        short, long = ([member_ref(ready[j].record) for j in some] for some in (found.short, found.long))
        provisional = more_to_come and not found.final
        about = _about_copies(i, ready, found.around)
        yield _finish_task(plan, ready[i], short, long, found.breaks, about, provisional=provisional)


@dataclass(frozen=True, slots=True)
class Windows:
    """Of a stack.

    Attributes
    ----------
    short, long
        Members, in order of time; `long` is empty where it is the same or not asked for.
    breaks
        Those without which there would be more members, or others.
    final
        Whether stacks that come later leave them as they are.
    around
        The first stack that may matter to the short window, and the one after the last.
    """

    short: list[int]
    long: list[int]
    breaks: tuple[Break, ...]
    final: bool
    around: tuple[int, int]


def windows_of(
    i: int,
    candidates: Sequence[int],
    usable: Sequence[bool],
    segments: Epochs,
    koma: KomaParams,
    copies: Sequence[int] = (),
) -> Windows:
    """Return the windows of stack `i`, which hold stacks of its own segment alone.

    Parameters
    ----------
    i
        Index of the stack, which need not be usable.
    candidates, usable
        Indices of the usable stacks, and whether each stack is usable.
    segments
        Of the session.
    koma
        Method, and lengths of the windows.
    copies
        Indices of stacks that hold data of this one.
    """
    if copies:
        excluded = {*copies}
        candidates = [k for k in candidates if k not in excluded]
        usable = [good and k not in excluded for k, good in enumerate(usable)]
    start, stop = segments.around(i)
    inside = candidates[bisect_left(candidates, start) : bisect_left(candidates, stop)]
    place = bisect_left(inside, i)
    others = [*inside[:place], *inside[place + usable[i] :]]
    short = centred(others, place, koma.reach)
    fitted = koma.method == "fit"
    long = long_members(i, others, short, usable, koma, start) if short and fitted else []
    cut_before = place < koma.reach or (fitted and len(long) < koma.long_window)
    cut_after = len(others) - place < koma.waits_for
    breaks = (segments.at(start) if cut_before else ()) + (segments.at(stop) if cut_after else ())
    enough = bisect_left(others, segments.decided) >= koma.waits_for + max(koma.waits_for, place)
    final = i < segments.decided and (enough or stop < segments.decided)
    around = start if place < koma.reach else short[0], stop if cut_after else short[-1] + 1
    return Windows(short, long if long != short else [], breaks, final, around)


def more_until_final(i: int, ready: Sequence[AssessedStack], segments: Epochs, koma: KomaParams) -> int:
    """Return how many stacks must come until stack `i` is final, if they are usable and bring no break."""
    start, _ = segments.around(i)
    others = (k for k in count(start) if k != i and (k >= len(ready) or ready[k].usable))
    place = sum(one.usable for one in ready[start:i])
    wanted = koma.waits_for + max(koma.waits_for, place)
    last = next(islice(others, wanted - 1, None))
    behind = max(len(ready) - segments.decided, koma.radius + (REACH if koma.breaks == "auto" else 0))
    return max(1, max(i, last) + 1 + behind - len(ready))


def long_members(
    i: int, others: list[int], short: Sequence[int], usable: Sequence[bool], koma: KomaParams, start: int = 0
) -> list[int]:
    """Return the long window of stack `i`, in order of time.

    Parameters
    ----------
    i, others
        The stack, and the other usable ones of its segment.
    short
        Its short window; not empty.
    usable
        Whether each stack of the session is usable.
    koma
        How long it is, and on which side.
    start
        First stack of the segment.
    """
    if koma.long == "around":
        return centred(others, bisect_left(others, i), koma.waits_for)
    return long_window(i, short[-1], koma.long_window, usable, start)


def _finish_task(
    plan: Plan,
    one: AssessedStack,
    short: list[MemberRef],
    long: list[MemberRef],
    breaks: tuple[Break, ...],
    about: tuple[tuple[str, ...], str],
    *,
    provisional: bool,
) -> CorrectionTask:
    score = one.verdict.score if one.original is None else np.nan
    return CorrectionTask(
        path=str(one.entry.path),
        folder=str(plan.folder),
        store=str(plan.store),
        record=replace(one.record, sketch="", frames="", grain=""),  # known, and as large as all the rest
        short=tuple(short),
        long=tuple(long),
        usable=one.usable,
        score=None if np.isnan(score) else float(score),
        breaks=breaks,
        provisional=provisional,
        settings=plan.settings,
        acquired=one.entry.acquired.time.isoformat(sep=" "),
        acquired_from=one.entry.acquired.source,
        pixel_size=one.entry.pixel_size,
        mdoc=str(one.entry.mdoc) if one.entry.mdoc else None,
        copies=about[0],
        refusal=about[1],
    )


def _about_copies(
    i: int, ready: Sequence[AssessedStack], around: tuple[int, int]
) -> tuple[tuple[str, ...], str]:
    """Return the names of copies of stack `i`, and why it must not be corrected where most are equal."""
    stop = max(around[1], i + 1)  # later ones are not known yet to one who follows
    names = tuple(ready[k].entry.name for k in ready[i].copies if k < stop)
    near = [k if ready[k].original is None else ready[k].original for k in range(*around) if ready[k].good]
    same, count = Counter(near).most_common(1)[0] if near else (0, 0)
    if count < 2 or 2 * count <= len(near):
        return names, ""
    equal = [ready[k].entry.name for k in range(*around) if same in (k, ready[k].original)]
    return names, (
        f"{count} of the {len(near)} stacks around it hold the same data ({some(equal)}): a reference made "
        "of them would take the specimen off. Leave the copies out with --exclude"
    )

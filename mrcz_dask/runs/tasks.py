"""From records to the tasks of the second pass: who may be a reference, whose window holds whom."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count, islice, pairwise
from typing import Any

import numpy as np
import xxhash

from mrcz_dask import __version__
from mrcz_dask.formats.provenance import canonical, plain
from mrcz_dask.numerics.breaks import REACH
from mrcz_dask.numerics.contrast import BlockMeans, Usability, judge
from mrcz_dask.numerics.copies import find_copies
from mrcz_dask.numerics.fingerprint import Fingerprint
from mrcz_dask.runs.entries import StackEntry
from mrcz_dask.runs.finish import FinishTask
from mrcz_dask.runs.plan import Plan
from mrcz_dask.runs.segments import Segments, find_segments
from mrcz_dask.runs.space import some
from mrcz_dask.runs.window import MemberRef, member_ref
from mrcz_dask.values.params import KomaParams, Settings
from mrcz_dask.values.records import Break, StackRecord
from mrcz_dask.values.windows import centred, long_window

# Relative spread of a sum beyond counting, above which a gain reference seems to be missing.
RAW_SPREAD = 0.15
SHORTEST = 4


@dataclass(frozen=True, slots=True)
class Ready:
    """A stack that went through the first pass, and whether it may be a reference for others.

    Attributes
    ----------
    entry, record, verdict
        The file, what was found in it, and whether its contrast is too high.
    raw
        Whether references are in counts, so that none needs a dose.
    copies, original
        Places of the stacks that hold data of this one, and of the one that stands for it; None if it stands
        for itself.
    """

    entry: StackEntry
    record: StackRecord
    verdict: Usability
    raw: bool
    copies: tuple[int, ...] = ()
    original: int | None = None

    @property
    def good(self) -> bool:
        """Whether the stack by itself may be a member of windows: those scaled to a dose need one."""
        if not self.record.sound:
            return False
        return self.verdict.usable if self.record.has_dose else self.raw

    @property
    def usable(self) -> bool:
        """Whether the stack may be a member of windows: of copies of the same data, only the first."""
        return self.good and self.original is None


def judged(entries: Sequence[StackEntry], records: Sequence[StackRecord], settings: Settings) -> list[Ready]:
    """Return the stacks of a session, in order of time, with the verdict on each."""
    verdicts = judge([_grid(r) for r in records], settings.koma.radius, settings.contrast)
    raw = settings.koma.form == "subtract-raw"
    found = find_copies([Fingerprint.from_text(one.frames, one.grain) for one in records])
    made: list[Ready] = []
    for j, (entry, record, verdict, copies) in enumerate(zip(entries, records, verdicts, found, strict=True)):
        original = next((k for k in copies if k < j and made[k].usable), None)
        known = [k for k in copies if k <= j + settings.koma.radius]
        if any(a not in found[b] for a, b in pairwise(known)):
            original = known[0]  # of several stacks, as a tilt series is: these are neighbours, it is none
        made.append(Ready(entry, record, verdict, raw, copies, original))
    return made


def finish_tasks(
    plan: Plan, ready: Sequence[Ready], segments: Segments | None = None, *, more_to_come: bool = False
) -> Iterator[FinishTask]:
    """Yield the task of every stack, in order of time.

    Parameters
    ----------
    plan, ready
        Of the session.
    segments
        Of the session; None = they are looked for.
    more_to_come
        Whether stacks may come that change windows. Final are then stacks that have, in what is decided of
        their segment, `reach` usable stacks after them and twice as many in all, or the segment's end.
    """
    koma = plan.settings.koma
    segments = segments or find_segments(ready, koma)
    usable = [r.usable for r in ready]
    candidates = [k for k, good in enumerate(usable) if good]
    refs = [member_ref(r.record) for r in ready]
    for i, one in enumerate(ready):
        found = windows_of(i, candidates, usable, segments, koma, one.copies)
        members = [refs[j] for j in found.short], [refs[j] for j in found.long]
        provisional = more_to_come and not found.final
        task = _finish_task(plan, one, *members, found.breaks, provisional=provisional)
        yield with_key(_told_of_copies(task, i, ready, found.around))


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
    segments: Segments,
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
        candidates = [k for k in candidates if k not in copies]
        usable = [good and k not in copies for k, good in enumerate(usable)]
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


def more_until_final(i: int, ready: Sequence[Ready], segments: Segments, koma: KomaParams) -> int:
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
    one: Ready,
    short: list[MemberRef],
    long: list[MemberRef],
    breaks: tuple[Break, ...],
    *,
    provisional: bool,
) -> FinishTask:
    return FinishTask(
        path=str(one.entry.path),
        folder=str(plan.folder),
        store=str(plan.store),
        record=replace(one.record, sketch="", frames="", grain=""),  # known, and as large as all the rest
        short=tuple(short),
        long=tuple(long),
        usable=one.usable,
        score=_number(one.verdict.score) if one.original is None else None,
        breaks=breaks,
        provisional=provisional,
        settings=plan.settings,
        key="",
        acquired=one.entry.acquired.time.isoformat(sep=" "),
        acquired_from=one.entry.acquired.source,
        pixel_size=one.entry.pixel_size,
        mdoc=str(one.entry.mdoc) if one.entry.mdoc else None,
        run="",
        segment=0,
        last=False,
        kept_windows=2,
    )


def _told_of_copies(task: FinishTask, i: int, ready: Sequence[Ready], around: tuple[int, int]) -> FinishTask:
    """Return the task of stack `i` with what copies of the same data, its own and others', mean for it."""
    stop = max(around[1], i + 1)  # later ones are not known yet to one who follows
    names = tuple(ready[k].entry.name for k in ready[i].copies if k < stop)
    near = [k if ready[k].original is None else ready[k].original for k in range(*around) if ready[k].good]
    same, count = Counter(near).most_common(1)[0] if near else (0, 0)
    if count < 2 or 2 * count <= len(near):
        return replace(task, copies=names)
    equal = [ready[k].entry.name for k in range(*around) if same in (k, ready[k].original)]
    refusal = (
        f"{count} of the {len(near)} stacks around it hold the same data ({some(equal)}): a reference made "
        "of them would take the specimen off. Leave the copies out with --exclude"
    )
    return replace(task, copies=names, refusal=refusal)


def with_key(task: FinishTask) -> FinishTask:
    """Return the task with the digest of all that its output depends on."""
    depends = {
        "version": __version__,
        "settings": _digest_of_settings(task.settings),
        "stack": [task.record.name, task.record.digest, task.record.gamma],
        "short": _digest_of_members(task.short),
        "long": _digest_of_members(task.long),
        "usable": task.usable,
        "breaks": [one.to_dict() for one in task.breaks],
        "provisional": task.provisional,
        "acquired": [task.acquired, task.acquired_from],
        "pixel_size": task.pixel_size,
        **({"copies": [*task.copies, task.refusal]} if task.copies or task.refusal else {}),
    }
    return replace(task, key=digest_of(depends))


def marked(segment: int, tasks: Sequence[FinishTask]) -> list[FinishTask]:
    """Return the tasks of a segment, each knowing which it is and the last one that it is the last."""
    return [replace(t, segment=segment, last=k == len(tasks) - 1) for k, t in enumerate(tasks)]


@lru_cache(maxsize=1)
def _digest_of_settings(settings: Settings) -> str:
    return digest_of(settings.to_dict())


def _digest_of_members(members: Sequence[MemberRef]) -> str:
    names = "\0".join([f"{m.digest} {m.mean!r} {m.name}" for m in members])
    return xxhash.xxh3_128_hexdigest(names.encode("utf-8", "backslashreplace"))


def recut(numbers: Iterator[int], tasks: Sequence[FinishTask]) -> tuple[list[FinishTask], list[FinishTask]]:
    """Cut a marked segment in two, the second of a number of its own; short ones stay whole.

    A worker that begins a segment reads a whole window first: a few stacks are not worth that.
    """
    half = len(tasks) // 2
    if half < SHORTEST:
        return list(tasks), []
    return marked(tasks[0].segment, tasks[:half]), marked(next(numbers), tasks[half:])


def digest_of(values: Any) -> str:
    """Return xxh3-128 over plain values."""
    return xxhash.xxh3_128_hexdigest(canonical(plain(values)))


def looks_raw(ready: Sequence[Ready]) -> float | None:
    """Return the typical spread of the sums beyond counting if it is far above what counting leaves."""
    raw = [r.record for r in ready if r.record.exponent == 0]
    shares = [s for record in raw if (s := spread_beyond_counting(record)) is not None]
    typical = float(np.median(shares)) if shares else 0.0
    return typical if typical > RAW_SPREAD else None


def spread_beyond_counting(record: StackRecord) -> float | None:
    """Return the relative spread of a sum of counts beyond what counting gives; None if not known."""
    mu, sigma = record.outliers["mu"], record.outliers["sigma"]
    if record.status != "ok" or not mu > 0:
        return None
    return float(np.sqrt(max(0.0, sigma**2 - mu)) / mu)


def _grid(record: StackRecord) -> BlockMeans | None:
    if not (record.sound and record.has_dose):
        return None
    return BlockMeans(np.array(record.grid_means, np.float64), np.array(record.grid_pixels, np.int64))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)

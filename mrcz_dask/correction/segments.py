"""The stacks of a session with their verdicts, and the segments between its breaks."""

from __future__ import annotations

from base64 import b64decode
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from mrcz_dask.numerics.session.breaks import Found, decided_places, find_breaks, gather
from mrcz_dask.numerics.session.contrast import Usability
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.values.params import KomaParams
from mrcz_dask.values.records import Break, StackRecord

HOUR = timedelta(hours=1)


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


@dataclass(frozen=True, slots=True)
class Segments:
    """Where a session breaks.

    Attributes
    ----------
    stacks
        How many there are.
    starts
        Index of the first stack after each break, in order of time.
    breaks
        The breaks, in the same order.
    decided
        Breaks before a stack of a lower index stay as they are, whatever stacks come later.
    """

    stacks: int
    starts: tuple[int, ...]
    breaks: tuple[Break, ...]
    decided: int

    def around(self, i: int) -> tuple[int, int]:
        """Return the first stack of the segment of stack `i`, and the one after its last."""
        place = bisect_right(self.starts, i)
        ends = (0, *self.starts, self.stacks)
        return ends[place], ends[place + 1]

    def at(self, start: int) -> tuple[Break, ...]:
        """Return the break right before a stack, if there is one."""
        place = bisect_left(self.starts, start)
        return self.breaks[place : place + 1] if start in self.starts[place : place + 1] else ()

    def before(self, stop: int) -> tuple[Break, ...]:
        """Return the breaks before stacks of a lower index than `stop`."""
        return self.breaks[: bisect_left(self.starts, stop)]


def find_segments(ready: Sequence[Ready], koma: KomaParams) -> Segments:
    """Return the segments of a session.

    Parameters
    ----------
    ready
        The stacks, in order of time. One that is not usable belongs to the segment of its time.
    koma
        Which breaks are looked for; the radius, as the verdict on a stack takes so many after it.
    """
    pauses = dict(_pauses(ready, koma.break_after))
    settled = max(0, len(ready) - koma.radius)
    found, decided = dict(pauses), settled
    if koma.breaks == "auto":
        usable = [k for k, one in enumerate(ready) if one.usable]
        known = [bisect_left(usable, pause) for pause in pauses]
        breaks, below = _found([ready[k] for k in usable], known, koma, bisect_left(usable, settled))
        found |= {
            usable[one.place]: Break(ready[usable[one.place]].entry.name, reason_of(one)) for one in breaks
        }
        decided = min([settled, *usable[below : below + 1]])
    starts = tuple(sorted(found))
    return Segments(len(ready), starts, tuple(found[k] for k in starts), decided)


def _pauses(ready: Sequence[Ready], hours: float | None) -> Iterator[tuple[int, Break]]:
    """Yield the stacks before which there were none for more than so many hours."""
    times = [one.entry.acquired.time for one in ready]
    for k in range(1, len(ready) if hours is not None else 0):
        pause = (times[k] - times[k - 1]) / HOUR
        if hours is not None and pause > hours:
            yield k, Break(ready[k].entry.name, f"{pause:.1f} hours without a stack")


def _found(
    usable: Sequence[Ready], known: Sequence[int], koma: KomaParams, settled: int
) -> tuple[list[Found], int]:
    """Return the breaks of dose and pattern among usable stacks, and below which of them they are decided."""
    if not usable:
        return [], 0
    records = [one.record for one in usable]
    sketches = [b64decode(record.sketch) for record in records]
    shape = records[0].shape[1:]
    evidence = gather(sketches, shape, [record.dose for record in records], koma.break_dose)
    return find_breaks(evidence, known), decided_places(evidence.candidates, settled)


def reason_of(one: Found) -> str:
    """Return in words why a place is a break."""
    if one.kind == "dose":
        before, after = one.numbers
        change = f"{after / before - 1:+.0%}"
        return f"the dose goes from {before:.3g} to {after:.3g} counts per pixel and frame ({change})"
    share, errors = one.numbers
    return (
        f"a new pattern: {min(share, 1):.0%} of what neighbours have in common is gone ({errors:.1f} "
        "standard errors)"
    )

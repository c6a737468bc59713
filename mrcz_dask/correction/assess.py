"""Which stacks may be references, and the epochs of a session: decided from the records alone."""

from __future__ import annotations

from base64 import b64decode
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice, pairwise

import numpy as np

from mrcz_dask.numerics.session.breaks import DetectedBreak, final_below, find_breaks, gather_evidence
from mrcz_dask.numerics.session.contrast import BlockMeans, Usability, assess_contrast
from mrcz_dask.numerics.session.copies import Copies
from mrcz_dask.numerics.session.fingerprint import Fingerprint
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.values.params import KomaParams, Settings
from mrcz_dask.values.records import Break, StackRecord

# Relative spread of a sum beyond counting, above which a gain reference seems to be missing.
RAW_SPREAD = 0.15
# Usable stacks before the first undecided one that are looked at for breaks, which takes some twenty.
LEAD_OF_BREAKS = 200
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class AssessedStack:
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
class Epochs:
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


def find_epochs(ready: Sequence[AssessedStack], koma: KomaParams) -> Epochs:
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
    return Epochs(len(ready), starts, tuple(found[k] for k in starts), decided)


def _pauses(ready: Sequence[AssessedStack], hours: float | None) -> Iterator[tuple[int, Break]]:
    """Yield the stacks before which there were none for more than so many hours."""
    times = [one.entry.acquired.time for one in ready]
    for k in range(1, len(ready) if hours is not None else 0):
        pause = (times[k] - times[k - 1]) / HOUR
        if hours is not None and pause > hours:
            yield k, Break(ready[k].entry.name, f"{pause:.1f} hours without a stack")


def _found(
    usable: Sequence[AssessedStack], known: Sequence[int], koma: KomaParams, settled: int
) -> tuple[list[DetectedBreak], int]:
    """Return the breaks of dose and pattern among usable stacks, and below which of them they are decided."""
    if not usable:
        return [], 0
    records = [one.record for one in usable]
    sketches = [b64decode(record.sketch) for record in records]
    shape = records[0].shape[1:]
    evidence = gather_evidence(sketches, shape, [record.dose for record in records], koma.break_dose)
    return find_breaks(evidence, known), final_below(evidence.candidates, settled)


def reason_of(one: DetectedBreak) -> str:
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


class Assessment:
    """The verdicts on a session's stacks and its breaks, kept up as records come in order of time.

    Whether a stack may be a reference, and whether there is a break before it, is decided from a bounded
    number of stacks around it. So only the last ones are looked at again when others follow.

    Attributes
    ----------
    ready
        The stacks that have a record, in order of time.
    segments
        Their breaks.
    changed_at
        The stacks before this index are those of the last `update`, and decided.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lead = settings.contrast.history + settings.koma.radius
        self._begin()
        self.changed_at = 0

    def _begin(self) -> None:
        self.ready: list[AssessedStack] = []
        self.segments = Epochs(0, (), (), 0)
        self._copies = Copies()
        self._grids: list[BlockMeans | None] = []

    def update(self, stacks: Sequence[tuple[StackEntry, StackRecord]]) -> None:
        """Take in the stacks that are there now, in order of time."""
        known = [(one.entry, one.record) for one in self.ready]
        if known != list(stacks[: len(known)]):
            self._begin()
        self.changed_at = self.segments.decided
        self._judge(stacks)
        self._find_breaks()

    def _judge(self, stacks: Sequence[tuple[StackEntry, StackRecord]]) -> None:
        koma = self._settings.koma
        undecided = max(0, len(self.ready) - koma.radius)
        start = max(0, undecided - self._lead)
        changed: set[int] = set()
        for j in range(len(self.ready), len(stacks)):
            record = stacks[j][1]
            self._grids.append(_grid(record))
            self._copies.add(Fingerprint.from_text(record.frames, record.grain))
            changed.update(self._copies.of(j))
        contrast = self._settings.contrast
        verdicts = assess_contrast(self._grids[start:], koma.radius, contrast, undecided - start)
        del self.ready[undecided:]
        for j in changed.intersection(range(undecided)):
            self.ready[j] = replace(self.ready[j], copies=self._copies.of(j))
        for j in range(undecided, len(stacks)):
            copies = self._copies.of(j)
            original = next((k for k in copies if k < j and self.ready[k].usable), None)
            known = [k for k in copies if k <= j + koma.radius]
            if not all(self._copies.share(a, b) for a, b in pairwise(known)):
                # of several stacks, as a tilt series is: these are neighbours, it is none
                original = known[0]
            raw = koma.form == "subtract-raw"
            self.ready.append(AssessedStack(*stacks[j], verdicts[j - undecided], raw, copies, original))

    def _find_breaks(self) -> None:
        decided = self.segments.decided
        usable = (k for k in reversed(range(decided)) if self.ready[k].usable)
        start = next(islice(usable, LEAD_OF_BREAKS - 1, None), 0)
        found = find_epochs(self.ready[start:], self._settings.koma)
        old = bisect_left(self.segments.starts, decided)
        new = bisect_left(found.starts, decided - start)
        self.segments = Epochs(
            len(self.ready),
            (*self.segments.starts[:old], *(start + one for one in found.starts[new:])),
            (*self.segments.breaks[:old], *found.breaks[new:]),
            max(decided, start + found.decided),
        )


def assess_stacks(
    entries: Sequence[StackEntry], records: Sequence[StackRecord], settings: Settings
) -> list[AssessedStack]:
    """Return the stacks of a session, in order of time, with the verdict on each."""
    assessment = Assessment(settings)
    assessment.update([*zip(entries, records, strict=True)])
    return assessment.ready


def copies_in(ready: Sequence[AssessedStack]) -> dict[str, list[str]]:
    """Return by the name of each stack that shares data with others the names of these."""
    return {one.entry.name: [ready[k].entry.name for k in one.copies] for one in ready if one.copies}


def looks_raw(ready: Sequence[AssessedStack]) -> float | None:
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

"""Decides from the records of stacks which of them may correct others, and where epochs begin."""

from __future__ import annotations

from base64 import b64decode
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice, pairwise

import numpy as np

from mrcz_dask.numerics.reference.structure import grid as grid_of
from mrcz_dask.numerics.session.breaks import DetectedBreak, final_below, find_breaks, gather_evidence
from mrcz_dask.numerics.session.contrast import BlockMeans, Usability, judge_contrast
from mrcz_dask.numerics.session.fingerprint import Copies, Fingerprint
from mrcz_dask.numerics.session.specimens import FIRST, Specimens
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.session.groups import Group, Grouping
from mrcz_dask.values.params import KomaParams, Settings
from mrcz_dask.values.records import Break, StackRecord

HOUR = timedelta(hours=1)
# Relative spread of a sum beyond counting, above which a gain reference seems to be missing.
RAW_SPREAD = 0.15
# Usable stacks before the first undecided one in which breaks are sought; that takes some twenty.
LEAD_OF_BREAKS = 48


@dataclass(frozen=True, slots=True)
class JudgedStack:
    """Record of one stack with the decision whether it may be a member of other stacks' windows.

    Attributes
    ----------
    entry, record, verdict
        The file, its record, and whether its contrast is too high.
    raw
        Whether references are in counts, so that members need no dose.
    copies
        Indices of its copies.
    original
        Index of the copy that is used in its place; None if it is used itself.
    groups
        Groups of stacks that show the same specimen; it may be the only one of them.
    specimens
        Groups that the pixels show; they are in `groups` too, unless references are trusted.
    """

    entry: StackEntry
    record: StackRecord
    verdict: Usability
    raw: bool
    copies: tuple[int, ...] = ()
    original: int | None = None
    groups: tuple[Group, ...] = ()
    specimens: frozenset[int] = frozenset()

    @property
    def good(self) -> bool:
        """True if the stack's own mask, dose and contrast allow it in windows; copies are not considered."""
        if not self.record.sound:
            return False
        return self.verdict.usable if self.record.has_dose else self.raw

    @property
    def usable(self) -> bool:
        """True if the stack may be in windows: it is good, and no earlier copy is used in its place."""
        return self.good and self.original is None


@dataclass(frozen=True, slots=True)
class Epochs:
    """Record of a session's breaks and of the epochs between them; windows stay inside one epoch.

    Attributes
    ----------
    stacks
        Number of stacks.
    starts
        Index of the first stack after each break, ascending.
    breaks
        The breaks, in the same order.
    final
        Breaks before stacks of lower indices are final.
    """

    stacks: int
    starts: tuple[int, ...]
    breaks: tuple[Break, ...]
    final: int

    def around(self, i: int) -> tuple[int, int]:
        """Return where the epoch of stack `i` lies: its first stack, and the one after its last."""
        place = bisect_right(self.starts, i)
        ends = (0, *self.starts, self.stacks)
        return ends[place], ends[place + 1]

    def at(self, start: int) -> Break | None:
        """Return the break right before stack `start`; None if there is none."""
        return dict(zip(self.starts, self.breaks, strict=True)).get(start)

    def before(self, stop: int) -> tuple[Break, ...]:
        """Return the breaks that lie before stack `stop`."""
        return self.breaks[: bisect_left(self.starts, stop)]


def find_epochs(stacks: Sequence[JudgedStack], koma: KomaParams) -> Epochs:
    """Find the breaks of a session, and so its epochs, from long pauses, jumps in dose and changes of the
    pattern.

    Parameters
    ----------
    stacks
        The stacks in order of time. One that is not usable belongs to the epoch of its time.
    koma
        Kinds of breaks that are sought, and the radius: whether a stack is usable is final when so many
        stacks have come after it.
    """
    breaks = {}
    if koma.break_after is not None:
        for k, (before, after) in enumerate(pairwise(stacks), 1):
            hours = (after.entry.acquired.time - before.entry.acquired.time) / HOUR
            if hours > koma.break_after:
                breaks[k] = Break(after.entry.name, f"{hours:.1f} hours without a stack")
    assessed = final = max(0, len(stacks) - koma.radius)
    usable = [k for k, stack in enumerate(stacks) if stack.usable]
    if koma.breaks == "auto" and usable:
        records = [stacks[k].record for k in usable]
        sketches, doses = zip(*((b64decode(record.sketch), record.dose) for record in records), strict=True)
        evidence = gather_evidence(sketches, records[0].shape[1:], doses, koma.break_dose)
        for detected in find_breaks(evidence, [bisect_left(usable, pause) for pause in breaks]):
            k = usable[detected.place]
            breaks[k] = Break(stacks[k].entry.name, reason_of(detected))
        below = final_below(evidence.candidates, bisect_left(usable, assessed))
        final = min([assessed, *usable[below : below + 1]])
    starts = tuple(sorted(breaks))
    return Epochs(len(stacks), starts, tuple(breaks[k] for k in starts), final)


def reason_of(found: DetectedBreak) -> str:
    """Return in words why a break was found, such as the change in dose, for logs and reports."""
    if found.kind == "dose":
        before, after = found.numbers
        change = f"{after / before - 1:+.0%}"
        return f"the dose goes from {before:.3g} to {after:.3g} counts per pixel and frame ({change})"
    share, errors = found.numbers
    return (
        f"a new pattern: {min(share, 1):.0%} of what neighbors have in common is gone ({errors:.1f} "
        "standard errors)"
    )


class JudgedStacks:
    """Decides which stacks are usable and where epochs begin, again whenever further stacks have been summed.

    Whether a stack is usable, and whether there is a break before it, depends on a bounded number of stacks
    around it. So only the last stacks are judged again when others follow.

    Attributes
    ----------
    stacks
        The stacks that have a record, in order of time.
    epochs
        Their epochs.
    changed_at
        Nothing has changed in the last `update` for stacks of lower indices.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lead = settings.contrast.history + settings.koma.radius
        self._first = min(FIRST, 3 * settings.koma.radius + 1)  # the first window is final no earlier
        self._begin()
        self.changed_at = 0

    def _begin(self) -> None:
        self.stacks: list[JudgedStack] = []
        self.epochs = Epochs(0, (), (), 0)
        self._copies, self._grouping = Copies(), Grouping(self._settings.koma.groups)
        self._groups: list[tuple[Group, ...]] = []
        self._members: defaultdict[Group, list[int]] = defaultdict(list)
        self._specimens: Specimens | None = None
        self._grids: list[BlockMeans | None] = []

    def update(self, stacks: Sequence[tuple[StackEntry, StackRecord]]) -> None:
        """Judge all stacks that have been summed so far, given in order of time."""
        known = [(stack.entry, stack.record) for stack in self.stacks]
        if known != list(stacks[: len(known)]):
            self._begin()
        self.changed_at = self.epochs.final
        self._judge_stacks(stacks)
        self._find_epochs()

    def _judge_stacks(self, stacks: Sequence[tuple[StackEntry, StackRecord]]) -> None:
        koma = self._settings.koma
        undecided = max(0, len(self.stacks) - koma.radius) if len(self.stacks) >= self._first else 0
        start = max(0, undecided - self._lead)
        with_new_copies: set[int] = set()
        for j in range(len(self.stacks), len(stacks)):
            (entry, record), grid = stacks[j], None
            self._groups.append(self._grouping.find(entry))
            together = {k for group in self._groups[j] for k in self._members[group]}
            for group in self._groups[j]:
                self._members[group].append(j)
            if record.sound and record.has_dose:
                means = np.array(record.grid_means, np.float64)
                grid = BlockMeans(means, np.array(record.grid_pixels, np.int64))
            self._grids.append(grid)
            self._copies.add(Fingerprint.from_text(record.frames, record.grain))
            with_new_copies.update(self._copies.of(j))
            self._specimens = self._specimens or Specimens(grid_of(record.shape[1:]), self._first)
            self._specimens.add(record.scene if record.sound else "", together.union(self._copies.of(j)))
        verdicts = judge_contrast(
            self._grids[start:], koma.radius, self._settings.contrast, undecided - start
        )
        del self.stacks[undecided:]
        for j in with_new_copies.intersection(range(undecided)):
            self.stacks[j] = replace(self.stacks[j], copies=self._copies.of(j))
        for j in range(undecided, len(stacks)):
            copies = self._copies.of(j)
            original = next((k for k in copies if k < j and self.stacks[k].usable), None)
            near = [k for k in copies if k <= j + koma.radius]
            if not all(self._copies.share(a, b) for a, b in pairwise(near)):
                # of several stacks, as a tilt series is: these are neighbors, it is none
                original = near[0]
            raw = koma.form == "subtract-raw"
            assert self._specimens is not None
            specimens, groups = self._specimens.groups[j], self._groups[j]
            if not koma.trust_reference:
                names = (stacks[k][0].name for k in sorted(specimens))
                groups += tuple(Group(f"specimen of {name}", "as their pixels show") for name in names)
            verdict = verdicts[j - undecided]
            self.stacks.append(JudgedStack(*stacks[j], verdict, raw, copies, original, groups, specimens))

    def _find_epochs(self) -> None:
        """Find epochs among the last stacks, and join them to those that are final."""
        before, final = self.epochs, self.epochs.final
        usable = (k for k in reversed(range(final)) if self.stacks[k].usable)
        start = next(islice(usable, LEAD_OF_BREAKS - 1, None), 0)
        last = find_epochs(self.stacks[start:], self._settings.koma)
        old, new = bisect_left(before.starts, final), bisect_left(last.starts, final - start)
        self.epochs = Epochs(
            len(self.stacks),
            (*before.starts[:old], *(start + first for first in last.starts[new:])),
            (*before.breaks[:old], *last.breaks[new:]),
            max(final, start + last.final) if len(self.stacks) >= self._first else 0,
        )


def judge_stacks(
    entries: Sequence[StackEntry], records: Sequence[StackRecord], settings: Settings
) -> list[JudgedStack]:
    """Decide for all stacks of a session, in order of time, which are usable as neighbors."""
    judged = JudgedStacks(settings)
    judged.update([*zip(entries, records, strict=True)])
    return judged.stacks


def spread_beyond_counting(record: StackRecord) -> float | None:
    """Return how much pixels of a stack's sum differ beyond counting noise, relative to the mean; it is large
    without a gain.

    It is sqrt(max(0, sigma^2 - mean)) / mean, with sigma of the fit to the histogram of the sum. The center
    of that fit is near the median, which lies below the mean of few counts.
    """
    mean, sigma = record.mean, record.outliers["sigma"]
    if record.status != "ok" or not mean > 0:
        return None
    return float(np.sqrt(max(0.0, sigma**2 - mean)) / mean)

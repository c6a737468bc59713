"""Sums all stacks of a session on a client, and keeps their sums and records in the session store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from statistics import median
from typing import Any, ClassVar

from mrcz_dask.correction.judged_stacks import RAW_SPREAD, JudgedStack, JudgedStacks, spread_beyond_counting
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.sum_stack import StackSums, mask_stack, sum_stack
from mrcz_dask.correction.tasks import SumTask, output_name
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Loop, Step, Task, Timed, attempt
from mrcz_dask.gain.options import stated_exposure
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values import messages
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.records import DamagedSum, Failure, StackRecord, Summed
from mrcz_dask.values.texts import some


class SumJob:
    """Chooses the tasks that sum a session's stacks; stacks with a sound record from an earlier run are
    skipped.

    Parameters
    ----------
    plan
        Plan over the stacks that are there.
    listen
        Gets the messages.

    Attributes
    ----------
    plan
        Plan over the stacks that are there by now.
    """

    phases: ClassVar[tuple[str, ...]] = (messages.SUMS,)

    def __init__(self, plan: Plan, listen: messages.Listener) -> None:
        self.plan, self._listen = plan, listen
        self._records: dict[str, tuple[StackEntry, StackRecord]] = {}
        self._failed: dict[str, tuple[StackEntry, Failure]] = {}
        self._summing: dict[str, StackEntry] = {}
        self._correcting: dict[str, str] = {}
        self._damaged: set[str] = set()  # stems of stacks that are summed again
        self._summed_again: set[str] = set()
        self._generation = 0
        self._news = True
        announce(plan, listen)

    @property
    def failures(self) -> list[Failure]:
        """The stacks that could not be summed."""
        return [failure for _, failure in self._failed.values()]

    def ready(self) -> Iterable[Task]:
        """Return the tasks that sum stacks without a record."""
        return self._sums()

    def over(self) -> bool:
        """Return True: once every stack is summed or has failed, no more tasks will come."""
        return True

    def take(self, task: Task, timed: Timed[Any]) -> None:
        """Keep the record that a sum task returned, or its failure, and send a message about it."""
        name, result = task.argument.name, timed.result
        entry = self._summing.pop(name)
        self._news = True
        if isinstance(result, Failure):
            self._failed[name] = entry, result
            self._listen(messages.StackFailed(task.phase, name, result.reason, entry.size, timed.timing))
        else:
            self._records[name] = entry, result
            summed = Summed.of(result, kept=False)
            self._listen(messages.StackDone(task.phase, name, entry.size, timed.timing, summed))
        if not self._summing:
            self._listen(messages.PhaseFinished(messages.SUMS))

    def sum_again(self, failure: DamagedSum) -> bool:
        """Have a stack summed again whose sum is damaged, once in a run; return whether that is to come."""
        stem = failure.stem
        if stem not in self._summed_again:
            self._summed_again.add(stem)
            self._damaged.add(stem)
            self._listen(messages.Warned(f"{failure.reason.partition(';')[0]}; {stem} is summed again"))
        self._news = True
        return stem in self._damaged

    def all_known(self) -> bool:
        """Return whether each stack has been summed or has failed."""
        return all(map(self._known, self.plan.stacks))

    def known_stacks(self) -> list[tuple[StackEntry, StackRecord]]:
        """Return summed stacks and their records, in order of time, up to the first not yet summed."""
        known = takewhile(self._known, self.plan.stacks)
        return [self._records[entry.name] for entry in known if entry.name in self._records]

    def _known(self, entry: StackEntry) -> bool:
        """Whether a stack, as its file is now, has a record or has failed."""
        known = self._records.get(entry.name) or self._failed.get(entry.name)
        return known is not None and known[0] == entry and entry.stem not in self._damaged

    def _sums(self) -> Iterator[Task]:
        """Yield the sums that are neither known nor under way.

        The sum of a stack whose file has changed, or whose sum is damaged, waits for the corrections under
        way, which may read the old one.
        """
        new = [
            (k, entry)
            for k, entry in enumerate(self.plan.stacks)
            if not (self._known(entry) or entry.name in self._summing)
            and not (self._correcting and entry.name in self._records)
        ]
        if not new:
            return
        store, listen, size = SessionStore(self.plan.store), self._listen, sum(e.size for _, e in new)
        for phase in self.phases:
            listen(messages.PhaseStarted(phase, len(new), size))
        for k, entry in new:
            # windows that hold the old sum must not be advanced: it is no longer there to be taken out
            self._generation += self._records.pop(entry.name, None) is not None
            self._failed.pop(entry.name, None)
            record = None if entry.stem in self._damaged else known_record(self.plan, store, entry)
            self._news = True
            self._damaged.discard(entry.stem)
            if record is None:
                self._summing[entry.name] = entry
                task = sum_task(self.plan, entry)
                step = Step("sum-stack", _sum, task, chain=None)
                yield Task("mask-stack", messages.SUMS, _mask, task, len(self.plan.stacks) + k, step)
            else:
                self._records[entry.name] = entry, record
                summed = Summed.of(record, kept=True)
                listen(messages.StackDone(messages.SUMS, entry.name, entry.size, None, summed))
        if not self._summing:
            listen(messages.PhaseFinished(messages.SUMS))


def _sum(before: None, task: SumTask) -> StackSums | Failure:
    return attempt(sum_stack, messages.SUMS, task)


def _mask(task: SumTask, sums: StackSums | Failure) -> StackRecord | Failure:
    return sums if isinstance(sums, Failure) else mask_stack(task, sums)


def sum_session(plan: Plan, client: Client, listen: messages.Listener) -> tuple[list[JudgedStack], SumJob]:
    """Sum and judge the stacks of a session; return them in order of time, and the job that summed them."""
    open_store(plan)
    announce_gain(plan, listen)
    job = SumJob(plan, listen)
    Loop(client).run(job)
    judged = JudgedStacks(plan.settings)
    judged.update(job.known_stacks())
    warn_of_session(judged.stacks, listen)
    return judged.stacks, job


def open_store(plan: Plan) -> SessionStore:
    """Create output folder and session store where missing, with the plan's gain; return the store."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    store = SessionStore(plan.store)
    store.create()
    if plan.gain is not None:
        store.put_gain(plan.gain.params.gain, plan.gain.gain, plan.gain.about)
    return store


def sum_task(plan: Plan, entry: StackEntry) -> SumTask:
    """Build the task that sums one stack of a plan."""
    exposure = stated_exposure(entry.mdoc) if plan.settings.gain.by_rate else None
    return SumTask(str(entry.path), entry.name, entry.stem, str(plan.store), plan.settings, exposure)


def known_record(plan: Plan, store: SessionStore, entry: StackEntry) -> StackRecord | None:
    """Return an earlier run's record of a stack; None if it is damaged, or file or parameters changed."""
    record = None
    with suppress(DamagedError):
        record = store.record(entry.stem)
    if record is None or not store.is_whole("histograms", entry.stem):
        return None
    now = (entry.name, entry.size, entry.mtime_ns, sum_task(plan, entry).made_with)
    return record if (record.name, record.size, record.mtime_ns, record.made_with) == now else None


def announce(plan: Plan, listen: messages.Listener) -> None:
    """Send a message for each stack of a plan, and for each file that was left out."""
    for entry in plan.stacks:
        when, output = entry.acquired, output_name(entry.stem, plan.settings.write)
        listen(messages.StackFound(entry.name, output, when.time.isoformat(sep=" "), when.source, entry.size))
    discovery = plan.discovery
    for rejected, files in ((False, discovery.skipped), (True, discovery.rejected)):
        for file in files:
            listen(messages.StackLeftOut(discovery.name_of(file.path), file.reason, rejected=rejected))


def announce_gain(plan: Plan, listen: messages.Listener) -> None:
    """Send messages that describe the gain, dark and defects of a plan, if it has any, with their caveats."""
    if plan.gain is not None:
        for text in plan.gain.lines():
            listen(messages.Noted(text))
        for text in plan.gain.caveats:
            listen(messages.Warned(text))


def warn_of_session(stacks: Sequence[JudgedStack], listen: messages.Listener) -> None:
    """Send messages about groups and copies of stacks, and about frames that seem to lack a gain."""
    names = [stack.entry.name for stack in stacks]
    sizes = Counter(group for stack in stacks for group in stack.groups)
    if groups := [group.name for group, size in sizes.items() if size > 1]:
        listen(
            messages.Noted(
                f"{len(groups)} group{'s' * (len(groups) > 1)} of stacks that show the same specimen, and do "
                f"not correct each other: {some(groups)}"
            )
        )
    copies = [
        f"{names[k]} (as {some([names[j] for j in stack.copies], 2)})"
        for k, stack in enumerate(stacks)
        if stack.original is not None
    ]
    if copies:
        listen(
            messages.Warned(
                f"stacks that hold the same data as others: {some(copies)}; copies count as one neighbor, "
                "and do not correct each other"
            )
        )
    counted = [stack.record for stack in stacks if stack.record.exponent == 0]
    spreads = [s for record in counted if (s := spread_beyond_counting(record)) is not None]
    if spreads and (spread := median(spreads)) > RAW_SPREAD:
        listen(
            messages.Warned(
                f"these look like raw frames: pixels of a sum differ by {spread:.0%} beyond counting, "
                "and no gain reference was applied; apply it before KOMA"
            )
        )

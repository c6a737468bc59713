"""Sums of all stacks of a session: the first task over each, and the records that they leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, ClassVar

from mrcz_dask.correction.assess import AssessedStack, Assessment, looks_raw
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.sum_stack import StackSums, mask_stack, sum_stack
from mrcz_dask.correction.tasks import SumTask, made_with, output_name
from mrcz_dask.engine.attempt import Timed, attempt
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Loop, Step, Task
from mrcz_dask.gain.options import stated_exposure
from mrcz_dask.gain.prepared import PreparedGain
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values import messages
from mrcz_dask.values.records import Failure, StackRecord, Summed
from mrcz_dask.values.sizes import some


class SumJob:
    """Sums the stacks of a session that have no record yet.

    Parameters
    ----------
    plan
        Over the stacks that are there.
    listen
        Is told what happens.

    Attributes
    ----------
    plan
        Over the stacks that are there by now.
    """

    phases: ClassVar[tuple[str, ...]] = (messages.SUMS,)

    def __init__(self, plan: Plan, listen: messages.Listener) -> None:
        self.plan, self._listen = plan, listen
        self._records: dict[str, tuple[StackEntry, StackRecord]] = {}
        self._failed: dict[str, tuple[StackEntry, Failure]] = {}
        self._summing: dict[str, StackEntry] = {}
        self._correcting: dict[str, str] = {}
        self._generation = 0
        self._news = True
        announce(plan, listen)

    @property
    def failures(self) -> list[Failure]:
        """The stacks that could not be summed."""
        return [found for _, found in self._failed.values()]

    def ready(self) -> Iterable[Task]:
        """Return the sums of stacks that have no record."""
        return self._sums()

    def over(self) -> bool:
        """Return whether nothing is left."""
        return True

    def take(self, task: Task, made: Timed[Any]) -> None:
        """Take in the record of a stack, or its failure."""
        name, found = task.argument.name, made.result
        entry = self._summing.pop(name)
        self._news = True
        if isinstance(found, Failure):
            self._failed[name] = entry, found
            self._listen(messages.StackFailed(task.phase, name, found.reason, entry.size, made.timing))
        else:
            self._records[name] = entry, found
            told = Summed.of(found, kept=False)
            self._listen(messages.StackDone(task.phase, name, entry.size, made.timing, told))
        if not self._summing:
            self._listen(messages.PhaseFinished(messages.SUMS))

    def all_known(self) -> bool:
        """Return whether each stack has a record, or cannot have one."""
        return all(map(self._known, self.plan.stacks))

    def known_stacks(self) -> list[tuple[StackEntry, StackRecord]]:
        """Return the stacks that have a record, in order of time, up to the first that is being summed."""
        known = takewhile(self._known, self.plan.stacks)
        return [self._records[entry.name] for entry in known if entry.name in self._records]

    def _sums(self) -> Iterator[Task]:
        """Yield the sums that are neither known nor under way.

        One that is made again waits for the corrections under way, which may read the one that is there.
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
            # windows that hold the sum of before must not be advanced: it is no longer there to take out
            self._generation += self._records.pop(entry.name, None) is not None
            self._failed.pop(entry.name, None)
            record, self._news = known_record(self.plan, store, entry), True
            if record is None:
                self._summing[entry.name] = entry
                task = sum_task(self.plan, entry)
                step = Step("sum-stack", _sum, task, chain=None)
                yield Task("mask-stack", messages.SUMS, _mask, task, len(self.plan.stacks) + k, step)
            else:
                self._records[entry.name] = entry, record
                found = Summed.of(record, kept=True)
                listen(messages.StackDone(messages.SUMS, entry.name, entry.size, None, found))
        if not self._summing:
            listen(messages.PhaseFinished(messages.SUMS))

    def _known(self, entry: StackEntry) -> bool:
        """Whether a stack, as its file is now, has a record or cannot have one."""
        found = self._records.get(entry.name) or self._failed.get(entry.name)
        return found is not None and found[0] == entry


def _sum(before: None, task: SumTask) -> StackSums | Failure:
    return attempt(sum_stack, messages.SUMS, task)


def _mask(task: SumTask, read: StackSums | Failure) -> StackRecord | Failure:
    return read if isinstance(read, Failure) else mask_stack(task, read)


def sum_session(
    plan: Plan, client: Client, listen: messages.Listener
) -> tuple[list[AssessedStack], list[Failure]]:
    """Sum the stacks of a session; return them in order of time, with verdicts, and the failures."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    store = SessionStore(plan.store)
    store.create()
    if plan.gain is not None:
        store.put_gain(plan.gain.params.gain, plan.gain.gain, plan.gain.about)
        tell_of(plan.gain, listen)
    job = SumJob(plan, listen)
    Loop(client).run(job)
    assessment = Assessment(plan.settings)
    assessment.update(job.known_stacks())
    warn_of_session(assessment.ready, listen)
    return assessment.ready, job.failures


def warn_of_session(ready: Sequence[AssessedStack], listen: messages.Listener) -> None:
    """Warn of copies of the same data, and of stacks that look as if no gain reference had been applied."""
    names = [one.entry.name for one in ready]
    copies = [
        f"{names[j]} (as {some([names[k] for k in one.copies], 2)})"
        for j, one in enumerate(ready)
        if one.original is not None
    ]
    if copies:
        listen(
            messages.Warned(
                f"stacks that hold the same data as others: {some(copies)}; copies count as one neighbour, "
                "and do not correct each other"
            )
        )
    spread = looks_raw(ready)
    if spread is not None:
        listen(
            messages.Warned(
                f"these look like raw frames: pixels of a sum differ by {spread:.0%} beyond counting, "
                "and no gain reference was applied; apply it before KOMA"
            )
        )


def tell_of(gain: PreparedGain, listen: messages.Listener) -> None:
    """Tell what is applied to the frames before all else."""
    for text in gain.lines():
        listen(messages.Noted(text))
    for text in gain.caveats:
        listen(messages.Warned(text))


def announce(plan: Plan, listen: messages.Listener) -> None:
    """Tell of the stacks of a plan, and of what was left out."""
    for entry in plan.stacks:
        when = entry.acquired
        name, output = entry.name, output_name(entry.stem, plan.settings.write)
        listen(messages.StackFound(name, output, when.time.isoformat(sep=" "), when.source, entry.size))
    for skipped in plan.discovery.skipped:
        listen(messages.StackLeftOut(plan.discovery.name_of(skipped.path), skipped.reason, rejected=False))
    for rejected in plan.discovery.rejected:
        listen(messages.StackLeftOut(plan.discovery.name_of(rejected.path), rejected.reason, rejected=True))


def known_record(plan: Plan, store: SessionStore, entry: StackEntry) -> StackRecord | None:
    """Return the record of a stack from an earlier run, if nothing has changed since."""
    record = store.record(entry.stem)
    if record is None:
        return None
    now = (entry.name, entry.size, entry.mtime_ns, made_with(sum_task(plan, entry)))
    return record if (record.name, record.size, record.mtime_ns, record.made_with) == now else None


def sum_task(plan: Plan, entry: StackEntry) -> SumTask:
    """Return the task that sums a stack."""
    exposure = stated_exposure(entry.mdoc) if plan.settings.gain.by_rate else None
    return SumTask(str(entry.path), entry.name, entry.stem, str(plan.store), plan.settings, exposure)

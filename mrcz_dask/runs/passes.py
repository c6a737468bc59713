"""The two passes over stacks, on any executor: a record for each, then an output for each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TypeVar

from mrcz_dask.runs.attempt import Named, Timed, attempt, failure, timed
from mrcz_dask.runs.entries import StackEntry
from mrcz_dask.runs.executors import Executor, segments_of
from mrcz_dask.runs.finish import FinishTask, finish
from mrcz_dask.runs.flow import Split, halves
from mrcz_dask.runs.gain_options import stated_exposure
from mrcz_dask.runs.plan import Plan
from mrcz_dask.runs.prepare import PrepareTask, made_with, prepare
from mrcz_dask.runs.store import SessionStore
from mrcz_dask.runs.tasks import marked, recut
from mrcz_dask.values import events
from mrcz_dask.values.records import Failure, StackRecord, StackResult, Summed

T = TypeVar("T", bound=Named)
R = TypeVar("R", StackRecord, StackResult)


class Passes:
    """Carries tasks out; a stack that cannot be done is a failure of its own.

    Parameters
    ----------
    executor
        Where.
    listen
        Is told what happens.
    take_times
        Whether the events of stacks say where their time went.
    """

    def __init__(self, executor: Executor, listen: events.Listener, *, take_times: bool = False) -> None:
        self._executor = executor
        self._listen = listen
        self._take_times = take_times

    @property
    def windows(self) -> int:
        """How many windows a worker keeps."""
        return 2 * self._executor.threads

    def first(self, plan: Plan, stacks: Sequence[StackEntry]) -> tuple[dict[str, StackRecord], list[Failure]]:
        """Return the records of stacks by name: those that the store has, and those that are made."""
        store = SessionStore(plan.store)
        known = {e.name: r for e in stacks if (r := _known(plan, store, e)) is not None}
        sizes = {e.name: e.size for e in stacks}
        for name, record in known.items():
            found = Summed.of(record, kept=True)
            self._listen(events.StackDone(events.SUMS, name, sizes[name], None, found))
        tasks = [prepare_task(plan, e) for e in stacks if e.name not in known]
        segments = segments_of(tasks, self._executor.slots)
        made, failures = self._carry_out(prepare, events.SUMS, segments, halves, sizes)
        return known | {r.name: r for r in made}, failures

    def second(self, tasks: Sequence[FinishTask]) -> tuple[list[StackResult], list[Failure]]:
        """Return what the tasks give; their windows are kept under a name of this call."""
        run = uuid.uuid4().hex
        named = [replace(task, run=run, kept_windows=self.windows) for task in tasks]
        segments = [marked(k, s) for k, s in enumerate(segments_of(named, self._executor.slots))]
        split = partial(recut, count(len(segments)))
        sizes = {task.name: task.record.size for task in tasks}
        return self._carry_out(finish, events.CORRECTION, segments, split, sizes)

    def _carry_out(
        self,
        function: Callable[[T], R],
        phase: str,
        segments: Sequence[Sequence[T]],
        split: Split[T],
        sizes: dict[str, int],
    ) -> tuple[list[R], list[Failure]]:
        """Run the tasks of a phase; tell the listener about each."""
        names = [task.name for segment in segments for task in segment]
        if not names:
            return [], []
        self._listen(events.PhaseStarted(phase, len(names), sum(sizes[name] for name in names)))
        done: list[R] = []
        failures: list[Failure] = []
        work = partial(timed, partial(attempt, function, phase), self._take_times)
        for task, one in self._executor.run(work, segments, split):
            made = Timed(failure(task, phase, one), None) if isinstance(one, Exception) else one
            found, size = made.result, sizes[task.name]
            if isinstance(found, Failure):
                failures.append(found)
                self._listen(events.StackFailed(phase, task.name, found.reason, size, made.timing))
            else:
                done.append(found)
                self._listen(events.StackDone(phase, task.name, size, made.timing, _told(found)))
        self._listen(events.PhaseFinished(phase))
        return done, failures


def _told(found: StackRecord | StackResult) -> Summed | StackResult:
    return Summed.of(found, kept=False) if isinstance(found, StackRecord) else found


def _known(plan: Plan, store: SessionStore, entry: StackEntry) -> StackRecord | None:
    """Return the record of a stack from an earlier run, if nothing has changed since."""
    record = store.record(entry.stem)
    if record is None:
        return None
    now = (entry.name, entry.size, entry.mtime_ns, made_with(prepare_task(plan, entry)))
    return record if (record.name, record.size, record.mtime_ns, record.made_with) == now else None


def prepare_task(plan: Plan, entry: StackEntry) -> PrepareTask:
    """Return the task of the first pass over a stack."""
    exposure = stated_exposure(entry.mdoc) if plan.settings.gain.by_rate else None
    return PrepareTask(str(entry.path), entry.name, entry.stem, str(plan.store), plan.settings, exposure)

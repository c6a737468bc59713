"""The main job: sums and masks of all stacks, then the correction of each, on any executor."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, TypeVar

from mrcz_dask.runs.attempt import Named, Timed, attempt, failure, timed
from mrcz_dask.runs.entries import StackEntry
from mrcz_dask.runs.executors import Executor, segments_of
from mrcz_dask.runs.finish import FinishTask, finish
from mrcz_dask.runs.flow import Split, halves
from mrcz_dask.runs.journal import append_run
from mrcz_dask.runs.keeping import kept_result
from mrcz_dask.runs.plan import Plan
from mrcz_dask.runs.prepare import PrepareTask, made_with, prepare
from mrcz_dask.runs.store import SessionStore
from mrcz_dask.runs.tasks import Ready, finish_tasks, judged, looks_raw, marked, recut
from mrcz_dask.values import events
from mrcz_dask.values.records import Failure, StackRecord, StackResult

T = TypeVar("T", bound=Named)
R = TypeVar("R", StackRecord, StackResult)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did.

    Attributes
    ----------
    plan
        What it set out to do.
    results
        Of the stacks that are done, in order of acquisition.
    failures
        Of the stacks that could not be, in order of acquisition.
    """

    plan: Plan
    results: tuple[StackResult, ...]
    failures: tuple[Failure, ...]

    @property
    def complete(self) -> bool:
        """Whether every file that should have been a stack was processed."""
        return not self.failures and not self.plan.discovery.rejected

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        found = self.plan.discovery
        return {
            "session": str(found.folder),
            "output": str(self.plan.folder),
            "settings": self.plan.settings.to_dict(),
            "results": [r.to_dict() for r in self.results],
            "failures": [f.to_dict() for f in self.failures],
            "rejected": [{"name": r.path.name, "reason": r.reason} for r in found.rejected],
            "skipped": [{"name": s.path.name, "reason": s.reason} for s in found.skipped],
            "warnings": list(found.warnings),
        }


class Run:
    """One run of a plan.

    Parameters
    ----------
    plan
        What to do.
    executor
        Where.
    listen
        Is told what happens.
    take_times
        Whether the events of stacks say where their time went.
    """

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        listen: events.Listener = events.silent,
        *,
        take_times: bool = False,
    ) -> None:
        self._plan = plan
        self._executor = executor
        self._listen = listen
        self._take_times = take_times
        self._store = SessionStore(plan.store)
        self._sizes = {entry.name: entry.size for entry in plan.stacks}

    def execute(self) -> Outcome:
        """Carry the plan out; a stack that cannot be done is a failure of its own.

        Raises
        ------
        MrczDaskError, OSError
            When nothing can be done at all: no output folder, no store.
        """
        self._plan.folder.mkdir(parents=True, exist_ok=True)
        self._store.create()
        ready, failures = self._first_pass()
        results, more = self._second_pass(ready)
        place = {entry.name: k for k, entry in enumerate(self._plan.stacks)}
        outcome = Outcome(
            self._plan,
            tuple(sorted(results, key=lambda r: place[r.name])),
            tuple(sorted([*failures, *more], key=lambda f: place[f.name])),
        )
        self._write_journal(outcome)
        return outcome

    def _write_journal(self, outcome: Outcome) -> None:
        path = self._plan.folder / "runs.jsonl"
        try:
            append_run(path, outcome.to_dict(), self._executor.describe())
        except OSError as error:  # the stacks are done; only the time and place of this run are not kept
            self._listen(events.Warned(f"{path}: cannot be written ({error.strerror or error})"))

    def _first_pass(self) -> tuple[list[Ready], list[Failure]]:
        known = {e.name: r for e in self._plan.stacks if (r := self._known(e)) is not None}
        tasks = [self._prepare_task(e) for e in self._plan.stacks if e.name not in known]
        made, failures = self._carry_out(
            prepare, "sums and masks", segments_of(tasks, self._executor.slots), halves
        )
        records = known | {r.name: r for r in made}
        entries = [e for e in self._plan.stacks if e.name in records]
        ready = judged(entries, [records[e.name] for e in entries], self._plan.settings)
        spread = looks_raw(ready)
        if spread is not None:
            self._listen(
                events.Warned(
                    f"these look like raw frames: pixels of a sum differ by {spread:.0%} beyond counting, "
                    "and no gain reference was applied; apply it before KOMA"
                )
            )
        return ready, failures

    def _known(self, entry: StackEntry) -> StackRecord | None:
        """Return the record of a stack from an earlier run, if nothing has changed since."""
        record = self._store.record(entry.stem)
        if record is None:
            return None
        now = (entry.name, entry.size, entry.mtime_ns, made_with(self._prepare_task(entry)))
        return record if (record.name, record.size, record.mtime_ns, record.made_with) == now else None

    def _prepare_task(self, entry: StackEntry) -> PrepareTask:
        settings = self._plan.settings
        path, store = str(entry.path), str(self._plan.store)
        return PrepareTask(path, entry.name, entry.stem, store, settings.outliers, settings.contrast)

    def _second_pass(self, ready: list[Ready]) -> tuple[list[StackResult], list[Failure]]:
        kept: list[StackResult] = []
        refused: list[Failure] = []
        todo: list[FinishTask] = []
        for task in finish_tasks(self._plan, ready, uuid.uuid4().hex, 2 * self._executor.threads):
            found = None if self._plan.overwrite else attempt(kept_result, "existing output", task)
            if isinstance(found, Failure):
                refused.append(found)
            elif found is None:
                todo.append(task)
            else:
                kept.append(found)
        segments = [marked(k, s) for k, s in enumerate(segments_of(todo, self._executor.slots))]
        split = partial(recut, count(len(segments)))
        made, failures = self._carry_out(finish, "correction", segments, split)
        return [*kept, *made], [*refused, *failures]

    def _carry_out(
        self, function: Callable[[T], R], phase: str, segments: Sequence[Sequence[T]], split: Split[T]
    ) -> tuple[list[R], list[Failure]]:
        """Run the tasks of a phase; tell the listener about each."""
        tasks = [task for segment in segments for task in segment]
        size = sum(self._sizes[t.name] for t in tasks)
        self._listen(events.PhaseStarted(phase, len(tasks), size))
        done: list[R] = []
        failures: list[Failure] = []
        work = partial(timed, partial(attempt, function, phase), self._take_times)
        for task, one in self._executor.run(work, segments, split):
            made = Timed(failure(task, phase, one), None) if isinstance(one, Exception) else one
            found, nbytes = made.result, self._sizes[task.name]
            if isinstance(found, Failure):
                failures.append(found)
                self._listen(events.StackFailed(phase, task.name, found.reason, nbytes, made.timing))
            else:
                done.append(found)
                self._listen(events.StackDone(phase, task.name, nbytes, made.timing))
        self._listen(events.PhaseFinished(phase))
        return done, failures

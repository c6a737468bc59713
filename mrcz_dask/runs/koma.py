"""The main job: sums and masks of all stacks, then the correction of each, on any executor."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mrcz_dask import __version__
from mrcz_dask.runs.attempt import failure
from mrcz_dask.runs.executors import Executor
from mrcz_dask.runs.finish import FinishTask
from mrcz_dask.runs.gains import PreparedGain
from mrcz_dask.runs.keeping import Due, kept_result
from mrcz_dask.runs.logbook import Logbook, last_results, read_events
from mrcz_dask.runs.manifest import Manifest
from mrcz_dask.runs.outputs import output_name
from mrcz_dask.runs.passes import Passes
from mrcz_dask.runs.plan import Plan
from mrcz_dask.runs.segments import find_segments
from mrcz_dask.runs.space import some
from mrcz_dask.runs.store import SessionStore
from mrcz_dask.runs.tasks import Ready, finish_tasks, judged, looks_raw
from mrcz_dask.values import events
from mrcz_dask.values.errors import MrczDaskError
from mrcz_dask.values.records import Failure, StackRecord, StackResult

KEEPING = "existing output"


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
        return self.not_done == 0

    @property
    def not_done(self) -> int:
        """How many files that should have been stacks were not processed."""
        return len(self.failures) + len(self.plan.discovery.rejected)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        found = self.plan.discovery
        return {
            "session": str(found.folder),
            "output": str(self.plan.folder),
            "settings": self.plan.settings.to_dict(),
            "results": [r.to_dict() for r in self.results],
            "failures": [f.to_dict() for f in self.failures],
            "rejected": [{"name": found.name_of(r.path), "reason": r.reason} for r in found.rejected],
            "skipped": [{"name": found.name_of(s.path), "reason": s.reason} for s in found.skipped],
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

    def execute(self) -> Outcome:
        """Carry the plan out; a stack that cannot be done is a failure of its own.

        Raises
        ------
        MrczDaskError, OSError
            When nothing can be done at all: no output folder, no store.
        """
        with started(self._plan, self._executor, self._listen) as log:
            announce(self._plan, log.listen)
            passes = Passes(self._executor, log.listen, take_times=self._take_times)
            records, failures = passes.first(self._plan, self._plan.stacks)
            ready = ready_stacks(self._plan, records)
            warn_of_session(ready, log.listen)
            segments = find_segments(ready, self._plan.settings.koma)
            for one in segments.breaks:
                log.listen(events.Noted(str(one)))
            tasks = [*finish_tasks(self._plan, ready, segments)]
            kept, refused, due = sort_out(self._plan, tasks, log)
            results, more = passes.second(due)
            return log.end(in_order(self._plan, [*kept, *results], [*failures, *refused, *more]))


@dataclass(slots=True)
class Log:
    """What a run tells, what it knows of earlier ones, and what came out at the end.

    Attributes
    ----------
    listen
        Tells the logbook and whoever else listens.
    known
        The last result of every output.
    outcome
        None until the run is over.
    """

    listen: events.Listener
    known: dict[str, StackResult]
    outcome: Outcome | None = None

    def end(self, outcome: Outcome) -> Outcome:
        """Keep and return the outcome."""
        self.outcome = outcome
        return outcome


@contextmanager
def started(plan: Plan, executor: Executor, listen: events.Listener) -> Iterator[Log]:
    """Make the output folder and the store, open the logbook, and tell it of the beginning and the end."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    store = SessionStore(plan.store)
    store.create()
    if plan.gain is not None:
        store.put_gain(plan.gain.params.gain, plan.gain.gain, plan.gain.about)
    known = last_results(read_events(plan.folder))
    manifest = Manifest(plan.folder, known.values(), listen)
    log = Log(events.several(Logbook(plan.folder, listen), manifest, listen), known)
    log.listen(
        events.RunStarted(
            version=__version__,
            session=str(plan.discovery.folder),
            output=str(plan.folder),
            settings=plan.settings.to_dict(),
            executor=executor.describe(),
            platform=f"Python {platform.python_version()}, {platform.platform()}",
        )
    )
    if plan.gain is not None:
        tell_of(plan.gain, log.listen)
    try:
        yield log
    except BaseException as error:
        by = {KeyboardInterrupt: "Ctrl-C", SystemExit: f"signal {error}"}.get(type(error), str(error))
        log.listen(events.RunFinished(0, 0, by or type(error).__name__))
        raise
    if log.outcome is not None:
        log.listen(events.RunFinished(len(log.outcome.results), log.outcome.not_done))


def tell_of(gain: PreparedGain, listen: events.Listener) -> None:
    """Tell what is applied to the frames before all else."""
    for text in gain.lines():
        listen(events.Noted(text))
    for text in gain.caveats:
        listen(events.Warned(text))


def announce(plan: Plan, listen: events.Listener) -> None:
    """Tell of the stacks of a plan, and of what was left out."""
    for entry in plan.stacks:
        when = entry.acquired
        name, output = entry.name, output_name(entry.stem, plan.settings.write)
        listen(events.StackFound(name, output, when.time.isoformat(sep=" "), when.source, entry.size))
    for skipped in plan.discovery.skipped:
        listen(events.StackLeftOut(plan.discovery.name_of(skipped.path), skipped.reason, rejected=False))
    for rejected in plan.discovery.rejected:
        listen(events.StackLeftOut(plan.discovery.name_of(rejected.path), rejected.reason, rejected=True))


def ready_stacks(plan: Plan, records: dict[str, StackRecord]) -> list[Ready]:
    """Return the stacks that have a record, in order of time, with the verdict on each."""
    entries = [e for e in plan.stacks if e.name in records]
    return judged(entries, [records[e.name] for e in entries], plan.settings)


def warn_of_session(ready: Sequence[Ready], listen: events.Listener) -> None:
    """Warn of copies of the same data, and of stacks that look as if no gain reference had been applied."""
    names = [one.entry.name for one in ready]
    copies = [
        f"{names[j]} (as {some([names[k] for k in one.copies], 2)})"
        for j, one in enumerate(ready)
        if one.original is not None
    ]
    if copies:
        listen(
            events.Warned(
                f"stacks that hold the same data as others: {some(copies)}; copies count as one neighbour, "
                "and do not correct each other"
            )
        )
    spread = looks_raw(ready)
    if spread is not None:
        listen(
            events.Warned(
                f"these look like raw frames: pixels of a sum differ by {spread:.0%} beyond counting, "
                "and no gain reference was applied; apply it before KOMA"
            )
        )


def sort_out(
    plan: Plan, tasks: Sequence[FinishTask], log: Log
) -> tuple[list[StackResult], list[Failure], list[FinishTask]]:
    """Return what is kept of earlier runs, what must not be replaced, and what is to be done."""
    kept: list[StackResult] = []
    refused: list[Failure] = []
    due: list[FinishTask] = []
    for task in tasks:
        output, size = output_name(task.record.stem, plan.settings.write), task.record.size
        try:
            found = kept_result(task, log.known.get(output), overwrite=plan.overwrite)
        except (MrczDaskError, OSError) as error:
            refused.append(failure(task, KEEPING, error))
            log.listen(events.StackFailed(KEEPING, task.name, refused[-1].reason, size))
            continue
        if isinstance(found, Due):
            due.append(task)
            log.listen(events.StackDue(task.name, found.reason))
        else:
            kept.append(found)
            log.listen(events.StackDone(events.CORRECTION, task.name, size, None, found))
    return kept, refused, due


def in_order(plan: Plan, results: Sequence[StackResult], failures: Sequence[Failure]) -> Outcome:
    """Return the outcome, in order of acquisition."""
    place = {entry.name: k for k, entry in enumerate(plan.stacks)}
    return Outcome(
        plan,
        tuple(sorted(results, key=lambda r: place[r.name])),
        tuple(sorted(failures, key=lambda f: place[f.name])),
    )

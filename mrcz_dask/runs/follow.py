"""Following the microscope: the main job on a folder that grows, to the same bytes as on the finished one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from mrcz_dask.runs.entries import Discovery, Rejected, StackEntry
from mrcz_dask.runs.executors import Executor
from mrcz_dask.runs.finish import FinishTask
from mrcz_dask.runs.koma import (
    Log,
    Outcome,
    announce,
    in_order,
    ready_stacks,
    sort_out,
    started,
    warn_of_session,
)
from mrcz_dask.runs.passes import Passes
from mrcz_dask.runs.plan import Plan
from mrcz_dask.runs.segments import find_segments
from mrcz_dask.runs.tasks import finish_tasks, more_until_final
from mrcz_dask.runs.watching import Seen, Watcher
from mrcz_dask.values import events
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.records import Break, Failure, StackRecord, StackResult
from mrcz_dask.values.stopping import check_stop

# Stacks that one round takes into a pass at most, for each slot: what has come meanwhile waits no longer.
ROUND = 4


@dataclass(frozen=True, slots=True)
class FollowParams:
    """How a folder is followed.

    Attributes
    ----------
    settle
        Seconds without a change after which a stack is taken.
    poll
        Seconds between looks at the folder.
    until_idle
        Seconds without anything new after which the session is taken as finished; None = until it is stopped.
    provisional
        Write a first result of each stack as soon as it is there, from the stacks before it.
    """

    settle: float = 60.0
    poll: float = 5.0
    until_idle: float | None = None
    provisional: bool = False

    def __post_init__(self) -> None:
        for name in ("settle", "poll", "until_idle"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ParameterError(f"{name} is {value}; expected seconds, not negative")


@dataclass(slots=True)
class _Found:
    """What the run knows: records, failures, results by name, what made them; breaks that were told of."""

    records: dict[str, tuple[StackEntry, StackRecord]] = field(default_factory=dict)
    failed: dict[str, tuple[StackEntry, Failure]] = field(default_factory=dict)
    results: dict[str, StackResult] = field(default_factory=dict)
    refused: dict[str, tuple[str, Failure]] = field(default_factory=dict)
    breaks: set[Break] = field(default_factory=set)


def first_stacks(
    watcher: Watcher, params: FollowParams, stop: threading.Event, listen: events.Listener, fewest: int = 1
) -> Discovery:
    """Return what is there as soon as there are `fewest` stacks, or what there is when no more come.

    Raises
    ------
    SessionError
        When none has come until `stop` is set, or for `until_idle`.
    """
    since, said = monotonic(), False
    while not stop.is_set():
        seen = watcher.look()
        found = seen.discovery
        if len(found.stacks) >= fewest:
            return found
        if not said:
            there = f"{len(found.stacks)} of {fewest} stacks" if fewest > 1 else "no stack"
            listen(events.Warned(f"{watcher.folder}: {there} that has settled yet; waiting"))
            said = True
        if seen.unsettled:
            since = monotonic()
        if params.until_idle is not None and monotonic() - since >= params.until_idle:
            break
        stop.wait(params.poll)
    check_stop()
    found = watcher.look().discovery
    if found.stacks:
        return found
    raise SessionError(f"{watcher.folder}: no stack has come; check the folder, or use --recursive")


class Follow:
    """One run over a folder that grows.

    Parameters
    ----------
    watcher
        Looks at the folder.
    plan
        Over the stacks that were there first.
    executor
        Where.
    listen
        Is told what happens.
    params
        How.
    stop
        Set to end: what is there is finished.
    clock
        Seconds that only grow.
    """

    def __init__(
        self,
        watcher: Watcher,
        plan: Plan,
        executor: Executor,
        listen: events.Listener,
        params: FollowParams,
        stop: threading.Event,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._watcher, self._plan, self._executor = watcher, plan, executor
        self._listen, self._params, self._stop, self._clock = listen, params, stop, clock
        self._found = _Found()
        self._announced: dict[str, StackEntry] = {}
        self._left_out: set[Rejected] = set()
        self._waiting: events.Waiting | None = None

    def execute(self) -> Outcome:
        """Follow until it is stopped or idle, then finish what is there.

        Raises
        ------
        MrczDaskError, OSError
            When nothing can be done at all.
        """
        with started(self._plan, self._executor, self._listen) as log:
            passes = Passes(self._executor, log.listen)
            self._until_the_end(log, passes)
            return log.end(self._finish(log, passes))

    def _until_the_end(self, log: Log, passes: Passes) -> None:
        quiet_since, more = self._clock(), True
        while not self._stop.is_set():
            now = self._look(log)
            if now is not None:
                more |= self._take(now.discovery, log)
            if now is None or now.unsettled or more:
                quiet_since = self._clock()
            if more:
                more = self._round(log, passes)
            elif self._idle(quiet_since):
                return
            else:
                self._stop.wait(self._params.poll)

    def _idle(self, since: float) -> bool:
        limit = self._params.until_idle
        return limit is not None and self._clock() - since >= limit

    def _look(self, log: Log) -> Seen | None:
        """Return what is there; nothing while the folder cannot be read."""
        try:
            return self._watcher.look()
        except (OSError, SessionError) as error:
            log.listen(events.Warned(f"the session cannot be looked at ({error}); trying again"))
            self._stop.wait(self._params.poll)
            return None

    def _take(self, found: Discovery, log: Log) -> bool:
        """Go on with what is there now; tell of what is new; return whether anything has changed."""
        present = {e.name for e in found.stacks}
        gone = [e for e in self._plan.stacks if e.name not in present and self._stays(e, found)]
        stacks = sorted([*found.stacks, *gone], key=lambda entry: (entry.acquired.time, entry.name))
        now = replace(found, stacks=tuple(stacks))
        new = tuple(e for e in now.stacks if self._announced.get(e.name) != e)
        left_out = tuple(r for r in now.rejected if r not in self._left_out)
        self._plan = replace(self._plan, discovery=replace(now, stacks=new, rejected=left_out, skipped=()))
        announce(self._plan, log.listen)
        changed = bool(new or left_out) or len(now.stacks) != len(self._announced)
        self._announced = {e.name: e for e in now.stacks}
        self._left_out |= set(left_out)
        self._plan = replace(self._plan, discovery=now)
        return changed

    def _stays(self, entry: StackEntry, found: Discovery) -> bool:
        """Whether a stack whose file is gone stays in windows: its sum is there, and it was not renamed."""
        _, record = self._found.records.get(entry.name, (entry, None))
        if record is None or entry.path in {r.path for r in found.rejected}:
            return False
        others = (r for name, (_, r) in self._found.records.items() if name != entry.name)
        return all(other.digest != record.digest for other in others)

    def _round(self, log: Log, passes: Passes) -> bool:
        """Take some stacks through each pass; return whether there is more to do."""
        most = ROUND * self._executor.slots
        waiting = self._without_record()
        self._first(passes, waiting[:most])
        due = self._due(log, more_to_come=True)
        self._second(log, passes, due[:most])
        return len(waiting) > most or len(due) > most

    def _without_record(self) -> list[StackEntry]:
        known = {
            name: entry for name, (entry, _) in (*self._found.records.items(), *self._found.failed.items())
        }
        return [e for e in self._plan.stacks if known.get(e.name) != e]

    def _first(self, passes: Passes, stacks: Sequence[StackEntry]) -> None:
        if not stacks:
            return
        entries = {e.name: e for e in stacks}
        records, failures = passes.first(self._plan, stacks)
        for name in entries:
            self._found.records.pop(name, None)
            self._found.failed.pop(name, None)
        self._found.records |= {name: (entries[name], record) for name, record in records.items()}
        self._found.failed |= {f.name: (entries[f.name], f) for f in failures}

    def _due(self, log: Log, *, more_to_come: bool) -> list[FinishTask]:
        """Return the tasks whose outputs are not what they should be by now: provisional ones first."""
        records = {name: record for name, (_, record) in self._found.records.items()}
        ready = ready_stacks(self._plan, records)
        segments = find_segments(ready, self._plan.settings.koma)
        self._tell_breaks(segments.before(segments.decided) if more_to_come else segments.breaks, log)
        tasks = [*finish_tasks(self._plan, ready, segments, more_to_come=more_to_come)]
        waiting = next((k for k, task in enumerate(tasks) if task.provisional), None)
        if waiting is not None and not self._without_record():
            more = more_until_final(waiting, ready, segments, self._plan.settings.koma)
            self._tell_waiting(events.Waiting(tasks[waiting].name, waiting + 1, more), log)
        return sorted((t for t in tasks if self._wanted(t)), key=lambda task: not task.provisional)

    def _tell_waiting(self, waiting: events.Waiting, log: Log) -> None:
        if waiting != self._waiting:
            log.listen(waiting)
        self._waiting = waiting

    def _tell_breaks(self, breaks: Sequence[Break], log: Log) -> None:
        """Tell of breaks that have not been told of."""
        for one in breaks:
            if one not in self._found.breaks:
                log.listen(events.Noted(str(one)))
        self._found.breaks |= set(breaks)

    def _wanted(self, task: FinishTask) -> bool:
        there, refused = self._found.results.get(task.name), self._found.refused.get(task.name)
        if refused is not None and refused[0] == task.key:
            return False
        if task.provisional:
            return self._params.provisional and there is None
        return there is None or there.key != task.key

    def _second(self, log: Log, passes: Passes, tasks: Sequence[FinishTask]) -> None:
        kept, refused, due = sort_out(self._plan, tasks, log)
        results, failures = passes.second(due)
        keys = {task.name: task.key for task in tasks}
        self._found.results |= {one.name: one for one in (*kept, *results)}
        self._found.refused |= {f.name: (keys[f.name], f) for f in (*refused, *failures)}
        log.known |= {one.output: one for one in results}

    def _finish(self, log: Log, passes: Passes) -> Outcome:
        """Take what is there as the whole session; what failed is tried once more."""
        now = self._look(log)
        if now is not None:
            self._take(now.discovery, log)
        self._found.failed.clear()
        self._found.refused.clear()
        self._first(passes, self._without_record())
        ready = ready_stacks(self._plan, {name: record for name, (_, record) in self._found.records.items()})
        warn_of_session(ready, log.listen)
        self._second(log, passes, self._due(log, more_to_come=False))
        names = {e.name for e in self._plan.stacks}
        failures = [f for group in (self._found.failed, self._found.refused) for _, f in group.values()]
        failed = {f.name: f for f in failures if f.name in names}
        results = [r for n, r in self._found.results.items() if n in names and n not in failed]
        return in_order(self._plan, results, list(failed.values()))

"""Correlated noise of a session: every stack, sums over dose, and against the radius, on any executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Generic, Protocol, TypeVar

from mrcz_dask.runs.attempt import attempt, failure
from mrcz_dask.runs.executors import Executor, segments_of
from mrcz_dask.runs.finish import FinishTask
from mrcz_dask.runs.flow import Split, halves
from mrcz_dask.runs.koma import announce, ready_stacks, tell_of, warn_of_session
from mrcz_dask.runs.noise_kept import Kept
from mrcz_dask.runs.noise_pairs import PairTask, score_pairs
from mrcz_dask.runs.noise_report import NoiseReport, make_report
from mrcz_dask.runs.noise_results import NoiseParams, StackCurve, StackNoise, StackPairs
from mrcz_dask.runs.noise_tasks import CurveTask, score_curve, score_stack
from mrcz_dask.runs.noise_work import curve_tasks, pair_tasks, stack_tasks
from mrcz_dask.runs.passes import Passes
from mrcz_dask.runs.plan import Plan
from mrcz_dask.runs.store import SessionStore
from mrcz_dask.runs.tasks import Ready, marked, recut
from mrcz_dask.values import events
from mrcz_dask.values.records import Failure, Record

PHASES = {
    "stacks": "noise of stacks",
    "dose": "noise over dose",
    "radius": "noise over radius",
    "compare": "noise by method",
}


class Keyed(Protocol):
    """A task over one stack, with the digest of what its result depends on."""

    @property
    def name(self) -> str:
        """Of the stack, relative to the session."""
        ...

    @property
    def key(self) -> str:
        """Digest of what the result depends on."""
        ...

    @property
    def places(self) -> tuple[str, ...]:
        """What must be there."""
        ...


T = TypeVar("T", bound=Keyed)
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Part(Generic[T, R]):
    """One part of what is done.

    Attributes
    ----------
    name
        One of `PHASES`.
    function, kind
        What is done with each task, and what that gives.
    segments, split
        Its tasks that are not done yet, and how a segment is shared.
    """

    name: str
    function: Callable[[T], R]
    kind: type[R]
    split: Split[T] = halves


class Scoring:
    """A first pass over a session, whose store is shared, and then tasks over some of its stacks.

    Parameters
    ----------
    plan
        Session, settings, and the output folder, which has the session store and what is kept.
    executor
        Where.
    listen
        Is told what happens.
    """

    def __init__(self, plan: Plan, executor: Executor, listen: events.Listener = events.silent) -> None:
        self._plan, self._executor, self._listen = plan, executor, listen
        self._failures: list[Failure] = []
        self._sizes = {entry.name: entry.size for entry in plan.stacks}
        self._stems = {entry.name: entry.stem for entry in plan.stacks}

    def _first_pass(self) -> list[Ready]:
        """Return the stacks of the session in order of time; those that cannot be read are failures."""
        self._begin()
        records, failures = Passes(self._executor, self._listen).first(self._plan, self._plan.stacks)
        self._failures = list(failures)
        ready = ready_stacks(self._plan, records)
        warn_of_session(ready, self._listen)
        return ready

    def _begin(self) -> None:
        """Make the store, and put into it what is applied to the frames before all else."""
        plan = self._plan
        plan.folder.mkdir(parents=True, exist_ok=True)
        store = SessionStore(plan.store)
        store.create()
        if plan.gain is not None:
            store.put_gain(plan.gain.params.gain, plan.gain.gain, plan.gain.about)
            tell_of(plan.gain, self._listen)
        announce(plan, self._listen)

    def _cut(self, due: Sequence[T]) -> list[Sequence[T]]:
        return segments_of(due, self._executor.slots)

    def _carry_out(
        self,
        part: Part[T, R],
        tasks: Sequence[T],
        cut: Callable[[Sequence[T]], Sequence[Sequence[T]]],
    ) -> list[R]:
        """Return the results of tasks in their order: those that are known, and those that are made now."""
        kept = Kept(self._plan.folder, part.name, part.kind)
        found = {t.name: r for t in tasks if (r := kept.get(self._stems[t.name], t.key)) is not None}
        due = [task for task in tasks if task.name not in found]
        if due:
            phase, size = PHASES[part.name], sum(self._sizes[task.name] for task in due)
            self._listen(events.PhaseStarted(phase, len(due), size))
            for task, result in self._made(part, cut(due)):
                kept.put(self._stems[task.name], task.key, result)
                found[task.name] = result
            self._listen(events.PhaseFinished(phase))
        return [found[task.name] for task in tasks if task.name in found]

    def _made(self, part: Part[T, R], segments: Sequence[Sequence[T]]) -> Iterator[tuple[T, R]]:
        phase = PHASES[part.name]
        function: Callable[[T], R | Failure] = partial(attempt, part.function, phase)
        for task, one in self._executor.run(function, segments, part.split):
            result = failure(task, phase, one) if isinstance(one, Exception) else one
            size = self._sizes[task.name]
            if isinstance(result, Failure):
                self._failures.append(result)
                self._listen(events.StackFailed(phase, task.name, result.reason, size))
            else:
                self._listen(events.StackDone(phase, task.name, size))
                yield task, result


class NoiseRun(Scoring):
    """Scores the correlated noise of a session.

    Parameters
    ----------
    plan, executor, listen
        See `Scoring`.
    params
        How much is looked at.
    """

    def __init__(
        self, plan: Plan, params: NoiseParams, executor: Executor, listen: events.Listener = events.silent
    ) -> None:
        super().__init__(plan, executor, listen)
        self._params = params

    def execute(self) -> NoiseReport:
        """Score what is not known yet; a stack that cannot be scored is a failure of its own.

        Raises
        ------
        MrczDaskError, OSError
            When nothing can be done at all: no output folder, no store.
        """
        plan, params = self._plan, self._params
        ready = self._first_pass()
        tasks = stack_tasks(plan, ready, self._executor.threads)
        stacks = self._of_stacks(tasks) if "stacks" in params.parts else None
        over_dose = self._over_dose(ready) if "dose" in params.parts else None
        over_radius = self._over_radius(ready, tasks) if "radius" in params.parts else None
        return make_report(plan, params, ready, stacks, over_dose, over_radius, self._failures)

    def _of_stacks(self, tasks: Sequence[FinishTask]) -> list[StackNoise]:
        numbers = count(self._executor.slots)
        part: Part[FinishTask, StackNoise] = Part("stacks", score_stack, StackNoise, partial(recut, numbers))
        return self._carry_out(part, tasks, lambda due: [marked(*s) for s in enumerate(self._cut(due))])

    def _over_dose(self, ready: Sequence[Ready]) -> list[StackPairs]:
        part: Part[PairTask, StackPairs] = Part("dose", score_pairs, StackPairs)
        return self._carry_out(part, pair_tasks(self._plan, self._params, ready), self._cut)

    def _over_radius(self, ready: Sequence[Ready], stacks: Sequence[FinishTask]) -> list[StackCurve]:
        part: Part[CurveTask, StackCurve] = Part("radius", score_curve, StackCurve)
        return self._carry_out(part, curve_tasks(self._plan, self._params, ready, stacks), self._cut)

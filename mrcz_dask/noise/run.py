"""Correlated noise of a session: every stack, sums over dose, and against the radius, on any client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from mrcz_dask.correction.assess import AssessedStack
from mrcz_dask.correction.correct_stack import window_task
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.summing import sum_session
from mrcz_dask.correction.tasks import CorrectionTask
from mrcz_dask.correction.window_sums import CHAIN, advance_windows
from mrcz_dask.correction.windows import correction_tasks
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Step, Task, carry_out
from mrcz_dask.noise.kept import Kept
from mrcz_dask.noise.pairs import PairTask, score_pairs
from mrcz_dask.noise.report import NoiseReport, make_report
from mrcz_dask.noise.results import NoiseParams, StackCurve, StackNoise, StackPairs
from mrcz_dask.noise.tasks import CurveTask, score_curve, score_stack
from mrcz_dask.noise.work import curve_tasks, pair_tasks
from mrcz_dask.values import messages
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
    """One part of what is scored.

    Attributes
    ----------
    name
        One of `PHASES`.
    function, kind
        What is done with each task, and what that gives.
    step
        Gives the windows that the function gets beside its task; None = none.
    """

    name: str
    function: Callable[..., R]
    kind: type[R]
    step: Callable[[int, T], Step] | None = None


class Scoring:
    """Sums a session, whose store is shared, and then scores some of its stacks.

    Parameters
    ----------
    plan
        Session, settings, and the output folder, which has the session store and what is kept.
    client
        Where.
    listen
        Is told what happens.
    """

    def __init__(self, plan: Plan, client: Client, listen: messages.Listener = messages.silent) -> None:
        self._plan, self._client, self._listen = plan, client, listen
        self._failures: list[Failure] = []
        self._sizes = {entry.name: entry.size for entry in plan.stacks}
        self._stems = {entry.name: entry.stem for entry in plan.stacks}

    def _summed(self) -> list[AssessedStack]:
        """Return the stacks of the session in order of time; those that cannot be read are failures."""
        ready, self._failures = sum_session(self._plan, self._client, self._listen)
        return ready

    def _carry_out(self, part: Part[T, R], tasks: Sequence[T]) -> list[R]:
        """Return the results of tasks in their order: those that are known, and those that are made now."""
        kept, phase = Kept(self._plan.folder, part.name, part.kind), PHASES[part.name]
        found = {t.name: r for t in tasks if (r := kept.get(self._stems[t.name], t.key)) is not None}
        due = [(k, task) for k, task in enumerate(tasks) if task.name not in found]
        if not due:
            return list(found.values())

        self._listen(messages.PhaseStarted(phase, len(due), sum(self._sizes[task.name] for _, task in due)))
        name = f"score-{part.name}"
        to_do = [Task(name, phase, part.function, t, k, part.step and part.step(k, t)) for k, t in due]
        for task, result in carry_out(self._client, to_do):
            size = self._sizes[task.name]
            if isinstance(result, Failure):
                self._failures.append(result)
                self._listen(messages.StackFailed(phase, task.name, result.reason, size))
            else:
                self._listen(messages.StackDone(phase, task.name, size))
                kept.put(self._stems[task.name], task.key, result)
                found[task.name] = result
        self._listen(messages.PhaseFinished(phase))
        return [found[task.name] for task in tasks if task.name in found]


def window_step(index: int, task: CorrectionTask) -> Step:
    """Return the windows of a stack, with their outliers and without, made from those of the one before."""
    masked, unmasked = (window_task(task, masked=masked) for masked in (True, False))
    both = replace(masked, windows=masked.windows | unmasked.windows)
    return Step("window", advance_windows, both, index // CHAIN)


class NoiseRun(Scoring):
    """Scores the correlated noise of a session.

    Parameters
    ----------
    plan, client, listen
        See `Scoring`.
    params
        How much is looked at.
    """

    def __init__(
        self, plan: Plan, params: NoiseParams, client: Client, listen: messages.Listener = messages.silent
    ) -> None:
        super().__init__(plan, client, listen)
        self._params = params

    def execute(self) -> NoiseReport:
        """Score what is not known yet; a stack that cannot be scored is a failure of its own.

        Raises
        ------
        MrczDaskError, OSError
            When nothing can be done at all: no output folder, no store.
        """
        plan, params = self._plan, self._params
        ready = self._summed()
        tasks = [*correction_tasks(plan, ready)]
        stacks = over_dose = over_radius = None
        if "stacks" in params.parts:
            part: Part[CorrectionTask, StackNoise] = Part("stacks", score_stack, StackNoise, window_step)
            stacks = self._carry_out(part, tasks)
        if "dose" in params.parts:
            pairs: Part[PairTask, StackPairs] = Part("dose", score_pairs, StackPairs)
            over_dose = self._carry_out(pairs, pair_tasks(plan, params, ready))
        if "radius" in params.parts:
            curves: Part[CurveTask, StackCurve] = Part("radius", score_curve, StackCurve)
            over_radius = self._carry_out(curves, curve_tasks(plan, params, ready, tasks))
        return make_report(plan, params, ready, stacks, over_dose, over_radius, self._failures)

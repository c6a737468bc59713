"""A run: the detector, the electrons of all stacks, their outputs, on any executor."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mrcz_dask import __version__
from mrcz_dask.runs.attempt import Named, attempt, failure
from mrcz_dask.runs.counting.calibration import Calibration
from mrcz_dask.runs.counting.counter import Method
from mrcz_dask.runs.counting.keeping import kept_output, own_calibration
from mrcz_dask.runs.counting.plan import CountPlan, origin_of
from mrcz_dask.runs.counting.spool import SUFFIX, EventSpool
from mrcz_dask.runs.counting.survey import Survey
from mrcz_dask.runs.counting.tasks import (
    Counted,
    CountTask,
    WriteTask,
    batch_frames,
    count_frames,
    write_outputs,
)
from mrcz_dask.runs.entries import StackEntry
from mrcz_dask.runs.executors import Executor
from mrcz_dask.runs.logbook import Logbook
from mrcz_dask.values import events
from mrcz_dask.values.errors import MrczDaskError
from mrcz_dask.values.records import Failure

COUNTING, WRITING, KEEPING = "electrons", "counted frames", "existing output"
# Stacks whose electrons are found before their outputs are written, at least.
GROUP = 8

T = TypeVar("T", bound=Named)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class CountOutcome:
    """What a run did.

    Attributes
    ----------
    plan
        What it set out to do.
    calibration
        Of the detector.
    results
        Of the stacks that are done, in the order of the plan.
    failures
        Of those that could not be.
    """

    plan: CountPlan
    calibration: Calibration
    results: tuple[Counted, ...]
    failures: tuple[Failure, ...]

    @property
    def complete(self) -> bool:
        """Whether every file that should have been a stack was counted."""
        return not self.failures and not self.plan.bad

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "output": str(self.plan.folder),
            "calibration": {
                "digest": self.calibration.digest,
                "read_noise": self.calibration.detector.unit,
                "not_used": int((~self.calibration.used).sum()),
                **self.calibration.params.to_dict(),
            },
            "results": [asdict(one) for one in self.results],
            "failures": [one.to_dict() for one in self.failures],
            "rejected": [{"name": one.path.name, "reason": one.reason} for one in self.plan.bad],
        }


class CountRun:
    """One run of a plan.

    Parameters
    ----------
    plan
        What to do.
    executor
        Where.
    listen
        Is told what happens.
    """

    def __init__(self, plan: CountPlan, executor: Executor, listen: events.Listener = events.silent) -> None:
        self._plan, self._executor, self._listen = plan, executor, listen

    def execute(self) -> CountOutcome:
        """Carry the plan out; a stack that cannot be done is a failure of its own.

        Raises
        ------
        MrczDaskError, OSError
            When nothing can be done at all: no output folder, no detector.
        """
        plan = self._plan
        plan.folder.mkdir(parents=True, exist_ok=True)
        self._listen = events.several(Logbook(plan.folder, self._listen), self._listen)
        with self._told():
            calibration, path = self._calibrated()
            method = Method(str(path), calibration.digest, plan.script)
            results, failures = self._sorted_out(method)
            left = [one for one in plan.stacks if one.name not in results and one.name not in failures]
            size = max(GROUP, 2 * self._executor.slots)
            for start in range(0, len(left), size):
                done, lost = self._group(left[start : start + size], method)
                results |= done
                failures |= lost
            self._listen(events.RunFinished(len(results), len(failures) + len(plan.bad)))
        order = [one.name for one in plan.stacks]
        return CountOutcome(
            plan,
            calibration,
            tuple(results[name] for name in order if name in results),
            tuple(failures[name] for name in order if name in failures),
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        plan = self._plan
        settings = {"find": plan.find.to_dict(), "fractions": plan.fractions.to_dict()}
        where = self._executor.describe()
        out = str(plan.folder)
        self._listen(events.RunStarted(__version__, out, out, settings, where, platform.platform()))
        for one in plan.bad:
            self._listen(events.StackLeftOut(one.path.name, one.reason, rejected=True))
        try:
            yield
        except BaseException as error:
            self._listen(events.RunFinished(0, 0, f"{type(error).__name__}: {error}"))
            raise

    def _calibrated(self) -> tuple[Calibration, Path]:
        """Return the calibration that is given, or there, or made now; and where it is."""
        plan = self._plan
        if plan.calibration is not None:
            return Calibration.load(plan.calibration), plan.calibration
        there = own_calibration(plan)
        if there is not None:
            return there, plan.own_calibration
        fitting = [one for one in plan.stacks if one.shape[1:] == plan.shape]
        survey = Survey(fitting, plan.find, plan.inputs, plan.given, self._executor, self._listen)
        made = survey.calibration()
        made.save(plan.own_calibration)
        self._listen(
            events.Noted(
                f"detector: read noise {made.detector.unit:.4g} ADU, charge {made.params.charge:.3g} read "
                f"noises, {int((~made.used).sum())} pixels not used"
            )
        )
        return Calibration.load(plan.own_calibration), plan.own_calibration

    def _sorted_out(self, method: Method) -> tuple[dict[str, Counted], dict[str, Failure]]:
        """Return the results of outputs that are there, and the failures of those that differ."""
        kept: dict[str, Counted] = {}
        refused: dict[str, Failure] = {}
        for one in self._plan.stacks:
            try:
                found = kept_output(self._plan, one, method)
            except (MrczDaskError, OSError) as error:
                refused[one.name] = Failure(one.name, KEEPING, str(error))
                self._listen(events.StackFailed(KEEPING, one.name, str(error), one.size))
                continue
            if found is not None:
                kept[one.name] = found
        return kept, refused

    def _group(
        self, stacks: Sequence[StackEntry], method: Method
    ) -> tuple[dict[str, Counted], dict[str, Failure]]:
        """Count some stacks and write their outputs."""
        spools = {one.name: EventSpool.create(self._spool(one), {}) for one in stacks}
        try:
            failures = self._count(stacks, method, spools)
            for spool in spools.values():
                spool.close()
            left = [one for one in stacks if one.name not in failures]
            results, more = self._write(left, method)
            return results, failures | more
        finally:
            for spool in spools.values():
                spool.remove()

    def _spool(self, stack: StackEntry) -> Path:
        return self._plan.folder / f".{stack.stem}{SUFFIX}"

    def _count(
        self, stacks: Sequence[StackEntry], method: Method, spools: dict[str, EventSpool]
    ) -> dict[str, Failure]:
        """Put the electrons of all frames into the spools; return the failures."""
        each = batch_frames(self._plan.shape)
        tasks = [
            CountTask(
                str(s.path),
                s.size,
                s.mtime_ns,
                self._plan.inputs,
                s.name,
                k,
                min(each, s.shape[0] - k),
                method,
            )
            for s in stacks
            for k in range(0, s.shape[0], each)
        ]
        sizes = {one.name: one.size for one in stacks}
        waiting = {s.name: -(-s.shape[0] // each) for s in stacks}
        lost: dict[str, dict[int, Failure]] = {}
        self._listen(events.PhaseStarted(COUNTING, len(stacks), sum(sizes.values())))
        for task, made in self._carried_out(count_frames, COUNTING, tasks):
            if isinstance(made, Failure):
                lost.setdefault(task.name, {})[task.first] = made
            elif task.name not in lost:
                spools[task.name].append(made)
            waiting[task.name] -= 1
            if not waiting[task.name]:
                self._tell(COUNTING, task.name, sizes[task.name], _first(lost.get(task.name)))
        self._listen(events.PhaseFinished(COUNTING))
        return {name: _first(found) for name, found in lost.items() if found}  # type: ignore[misc]

    def _write(
        self, stacks: Sequence[StackEntry], method: Method
    ) -> tuple[dict[str, Counted], dict[str, Failure]]:
        tasks, failures = [], {}
        for one in stacks:
            try:
                tasks.append(self._write_task(one, method))
            except (MrczDaskError, OSError) as error:
                failures[one.name] = failure(_Name(one.name), WRITING, error)
        sizes = {self._name(one): one for one in stacks}
        results: dict[str, Counted] = {}
        self._listen(events.PhaseStarted(WRITING, len(tasks), 0))
        for task, made in self._carried_out(write_outputs, WRITING, tasks):
            name = sizes[task.target].name
            if isinstance(made, Failure):
                failures[name] = Failure(name, made.phase, made.reason)
            else:
                results[name] = made
            self._tell(WRITING, name, 0, failures.get(name))
        self._listen(events.PhaseFinished(WRITING))
        return results, failures

    def _name(self, stack: StackEntry) -> str:
        return str(self._plan.target(stack))

    def _write_task(self, stack: StackEntry, method: Method) -> WriteTask:
        plan = self._plan
        events_target = plan.events_target(stack)
        return WriteTask(
            spool=str(self._spool(stack)),
            origin=origin_of(stack, plan.inputs),
            frames=stack.shape[0],
            method=method,
            find=plan.find,
            fractions=plan.fractions,
            target=str(plan.target(stack)),
            events=None if events_target is None else str(events_target),
        )

    def _carried_out(
        self, function: Callable[[T], R], phase: str, tasks: Sequence[T]
    ) -> Iterator[tuple[T, R | Failure]]:
        """Yield every task with its result or failure; each is a line of its own, so as to go in order."""
        for task, made in self._executor.run(partial(attempt, function, phase), [[one] for one in tasks]):
            yield task, failure(task, phase, made) if isinstance(made, Exception) else made

    def _tell(self, phase: str, name: str, size: int, lost: Failure | None) -> None:
        if lost is None:
            self._listen(events.StackDone(phase, name, size))
        else:
            self._listen(events.StackFailed(phase, name, lost.reason, size))


@dataclass(frozen=True, slots=True)
class _Name:
    """A stack for which there is no task."""

    name: str
    places: tuple[str, ...] = ()


def _first(found: dict[int, Failure] | None) -> Failure | None:
    """Return the failure of the first frames, whichever failed first."""
    return found[min(found)] if found else None

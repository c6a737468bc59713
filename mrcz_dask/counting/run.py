"""A run: the detector, the electrons of all stacks, their outputs, on any client."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.counter import Method
from mrcz_dask.counting.keeping import kept_output, own_calibration
from mrcz_dask.counting.plan import CountPlan, origin_of
from mrcz_dask.counting.spool import SUFFIX, append_batch
from mrcz_dask.counting.survey import Survey
from mrcz_dask.counting.tasks import (
    Counted,
    CountTask,
    WriteTask,
    batch_frames,
    count_frames,
    write_outputs,
)
from mrcz_dask.engine.attempt import Timed, failure
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Loop, Task
from mrcz_dask.formats.spool import Spool
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.session.log import Log, last_results, read_messages
from mrcz_dask.session.manifest import Manifest
from mrcz_dask.values import messages
from mrcz_dask.values.errors import MrczDaskError
from mrcz_dask.values.records import Failure, Written
from mrcz_dask.version import __version__

COUNTING, WRITING, KEEPING = "electrons", messages.COUNTED, "existing output"
FIRST, AGAIN = "no output yet", "its output is replaced"


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
    client
        Where.
    listen
        Is told what happens.
    """

    def __init__(self, plan: CountPlan, client: Client, listen: messages.Listener = messages.silent) -> None:
        self._plan, self._client, self._listen = plan, client, listen

    def execute(self) -> CountOutcome:
        """Carry the plan out; a stack that cannot be done is a failure of its own.

        Raises
        ------
        MrczDaskError, OSError
            When nothing can be done at all: no output folder, no detector.
        """
        plan = self._plan
        plan.folder.mkdir(parents=True, exist_ok=True)
        known = last_results(read_messages(plan.folder), Written).values()
        manifest = Manifest(plan.folder, known, self._listen)
        self._listen = messages.several(Log(plan.folder, self._listen), manifest, self._listen)
        with self._told():
            calibration, path = self._calibrated()
            for text in calibration.about.get("caveats", ()):
                self._listen(messages.Warned(text))
            method = Method(str(path), calibration.digest, plan.script)
            results, failures = self._sorted_out(method)
            left = [one for one in plan.stacks if one.name not in results and one.name not in failures]
            for one in left:
                reason = AGAIN if plan.target(one).exists() else FIRST
                self._listen(messages.StackDue(one.name, reason))
            with CountJob(plan, left, method, self._listen) as job:
                Loop(self._client).run(job)
            results |= job.results
            failures |= job.failures
            self._listen(messages.RunFinished(len(results), len(failures) + len(plan.bad)))
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
        where = self._client.describe()
        out = str(plan.folder)
        self._listen(messages.RunStarted(__version__, out, out, settings, where, platform.platform()))
        for one in plan.bad:
            self._listen(messages.StackLeftOut(one.path.name, one.reason, rejected=True))
        try:
            yield
        except BaseException as error:
            self._listen(messages.RunFinished(0, 0, f"{type(error).__name__}: {error}"))
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
        survey = Survey(fitting, plan.find, plan.inputs, plan.given, self._client, self._listen)
        made = survey.calibration()
        made.save(plan.own_calibration)
        self._listen(
            messages.Noted(
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
                self._listen(messages.StackFailed(KEEPING, one.name, str(error), one.size))
                continue
            if found is not None:
                kept[one.name] = found
                self._listen(
                    messages.StackDone(WRITING, one.name, 0, None, replace(found.written, kept=True))
                )
        return kept, refused


class CountJob:
    """Counts the frames of stacks in batches, and writes the outputs of each that is counted.

    Parameters
    ----------
    plan
        What to do.
    stacks
        Those that are left.
    method
        How frames are counted.
    listen
        Is told what happens.

    Attributes
    ----------
    results, failures
        By the names of stacks.
    """

    def __init__(
        self, plan: CountPlan, stacks: Sequence[StackEntry], method: Method, listen: messages.Listener
    ) -> None:
        self._plan, self._method, self._listen = plan, method, listen
        self._stacks = {one.name: one for one in stacks}
        self._place = {one.name: k for k, one in enumerate(stacks)}
        self._spools: dict[str, Spool] = {}
        self._lost: dict[str, dict[int, Failure]] = {}
        self.results: dict[str, Counted] = {}
        self.failures: dict[str, Failure] = {}
        each = batch_frames(plan.shape)
        self._left = {one.name: -(-one.shape[0] // each) for one in stacks}
        self._new = [
            Task("count-frames", COUNTING, count_frames, task, priority=2 * k + 1)
            for k, one in enumerate(stacks)
            for task in self._batches(one, each)
        ]
        for phase in (COUNTING, WRITING) if stacks else ():
            listen(messages.PhaseStarted(phase, len(stacks), sum(one.size for one in stacks)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for spool in self._spools.values():
            spool.remove()

    def ready(self) -> list[Task]:
        """Return the tasks that have become possible."""
        found, self._new = self._new, []
        return found

    def over(self) -> bool:
        """Return whether nothing is left; tell that the phases are over."""
        for phase in (COUNTING, WRITING) if self._stacks else ():
            self._listen(messages.PhaseFinished(phase))
        return True

    def take(self, task: Task, made: Timed[Any]) -> None:
        """Take in the electrons of some frames, or what became of a stack."""
        if isinstance(task.argument, WriteTask):
            self._end(WRITING, task.argument.name, made.result)
            return
        batch, found = task.argument, made.result
        assert isinstance(batch, CountTask)
        name = batch.name
        if isinstance(found, Failure):
            self._lost.setdefault(name, {})[batch.first] = found
        elif name not in self._lost:
            append_batch(self._spool(name), found)
        self._left[name] -= 1
        if not self._left[name]:
            self._counted(name)

    def _counted(self, name: str) -> None:
        """Go on with a stack whose frames are all counted, or give it up."""
        lost, stack = self._lost.get(name), self._stacks[name]
        if lost:
            self._end(COUNTING, name, lost[min(lost)])
            return
        self._listen(messages.StackDone(COUNTING, name, stack.size))
        self._spool(name).close()
        try:
            task = self._write_task(stack)
        except (MrczDaskError, OSError) as error:
            self._end(WRITING, name, failure(_Name(name), WRITING, error))
            return
        self._new.append(Task("write-counted", WRITING, write_outputs, task, priority=2 * self._place[name]))

    def _end(self, phase: str, name: str, found: Counted | Failure) -> None:
        if name in self._spools:
            self._spools.pop(name).remove()
        size = self._stacks[name].size
        if isinstance(found, Failure):
            self.failures[name] = Failure(name, found.phase, found.reason)
            self._listen(messages.StackFailed(phase, name, found.reason, size))
        else:
            self.results[name] = found
            self._listen(messages.StackDone(phase, name, size, None, found.written))

    def _spool(self, name: str) -> Spool:
        if name not in self._spools:
            path = self._spool_path(self._stacks[name])
            path.unlink(missing_ok=True)  # of a run that was killed
            self._spools[name] = Spool.create(path, {}, durable=False)
        return self._spools[name]

    def _spool_path(self, stack: StackEntry) -> Path:
        return self._plan.folder / f".{stack.stem}{SUFFIX}"

    def _batches(self, stack: StackEntry, each: int) -> Iterator[CountTask]:
        about = str(stack.path), stack.size, stack.mtime_ns, self._plan.inputs, stack.name
        for k in range(0, stack.shape[0], each):
            yield CountTask(*about, k, min(each, stack.shape[0] - k), self._method)

    def _write_task(self, stack: StackEntry) -> WriteTask:
        plan = self._plan
        events_target = plan.events_target(stack)
        return WriteTask(
            spool=str(self._spool_path(stack)),
            origin=origin_of(stack, plan.inputs),
            frames=stack.shape[0],
            method=self._method,
            find=plan.find,
            fractions=plan.fractions,
            target=str(plan.target(stack)),
            events=None if events_target is None else str(events_target),
            inputs=plan.inputs,
        )


@dataclass(frozen=True, slots=True)
class _Name:
    """A stack for which there is no task."""

    name: str
    places: tuple[str, ...] = ()

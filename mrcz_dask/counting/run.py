"""Run a plan of counting: calibrate, find all events, and write the outputs, on any client."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcz_dask.counting.calibrate import calibrate
from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.counter import Batch, CountingMethod
from mrcz_dask.counting.plan import CountPlan
from mrcz_dask.counting.recording import Origin
from mrcz_dask.counting.resume import kept_calibration, kept_output
from mrcz_dask.counting.spool import SUFFIX, append_batch
from mrcz_dask.counting.tasks import (
    Counted,
    CountTask,
    WriteTask,
    batch_frames,
    count_frames,
    write_outputs,
)
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.engine.loop import Loop, Task, Timed, failure
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.spool import Spool
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.session.log import Log, last_outputs, read_messages
from mrcz_dask.session.manifest import Manifest
from mrcz_dask.session.output_folder import locked, without_temporary_files
from mrcz_dask.values import messages
from mrcz_dask.values.errors import MrczDaskError
from mrcz_dask.values.records import Failure
from mrcz_dask.version import __version__

if TYPE_CHECKING:
    import distributed

COUNTING, WRITING, KEEPING = "electrons", messages.COUNTED, "existing output"
FIRST, AGAIN = "no output yet", "its output is replaced"
ALONE = ClientOptions(workers=0)


@dataclass(frozen=True, slots=True)
class CountOutcome:
    """The outcome of a run of counting: results of the stacks, and those that failed.

    Attributes
    ----------
    plan
        The plan that was carried out.
    calibration
        Calibration of the detector.
    results
        Results of the stacks that are done, in the order of the plan.
    failures
        Stacks that could not be counted, with the reasons.
    """

    plan: CountPlan
    calibration: Calibration
    results: tuple[Counted, ...]
    failures: tuple[Failure, ...]

    @property
    def complete(self) -> bool:
        """Whether every stack was counted, and no file of the plan was broken."""
        return not self.failures and not self.plan.bad

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain values, for JSON."""
        return {
            "output": str(self.plan.folder),
            "calibration": {
                "digest": self.calibration.digest,
                "read_noise": self.calibration.detector.unit,
                "not_used": int((~self.calibration.used).sum()),
                **self.calibration.params.to_dict(),
            },
            "results": [asdict(result) for result in self.results],
            "failures": [failed.to_dict() for failed in self.failures],
            "rejected": [{"name": file.path.name, "reason": file.reason} for file in self.plan.bad],
        }


def run_plan(
    plan: CountPlan,
    where: ClientOptions | distributed.Client = ALONE,
    listen: messages.Listener = messages.silent,
) -> CountOutcome:
    """Run a plan of counting: lock the output folder, count all stacks on a client, and remove temporary
    files at the end.

    Parameters
    ----------
    plan
        The plan.
    where
        A Dask client, or options for one; by default tasks run in this process.
    listen
        Listener that hears of the progress.

    Raises
    ------
    MrczDaskError, OSError
        If nothing can be done at all: no output folder, no calibration.
    """
    with (
        locked(plan.folder, listen),
        without_temporary_files(plan.folder, (stack.stem for stack in plan.stacks)),
        open_client(where, plan.memory_estimate(), listen) as client,
    ):
        return carry_out(plan, client, listen)


def carry_out(plan: CountPlan, client: Client, listen: messages.Listener = messages.silent) -> CountOutcome:
    """Count all stacks of a plan on a client; a stack that cannot be counted is a failure and stops none."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(plan.folder, last_outputs(read_messages(plan.folder)), listen)
    listen = messages.several(Log(plan.folder, listen), manifest, listen)
    settings = {"find": plan.find.to_dict(), "fractions": plan.fractions.to_dict()}
    out, system = str(plan.folder), platform.platform()
    listen(messages.RunStarted(__version__, out, out, settings, client.describe(), system))
    for file in plan.bad:
        listen(messages.StackLeftOut(file.path.name, file.reason, rejected=True))
    try:
        calibration, path = _calibration(plan, client, listen)
        for text in calibration.about.get("caveats", ()):
            listen(messages.Warned(text))
        method = CountingMethod(str(path), calibration.digest, plan.script)
        with CountJob(plan, method, listen) as job:
            Loop(client).run(job)
        listen(messages.RunFinished(len(job.results), len(job.failures) + len(plan.bad)))
    except BaseException as error:
        listen(messages.RunFinished(0, 0, f"{type(error).__name__}: {error}"))
        raise
    order = [stack.name for stack in plan.stacks]
    return CountOutcome(
        plan,
        calibration,
        tuple(job.results[name] for name in order if name in job.results),
        tuple(job.failures[name] for name in order if name in job.failures),
    )


def _calibration(plan: CountPlan, client: Client, listen: messages.Listener) -> tuple[Calibration, Path]:
    """Return the calibration that the user gave, that is there, or that is made now; and its path."""
    if plan.calibration is not None:
        return Calibration.load(plan.calibration), plan.calibration
    kept = kept_calibration(plan)
    if kept is not None:
        return kept, plan.own_calibration
    fitting = [stack for stack in plan.stacks if stack.shape[1:] == plan.shape]
    calibration = calibrate(fitting, plan.find, plan.inputs, plan.references, client, listen)
    calibration.save(plan.own_calibration)
    listen(
        messages.Noted(
            f"detector: read noise {calibration.detector.unit:.4g} ADU, charge "
            f"{calibration.params.charge:.3g} read noises, {int((~calibration.used).sum())} pixels not used"
        )
    )
    return Calibration.load(plan.own_calibration), plan.own_calibration


class CountJob:
    """The job of a counting run: gives tasks that count batches of frames, and that write whole stacks.

    Attributes
    ----------
    results, failures
        Results and failures by the names of stacks, with outputs of earlier runs.
    """

    def __init__(self, plan: CountPlan, method: CountingMethod, listen: messages.Listener) -> None:
        self._plan, self._method, self._listen = plan, method, listen
        self.results: dict[str, Counted] = {}
        self.failures: dict[str, Failure] = {}
        self._spools: dict[str, Spool] = {}
        self._lost: dict[str, dict[int, Failure]] = {}
        stacks = self._stacks_to_count()
        self._place = {stack.name: k for k, stack in enumerate(stacks)}
        self._stacks = {stack.name: stack for stack in stacks}
        each = batch_frames(plan.shape)
        self._left = {stack.name: -(-stack.shape[0] // each) for stack in stacks}
        self._new = []
        for k, stack in enumerate(stacks):
            about = str(stack.path), stack.size, stack.mtime_ns, plan.inputs, stack.name
            for first in range(0, stack.shape[0], each):
                task = CountTask(*about, first, min(each, stack.shape[0] - first), method)
                self._new.append(Task("count-frames", COUNTING, count_frames, task, priority=2 * k + 1))
        for phase in (COUNTING, WRITING) if stacks else ():
            listen(messages.PhaseStarted(phase, len(stacks), sum(stack.size for stack in stacks)))

    def _stacks_to_count(self) -> list[StackEntry]:
        """Return the stacks without an output; take in sound outputs, and refuse those that differ."""
        stacks = []
        for stack in self._plan.stacks:
            try:
                kept = kept_output(self._plan, stack, self._method)
            except (MrczDaskError, OSError) as error:
                self.failures[stack.name] = Failure(stack.name, KEEPING, str(error))
                self._listen(messages.StackFailed(KEEPING, stack.name, str(error), stack.size))
                continue
            if kept is None:
                stacks.append(stack)
            else:
                self.results[stack.name] = kept
                written = replace(kept.written, kept=True)
                self._listen(messages.StackDone(WRITING, stack.name, 0, None, written))
        for stack in stacks:
            reason = AGAIN if self._plan.target(stack).exists() else FIRST
            self._listen(messages.StackDue(stack.name, reason))
        return stacks

    def __enter__(self) -> CountJob:
        return self

    def __exit__(self, *error: object) -> None:
        for spool in self._spools.values():
            spool.remove()

    def ready(self) -> Sequence[Task]:
        """Return the tasks that have become possible since the last call."""
        tasks, self._new = self._new, []
        return tasks

    def over(self) -> bool:
        """Return True, as the run is over when no task runs; tell the listener that the phases end."""
        for phase in (COUNTING, WRITING) if self._stacks else ():
            self._listen(messages.PhaseFinished(phase))
        return True

    def take(self, task: Task, timed: Timed[Any]) -> None:
        """Take the result of a task: events of some frames, or a finished stack."""
        batch, result = task.argument, timed.result
        if not isinstance(batch, CountTask):
            self._end(WRITING, batch.name, result)
            return
        name = batch.name
        if isinstance(result, Failure):
            self._lost.setdefault(name, {})[batch.first] = result
        elif name not in self._lost:
            self._append(self._stacks[name], result)
        self._left[name] -= 1
        if not self._left[name]:
            self._finish(batch)

    def _append(self, stack: StackEntry, batch: Batch) -> None:
        if stack.name not in self._spools:
            path = self._plan.folder / f".{stack.stem}{SUFFIX}"
            path.unlink(missing_ok=True)  # of a run that was killed
            self._spools[stack.name] = Spool.create(path, {}, durable=False)
        append_batch(self._spools[stack.name], batch)

    def _finish(self, batch: CountTask) -> None:
        """After the last batch of a stack, let its outputs be written, or give it up."""
        plan, name = self._plan, batch.name
        stack = self._stacks[name]
        if name in self._lost:
            self._end(COUNTING, name, self._lost[name][min(self._lost[name])])
            return
        self._listen(messages.StackDone(COUNTING, name, stack.size))
        spool, events = self._spools[name], plan.events_target(stack)
        spool.close()
        try:
            with open_source(stack.path, plan.inputs) as source:
                steps = tuple(source.provenance)
        except (MrczDaskError, OSError) as error:
            self._end(WRITING, name, failure(batch, WRITING, error))
            return
        task = WriteTask(
            spool=str(spool.path),
            origin=Origin(
                name=stack.path.name,
                size=stack.size,
                shape=(stack.shape[1], stack.shape[2]),
                pixel_size=stack.pixel_size,
                acquired=stack.acquired.time.isoformat(),
                acquired_from=stack.acquired.source,
                meta=stack.meta,
                provenance=steps,
            ),
            frames=stack.shape[0],
            method=self._method,
            find=plan.find,
            fractions=plan.fractions,
            target=str(plan.target(stack)),
            events=None if events is None else str(events),
            inputs=plan.inputs,
        )
        self._new.append(Task("write-counted", WRITING, write_outputs, task, priority=2 * self._place[name]))

    def _end(self, phase: str, name: str, result: Counted | Failure) -> None:
        if name in self._spools:
            self._spools.pop(name).remove()
        size = self._stacks[name].size
        if isinstance(result, Failure):
            self.failures[name] = Failure(name, result.phase, result.reason)
            self._listen(messages.StackFailed(phase, name, result.reason, size))
        else:
            self.results[name] = result
            self._listen(messages.StackDone(phase, name, size, None, result.written))

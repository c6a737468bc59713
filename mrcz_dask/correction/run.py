"""Runs the main job: sums each stack, and corrects it as soon as no later stack can change its windows."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcz_dask.correction.correct_stack import correct_stack
from mrcz_dask.correction.footer import ASK, kept_result
from mrcz_dask.correction.judged_stacks import JudgedStacks
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.pooling import pool_outliers
from mrcz_dask.correction.summing import SumJob, announce_gain, open_store, warn_of_session
from mrcz_dask.correction.tasks import CorrectionTask, member_ref, output_name
from mrcz_dask.correction.verdict import verdict_on
from mrcz_dask.correction.window_sums import BLOCK, CHAIN, Block, advance_windows, sum_block, window_task
from mrcz_dask.correction.windows import correction_tasks
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Loop, Step, Task, Timed, failure
from mrcz_dask.formats.metadata import reading
from mrcz_dask.session.log import Log, last_outputs, last_results, read_messages
from mrcz_dask.session.manifest import Manifest
from mrcz_dask.values import messages
from mrcz_dask.values.errors import MrczDaskError
from mrcz_dask.values.records import Break, DamagedSum, Failure, StackResult
from mrcz_dask.version import __version__

KEEPING = "existing output"
# A block is worth it where a chain's first window would else read so many sums.
WORTH = 3 * BLOCK
# Corrections that are under way at most, for each task that can run: their tasks are large.
UNDER_WAY = 28
# Chains get shorter towards the end of a session, so that all workers come to it at about the same time:
# there are so many for each task that can run in what is left, none of fewer stacks.
CHAINS, SHORTEST = 2, 4
PROVISIONAL = -1


@dataclass(frozen=True, slots=True)
class Outcome:
    """Record of what a run did: its plan, the results of finished stacks, and the failures.

    Attributes
    ----------
    plan
        The plan that was carried out.
    results
        Results of the stacks that are done, in order of acquisition.
    failures
        Stacks that could not be done, in order of acquisition.
    """

    plan: Plan
    results: tuple[StackResult, ...]
    failures: tuple[Failure, ...]

    @property
    def not_done(self) -> int:
        """Number of files that should have been stacks and were not processed."""
        return len(self.failures) + len(self.plan.discovery.rejected)

    @property
    def complete(self) -> bool:
        """True if every file that should have been a stack was processed."""
        return self.not_done == 0

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Paths of the outputs that exist now, in order of acquisition."""
        return tuple(self.plan.folder / result.output for result in self.results)

    @property
    def failed(self) -> dict[str, str]:
        """Reasons by file name: stacks that could not be processed, and files that are damaged."""
        rejected = {file.path.name: file.reason for file in self.plan.discovery.rejected}
        return rejected | {failure.name: failure.reason for failure in self.failures}

    @property
    def skipped(self) -> dict[str, str]:
        """Reason by name of each file that is not a movie of the session, such as a gain reference."""
        return {file.path.name: file.reason for file in self.plan.discovery.skipped}

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as a dict for JSON: settings, verdict, results, failures, and files left out."""
        discovery = self.plan.discovery
        return {
            "session": str(discovery.folder),
            "output": str(self.plan.folder),
            "settings": self.plan.settings.to_dict(),
            "verdict": verdict_on(self.results),
            "results": [r.to_dict() for r in self.results],
            "failures": [f.to_dict() for f in self.failures],
            **discovery.left_out(),
        }


def carry_out(
    plan: Plan,
    client: Client,
    listen: messages.Listener = messages.silent,
    *,
    take_times: bool = False,
    make_job: Callable[..., KomaJob] | None = None,
) -> Outcome:
    """Sum and correct all stacks of a plan on a client; a stack that fails is recorded and stops no other.

    Parameters
    ----------
    plan
        Plan of the run.
    client
        Client on which tasks run.
    listen
        Gets the messages.
    take_times
        Whether the messages about stacks say where their time went.
    make_job
        Makes another job of the same arguments; None = `KomaJob`.

    Raises
    ------
    MrczDaskError, OSError
        If nothing can be done at all: no output folder, no store.
    """
    store = open_store(plan)
    store.drop_blocks()
    known = last_results(read_messages(plan.folder), StackResult, str(plan.discovery.folder))
    manifest = Manifest(plan.folder, last_outputs(read_messages(plan.folder)), listen)
    tell = messages.several(Log(plan.folder, listen), manifest, listen)
    tell(
        messages.RunStarted(
            version=__version__,
            session=str(plan.discovery.folder),
            output=str(plan.folder),
            settings=plan.settings.to_dict(),
            executor=client.describe(),
            platform=f"Python {platform.python_version()}, {platform.platform()}",
        )
    )
    announce_gain(plan, tell)
    try:
        job = (make_job or KomaJob)(plan, tell, known, client.slots)
        Loop(client, take_times).run(job)
        outcome = job.outcome()
    except BaseException as error:
        by = {KeyboardInterrupt: "Ctrl-C", SystemExit: f"signal {error}"}.get(type(error), str(error))
        tell(messages.RunFinished(0, 0, by or type(error).__name__))
        raise
    finally:
        store.drop_blocks()
    tell(messages.RunFinished(len(outcome.results), outcome.not_done))
    return outcome


class KomaJob(SumJob):
    """Chooses the tasks of a KOMA run: sums of all stacks, then corrections of stacks whose windows are
    final.

    A folder that grows is the same job with stacks that are added; see `follow.FollowJob`.

    Parameters
    ----------
    plan
        Plan over the stacks that are there.
    listen
        Gets the messages.
    known
        Last result of every output in the log.
    slots
        Number of tasks that run at a time.
    """

    phases = (messages.SUMS, messages.CORRECTION)

    def __init__(
        self, plan: Plan, listen: messages.Listener, known: dict[str, StackResult], slots: int
    ) -> None:
        super().__init__(plan, listen)
        self._known_results, self._slots = known, slots
        self._results: dict[str, StackResult] = {}
        self._refused: dict[str, tuple[str, Failure]] = {}
        self._judged = JudgedStacks(plan.settings)
        self._chain = (0, 0, 0)  # generation, first stack, and the one after the last
        self._told_breaks: set[Break] = set()
        self._blocked, self._warned = False, False
        self._next = 0
        self._waiting: tuple[int, str] | None = None  # the first stack that is not final

    def ready(self) -> Iterable[Task]:
        """Return the tasks that can run now: sums of new stacks, corrections with final windows."""
        yield from self._sums()
        if self._news:
            self._news = False
            yield from self._corrections(complete=self.all_known())

    def take(self, task: Task, timed: Timed[Any]) -> None:
        """Keep the record, result or failure that a finished task returned, and send a message."""
        correction, result = task.argument, timed.result
        if not isinstance(correction, CorrectionTask):
            super().take(task, timed)
            return
        name, size = correction.name, correction.record.size
        self._correcting.pop(name, None)
        self._news |= self._blocked
        if isinstance(result, DamagedSum) and self.sum_again(result):
            self._next = 0
            return
        if isinstance(result, Failure):
            self._refused[name] = correction.key, result
            self._listen(messages.StackFailed(task.phase, name, result.reason, size, timed.timing))
        else:
            self._results[name] = self._known_results[result.output] = result
            self._listen(messages.StackDone(task.phase, name, size, timed.timing, result))

    def over(self) -> bool:
        """Announce the end of the corrections, and return True: no more tasks will come."""
        self._listen(messages.PhaseFinished(messages.CORRECTION))
        return True

    def outcome(self) -> Outcome:
        """Return the outcome of the run, with results and failures in order of acquisition."""
        place = {entry.name: k for k, entry in enumerate(self.plan.stacks)}
        failures = {
            f.name: f for _, f in (*self._failed.values(), *self._refused.values()) if f.name in place
        }
        results = [r for name, r in self._results.items() if name in place and name not in failures]
        return Outcome(
            self.plan,
            tuple(sorted(results, key=lambda r: place[r.name])),
            tuple(sorted(failures.values(), key=lambda f: place[f.name])),
        )

    def _corrections(self, *, complete: bool, provisional: bool = False) -> Iterator[Task]:
        """Yield the corrections of stacks whose windows are final, and provisional ones if asked for."""
        if self._damaged:  # windows that hold them would fail again
            return
        judged = self._judged
        judged.update(self.known_stacks())
        self._blocked, self._waiting = False, None
        self._next = min(self._next, judged.changed_at)
        epochs = judged.epochs
        for item in epochs.breaks if complete else epochs.before(epochs.final):
            if item not in self._told_breaks:
                self._told_breaks.add(item)
                self._listen(messages.Noted(str(item)))
        if complete and not self._warned:
            self._warned = True
            warn_of_session(judged.stacks, self._listen)
        tasks = correction_tasks(
            self.plan, judged.stacks, epochs, start=self._next, more_to_come=not complete
        )
        for i, task in enumerate(tasks, self._next):
            if task.provisional:
                self._waiting = self._waiting or (i, task.name)
                if not provisional:
                    break
            other_under_way = self._correcting.get(task.name, task.key) != task.key
            if other_under_way or len(self._correcting) >= UNDER_WAY * self._slots:
                self._blocked = True
                break
            self._next += not task.provisional
            if self._must_correct(task):
                self._correcting[task.name] = task.key
                yield self._correction(i, task)

    def _must_correct(self, task: CorrectionTask) -> bool:
        """Whether an output is to be written; say why. One that is there is kept, or not to be replaced."""
        name, listen, size = task.name, self._listen, task.record.size
        result, refused = self._results.get(name), self._refused.get(name)
        if self._correcting.get(name) == task.key or (refused is not None and refused[0] == task.key):
            return False
        if result is not None and (task.provisional or result.key == task.key):
            return False
        known = self._known_results.get(output_name(task.record.stem, self.plan.settings.write))
        try:
            with reading(str(task.output), "an output of a run", ASK):
                kept = kept_result(task, known, overwrite=self.plan.overwrite)
        except (MrczDaskError, OSError) as error:
            failed = failure(task, KEEPING, error)
            self._refused[name] = task.key, failed
            listen(messages.StackFailed(KEEPING, name, failed.reason, size))
            return False
        if isinstance(kept, str):
            listen(messages.StackDue(name, kept))
            return True
        self._results[name] = kept
        listen(messages.StackDone(messages.CORRECTION, name, size, None, kept))
        return False

    def _correction(self, i: int, task: CorrectionTask) -> Task:
        """Return the correction of stack `i`; a chain's first window begins with sums of whole blocks."""
        generation, start, stop = self._chain
        new = not task.provisional and (generation != self._generation or not start <= i < stop)
        if new:
            left = len(self.plan.stacks) - i
            even = CHAIN if self._slots == 1 else left // (CHAINS * self._slots)
            start = i
            self._chain = self._generation, start, start + min(CHAIN, max(SHORTEST, even))
        blocks = self._blocks(task) if new else ()
        windows = window_task(task, blocks=blocks)
        needs = tuple(Task("sum-block", "windows", sum_block, block, priority=i) for block in blocks)
        if task.pool is not None:
            needs = (*needs, Task("pool-outliers", "windows", pool_outliers, task.pool, priority=i))
        chain = self._generation, PROVISIONAL if task.provisional else start
        step = Step("window", advance_windows, windows, chain, needs) if windows.windows or needs else None
        return Task("correct-stack", messages.CORRECTION, correct_stack, task, priority=i, step=step)

    def _blocks(self, task: CorrectionTask) -> tuple[Block, ...]:
        """Return the whole blocks of the session's usable stacks that the long window of a stack holds."""
        if len(task.long) < WORTH:
            return ()
        stacks, raw = self._judged.stacks, task.settings.koma.form == "subtract-raw"
        held = {*task.long, *((member_ref(task.record),) if task.usable else ())}
        blocks = []
        for start in range(0, len(stacks), BLOCK):
            members = tuple(
                member_ref(stack.record) for stack in stacks[start : start + BLOCK] if stack.usable
            )
            if len({m.exponent for m in members}) == 1 and held.issuperset(members):
                blocks.append(Block(str(self.plan.store), members, raw, task.record.shape[1:]))
        return tuple(blocks)

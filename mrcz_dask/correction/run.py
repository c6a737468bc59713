"""The main job: a record of each stack, then its correction as soon as its window is final."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcz_dask.correction.assess import Assessment
from mrcz_dask.correction.correct_stack import correct_stack, window_task
from mrcz_dask.correction.footer import Due, kept_result
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.summing import SumJob, tell_of, warn_of_session
from mrcz_dask.correction.tasks import CorrectionTask, member_ref, output_name
from mrcz_dask.correction.window_sums import BLOCK, CHAIN, Block, advance_windows, sum_block
from mrcz_dask.correction.windows import correction_tasks
from mrcz_dask.engine.attempt import Timed, failure
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.loop import Loop, Step, Task
from mrcz_dask.session.log import Log, last_results, read_messages
from mrcz_dask.session.manifest import Manifest
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values import messages
from mrcz_dask.values.errors import MrczDaskError
from mrcz_dask.values.records import Break, Failure, StackResult
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

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that are there now, in order of acquisition."""
        return tuple(self.plan.folder / one.output for one in self.results)

    @property
    def failed(self) -> dict[str, str]:
        """Why stacks could not be done, by name; bad files among them."""
        rejected = {one.path.name: one.reason for one in self.plan.discovery.rejected}
        return rejected | {one.name: one.reason for one in self.failures}

    @property
    def skipped(self) -> dict[str, str]:
        """Why files are no stacks of the session, by name."""
        return {one.path.name: one.reason for one in self.plan.discovery.skipped}

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


def carry_out(
    plan: Plan, client: Client, listen: messages.Listener = messages.silent, *, take_times: bool = False
) -> Outcome:
    """Carry a plan out; a stack that cannot be done is a failure of its own.

    Parameters
    ----------
    plan
        What to do.
    client
        Where.
    listen
        Is told what happens.
    take_times
        Whether the messages of stacks say where their time went.

    Raises
    ------
    MrczDaskError, OSError
        When nothing can be done at all: no output folder, no store.
    """
    with started(plan, client, listen) as log:
        job = KomaJob(plan, log, client.slots)
        Loop(client, take_times).run(job)
        return log.end(job.outcome())


@dataclass(slots=True)
class RunLog:
    """What a run tells, what it knows of earlier ones, and what came out at the end.

    Attributes
    ----------
    listen
        Tells the log and whoever else listens.
    known
        The last result of every output.
    outcome
        None until the run is over.
    """

    listen: messages.Listener
    known: dict[str, StackResult]
    outcome: Outcome | None = None

    def end(self, outcome: Outcome) -> Outcome:
        """Keep and return the outcome."""
        self.outcome = outcome
        return outcome


@contextmanager
def started(plan: Plan, client: Client, listen: messages.Listener) -> Iterator[RunLog]:
    """Make the output folder and the store, open the log, and tell it of the beginning and the end."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    store = SessionStore(plan.store)
    store.create()
    store.drop_blocks()
    if plan.gain is not None:
        store.put_gain(plan.gain.params.gain, plan.gain.gain, plan.gain.about)
    known = last_results(read_messages(plan.folder), StackResult)
    manifest = Manifest(plan.folder, known.values(), listen)
    log = RunLog(messages.several(Log(plan.folder, listen), manifest, listen), known)
    log.listen(
        messages.RunStarted(
            version=__version__,
            session=str(plan.discovery.folder),
            output=str(plan.folder),
            settings=plan.settings.to_dict(),
            executor=client.describe(),
            platform=f"Python {platform.python_version()}, {platform.platform()}",
        )
    )
    if plan.gain is not None:
        tell_of(plan.gain, log.listen)
    try:
        yield log
    except BaseException as error:
        by = {KeyboardInterrupt: "Ctrl-C", SystemExit: f"signal {error}"}.get(type(error), str(error))
        log.listen(messages.RunFinished(0, 0, by or type(error).__name__))
        raise
    finally:
        store.drop_blocks()
    if log.outcome is not None:
        log.listen(messages.RunFinished(len(log.outcome.results), log.outcome.not_done))


class KomaJob(SumJob):
    """Sums every stack, decides from the records what is final, and corrects that.

    A folder that grows is the same job with stacks that are added; see `follow.FollowJob`.

    Parameters
    ----------
    plan
        Over the stacks that are there.
    log
        Of the run.
    slots
        How many tasks run at a time.
    """

    phases = (messages.SUMS, messages.CORRECTION)

    def __init__(self, plan: Plan, log: RunLog, slots: int) -> None:
        super().__init__(plan, log.listen)
        self._slots = slots
        self._log = log
        self._results: dict[str, StackResult] = {}
        self._refused: dict[str, tuple[str, Failure]] = {}
        self._assessment = Assessment(plan.settings)
        self._chain: tuple[int, int, int] = (0, 0, 0)  # generation, first stack, and the one after the last
        self._told: set[Break] = set()
        self._blocked, self._hinted = False, False
        self._next = 0
        self._waiting: tuple[int, str] | None = None  # the first stack that is not final

    def ready(self) -> Iterable[Task]:
        """Return the sums of new stacks, and the corrections that have become final."""
        yield from self._sums()
        if self._news:
            self._news = False
            yield from self._corrections(complete=self.all_known())

    def take(self, task: Task, made: Timed[Any]) -> None:
        """Take in the record or the result of a stack, or its failure."""
        if not isinstance(task.argument, CorrectionTask):
            super().take(task, made)
            return
        corrected, found = task.argument, made.result
        name, size = corrected.name, corrected.record.size
        self._correcting.pop(name, None)
        self._news |= self._blocked
        if isinstance(found, Failure):
            self._refused[name] = corrected.key, found
            self._listen(messages.StackFailed(task.phase, name, found.reason, size, made.timing))
        else:
            self._results[name] = found
            self._log.known[found.output] = found
            self._listen(messages.StackDone(task.phase, name, size, made.timing, found))

    def over(self) -> bool:
        """Tell that corrections are over; return that nothing is left."""
        self._listen(messages.PhaseFinished(messages.CORRECTION))
        return True

    def outcome(self) -> Outcome:
        """Return what came out, in order of acquisition."""
        place = {entry.name: k for k, entry in enumerate(self.plan.stacks)}
        failed = [f for _, f in (*self._failed.values(), *self._refused.values()) if f.name in place]
        names = {f.name for f in failed}
        results = [r for name, r in self._results.items() if name in place and name not in names]
        return Outcome(
            self.plan,
            tuple(sorted(results, key=lambda r: place[r.name])),
            tuple(sorted({f.name: f for f in failed}.values(), key=lambda f: place[f.name])),
        )

    def _corrections(self, *, complete: bool, provisional: bool = False) -> Iterator[Task]:
        """Yield the corrections of stacks whose windows are final, and provisional ones where asked for."""
        self._blocked, self._waiting, assessed = False, None, self._assessment
        assessed.update(self.known_stacks())
        self._next = min(self._next, assessed.changed_at)
        segments = assessed.segments
        self._tell_breaks(segments.breaks if complete else segments.before(segments.decided))
        if complete and not self._hinted:
            self._hinted = True
            warn_of_session(assessed.ready, self._listen)
        tasks = correction_tasks(
            self.plan, assessed.ready, segments, start=self._next, more_to_come=not complete
        )
        for index, task in enumerate(tasks, self._next):
            if task.provisional:
                self._waiting = self._waiting or (index, task.name)
                if not provisional:
                    break
            if (
                len(self._correcting) >= UNDER_WAY * self._slots
                or self._correcting.get(task.name, task.key) != task.key
            ):
                self._blocked = True
                break
            self._next += not task.provisional
            if self._wanted(task) and self._is_due(task):
                self._correcting[task.name] = task.key
                yield self._correction(index, task)

    def _tell_breaks(self, breaks: Sequence[Break]) -> None:
        for one in breaks:
            if one not in self._told:
                self._listen(messages.Noted(str(one)))
        self._told |= set(breaks)

    def _wanted(self, task: CorrectionTask) -> bool:
        """Whether an output is not what it should be, as far as this run knows, and not under way."""
        there, refused = self._results.get(task.name), self._refused.get(task.name)
        if (refused is not None and refused[0] == task.key) or self._correcting.get(task.name) == task.key:
            return False
        return there is None or (not task.provisional and there.key != task.key)

    def _is_due(self, task: CorrectionTask) -> bool:
        """Whether the output is to be written; tell why. One that is there is kept, or not to be replaced."""
        output = output_name(task.record.stem, self.plan.settings.write)
        listen, size = self._listen, task.record.size
        try:
            found = kept_result(task, self._log.known.get(output), overwrite=self.plan.overwrite)
        except (MrczDaskError, OSError) as error:
            refused = failure(task, KEEPING, error)
            self._refused[task.name] = task.key, refused
            listen(messages.StackFailed(KEEPING, task.name, refused.reason, size))
            return False
        if isinstance(found, Due):
            listen(messages.StackDue(task.name, found.reason))
            return True
        self._results[task.name] = found
        listen(messages.StackDone(messages.CORRECTION, task.name, size, None, found))
        return False

    def _correction(self, index: int, task: CorrectionTask) -> Task:
        """Return the correction of a stack; the first window of a chain begins with sums of whole blocks."""
        generation, start, stop = self._chain
        new = not task.provisional and (generation != self._generation or not start <= index < stop)
        if new:
            left = len(self.plan.stacks) - index
            even = CHAIN if self._slots == 1 else left // (CHAINS * self._slots)
            start = index
            self._chain = self._generation, start, start + min(CHAIN, max(SHORTEST, even))
        blocks = self._blocks(task) if new else ()
        asked = window_task(task, blocks=blocks)
        needs = tuple(Task("sum-block", "windows", sum_block, block, priority=index) for block in blocks)
        chain = self._generation, PROVISIONAL if task.provisional else start
        step = Step("window", advance_windows, asked, chain, needs) if asked.windows else None
        return Task("correct-stack", messages.CORRECTION, correct_stack, task, priority=index, step=step)

    def _blocks(self, task: CorrectionTask) -> tuple[Block, ...]:
        """Return the whole blocks of the session's usable stacks that the long window of a stack holds."""
        if len(task.long) < WORTH:
            return ()
        ready, raw = self._assessment.ready, task.settings.koma.form == "subtract-raw"
        wanted = {*task.long, *((member_ref(task.record),) if task.usable else ())}
        found = []
        for start in range(0, len(ready), BLOCK):
            members = tuple(member_ref(one.record) for one in ready[start : start + BLOCK] if one.usable)
            if len({m.exponent for m in members}) == 1 and wanted.issuperset(members):
                found.append(Block(str(self.plan.store), members, raw, task.record.shape[1:]))
        return tuple(found)

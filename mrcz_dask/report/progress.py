"""How fast the runs over a session were, from their log."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from mrcz_dask.values import messages
from mrcz_dask.values.records import Record


@dataclass(frozen=True, slots=True)
class PassSpeed(Record):
    """Stacks and time of one phase of a run.

    Attributes
    ----------
    phase
        ``sums and masks`` or ``correction``.
    stacks, bytes
        Number and size of the stacks that went through it in this run, without those that were kept.
    seconds
        Time while it was going on.
    """

    phase: str
    stacks: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RunTimes(Record):
    """Times and results of one run over the session.

    Attributes
    ----------
    began, ended
        In ISO form, UTC; `ended` is that of its last message.
    how
        ``finished``, or what stopped it, or ``lost`` if it did not say that it ended.
    version, where
        Of the program; workers and threads.
    done, failed, kept
        Stacks.
    passes
        In the order in which they began.
    marks
        Pass, seconds since the beginning, and stacks through it by then.
    """

    began: str
    ended: str
    how: str
    version: str
    where: str
    done: int
    failed: int
    kept: int
    passes: tuple[PassSpeed, ...]
    marks: tuple[tuple[str, float, int], ...]

    @property
    def seconds(self) -> float:
        """From its beginning to its last message."""
        return (datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.began)).total_seconds()


@dataclass(slots=True)
class _Pass:
    stacks: int = 0
    bytes: int = 0
    seconds: float = 0.0
    since: datetime | None = None

    def end(self, time: datetime) -> None:
        """Stop the clock of the phase."""
        if self.since is not None:
            self.seconds += (time - self.since).total_seconds()
            self.since = None


@dataclass(slots=True)
class _Run:
    start: messages.RunStarted
    began: datetime
    last: datetime
    how: str = "lost"
    done: int = 0
    failed: int = 0
    kept: int = 0
    passes: dict[str, _Pass] = field(default_factory=dict)
    marks: list[tuple[str, float, int]] = field(default_factory=list)


class RunLog:
    """Folds the messages of a log into its runs."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def take(self, message: messages.Message, time: datetime) -> None:
        """Take in one message."""
        if isinstance(message, messages.RunStarted):
            self._runs.append(_Run(message, time, time))
        if not self._runs:
            return
        run = self._runs[-1]
        run.last = time
        match message:
            case messages.PhaseStarted():
                phase = run.passes.setdefault(message.phase, _Pass())
                phase.since = phase.since or time
            case messages.PhaseFinished() if message.phase in run.passes:
                run.passes[message.phase].end(time)
            case messages.StackDone() if message.found is not None and message.found.kept:
                run.kept += message.phase == messages.CORRECTION
            case messages.StackDone():
                phase = run.passes.setdefault(message.phase, _Pass())
                phase.stacks, phase.bytes = phase.stacks + 1, phase.bytes + message.bytes
                run.marks.append((message.phase, (time - run.began).total_seconds(), phase.stacks))
            case messages.RunFinished():
                run.how = "finished" if message.error is None else f"stopped: {message.error}"
                run.done, run.failed = message.done, message.failed
            case _:
                pass

    def runs(self) -> tuple[RunTimes, ...]:
        """Return the runs so far, the first one first."""
        return tuple(_times(run) for run in self._runs)


def _times(run: _Run) -> RunTimes:
    for phase in run.passes.values():
        phase.end(run.last)
    where = "one process, one stack at a time"
    about = run.start.executor
    if about.get("workers"):
        where = f"{about['workers']} workers, {about.get('threads', '?')} stacks at a time"
    return RunTimes(
        began=run.began.isoformat(),
        ended=run.last.isoformat(),
        how=run.how,
        version=run.start.version,
        where=where,
        done=run.done,
        failed=run.failed,
        kept=run.kept,
        passes=tuple(PassSpeed(name, p.stacks, p.bytes, p.seconds) for name, p in run.passes.items()),
        marks=tuple(run.marks),
    )

"""How fast the runs over a session were, from their log."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from mrcz_dask.values import messages
from mrcz_dask.values.records import Record


@dataclass(frozen=True, slots=True)
class PassSpeed(Record):
    """What one pass of a run did.

    Attributes
    ----------
    phase
        ``sums and masks`` or ``correction``.
    stacks, bytes
        That went through it in this run; those that were kept are not among them.
    seconds
        While it was going on.
    """

    phase: str
    stacks: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RunTimes(Record):
    """One run over the session.

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

    def until(self, time: datetime) -> None:
        if self.since is not None:
            self.seconds += (time - self.since).total_seconds()
            self.since = None


@dataclass(slots=True)
class _Run:
    """A run while its messages are taken in."""

    start: messages.RunStarted
    began: datetime
    last: datetime
    how: str = "lost"
    done: int = 0
    failed: int = 0
    kept: int = 0
    passes: dict[str, _Pass] = field(default_factory=dict)
    marks: list[tuple[str, float, int]] = field(default_factory=list)

    def take(self, message: messages.Message, time: datetime) -> None:
        self.last = time
        match message:
            case messages.PhaseStarted():
                one = self.passes.setdefault(message.phase, _Pass())
                one.since = one.since or time
            case messages.PhaseFinished() if message.phase in self.passes:
                self.passes[message.phase].until(time)
            case messages.StackDone():
                self._done(message, time)
            case messages.RunFinished():
                self.how = "finished" if message.error is None else f"stopped: {message.error}"
                self.done, self.failed = message.done, message.failed
            case _:
                pass

    def _done(self, message: messages.StackDone, time: datetime) -> None:
        if message.found is not None and message.found.kept:
            self.kept += message.phase == messages.CORRECTION
            return
        one = self.passes.setdefault(message.phase, _Pass())
        one.stacks, one.bytes = one.stacks + 1, one.bytes + message.bytes
        self.marks.append((message.phase, (time - self.began).total_seconds(), one.stacks))

    def times(self) -> RunTimes:
        for one in self.passes.values():
            one.until(self.last)
        passes = [PassSpeed(name, p.stacks, p.bytes, p.seconds) for name, p in self.passes.items()]
        return RunTimes(
            self.began.isoformat(),
            self.last.isoformat(),
            self.how,
            self.start.version,
            _where(self.start),
            self.done,
            self.failed,
            self.kept,
            tuple(passes),
            tuple(self.marks),
        )


class RunLog:
    """Folds the messages of a log into its runs."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def take(self, message: messages.Message, time: datetime) -> None:
        """Take in one message."""
        if isinstance(message, messages.RunStarted):
            self._runs.append(_Run(message, time, time))
        elif self._runs:
            self._runs[-1].take(message, time)

    def runs(self) -> tuple[RunTimes, ...]:
        """Return the runs so far, the first one first."""
        return tuple(run.times() for run in self._runs)


def _where(start: messages.RunStarted) -> str:
    about = start.executor
    if not about.get("workers"):
        return "one process, one stack at a time"
    return f"{about['workers']} workers, {about.get('threads', '?')} stacks at a time"

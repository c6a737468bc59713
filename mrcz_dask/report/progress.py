"""Measures from the log how fast the runs over a session were."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from mrcz_dask.values import messages
from mrcz_dask.values.records import Record


@dataclass(slots=True)
class PhaseSpeed(Record):
    """Record of how many stacks and bytes went through one phase of a run, and in how many seconds.

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
    stacks: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class RunTimes(Record):
    """Record of one run over the session: when it began and ended, how, and with how many stacks.

    Attributes
    ----------
    began, ended
        In ISO form, UTC; `ended` is that of its last message.
    how
        ``finished``, or what stopped it, or ``lost`` if it did not say that it ended.
    version, where
        Version of the program; number of workers and threads.
    done, failed, kept
        Stacks.
    passes
        Its phases in the order in which they began.
    marks
        Phase, seconds since the beginning, and stacks through it by then.
    """

    began: str
    ended: str
    how: str
    version: str
    where: str
    done: int = 0
    failed: int = 0
    kept: int = 0
    passes: list[PhaseSpeed] = field(default_factory=list)
    marks: list[tuple[str, float, int]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Seconds from the beginning of the run to its last message."""
        return (datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.began)).total_seconds()

    def phase(self, name: str) -> PhaseSpeed:
        """Return the record of a phase of this run; it is added if it is new."""
        known = [speed for speed in self.passes if speed.phase == name]
        self.passes += [] if known else [PhaseSpeed(name)]
        return known[0] if known else self.passes[-1]


class RunLog:
    """Builds records of runs, their times and results, from the messages of a log.

    Attributes
    ----------
    runs
        The runs so far, the first one first.
    """

    def __init__(self) -> None:
        self.runs: list[RunTimes] = []
        self._going_on: dict[str, datetime] = {}  # phases, and the time up to which they are counted

    def take(self, message: messages.Message, time: datetime) -> None:
        """Add one message of the log, with its time, to the run that it belongs to."""
        if isinstance(message, messages.RunStarted):
            about, now = message.executor, time.isoformat()
            where = "one process, one stack at a time"
            if about.get("workers"):
                where = f"{about['workers']} workers, {about.get('threads', '?')} stacks at a time"
            self.runs.append(RunTimes(now, now, "lost", message.version, where))
            self._going_on = {}
        if not self.runs:
            return
        run = self.runs[-1]
        run.ended = time.isoformat()
        for name, since in self._going_on.items():
            run.phase(name).seconds += (time - since).total_seconds()
            self._going_on[name] = time
        match message:
            case messages.PhaseStarted():
                run.phase(message.phase)
                self._going_on[message.phase] = time
            case messages.PhaseFinished():
                self._going_on.pop(message.phase, None)
            case messages.StackDone() if message.found is not None and message.found.kept:
                run.kept += message.phase == messages.CORRECTION
            case messages.StackDone():
                phase = run.phase(message.phase)
                phase.stacks, phase.bytes = phase.stacks + 1, phase.bytes + message.bytes
                began = datetime.fromisoformat(run.began)
                run.marks.append((message.phase, (time - began).total_seconds(), phase.stacks))
            case messages.RunFinished():
                run.how = "finished" if message.error is None else f"stopped: {message.error}"
                run.done, run.failed = message.done, message.failed
            case _:
                pass

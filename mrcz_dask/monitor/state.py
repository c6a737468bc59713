"""The state of a session, folded from the messages of its runs: live, or from the logbook on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mrcz_dask.session.log import Moment
from mrcz_dask.values import messages
from mrcz_dask.values.records import StackResult, Summed, Written

State = Literal["found", "summed", "provisional", "done", "failed"]
STATES: tuple[State, ...] = ("found", "summed", "provisional", "done", "failed")
KEPT_TEXTS = 100


@dataclass(slots=True)
class StackState:
    """A stack of the session.

    Attributes
    ----------
    name, output
        Relative to the session, and to the output folder.
    acquired
        Time of the microscope's clock.
    bytes_in
        Size of its file.
    seen
        When the run took it in.
    state
        ``found``, ``summed`` (first pass done), ``provisional``, ``done`` or ``failed``.
    summed, result
        What the passes found out, as far as they went.
    reason
        Why it failed; else why it was corrected once more; else empty.
    failed_in
        The phase in which it failed; empty if it did not.
    ended
        When it was done, or failed.
    """

    name: str
    output: str
    acquired: datetime
    bytes_in: int
    seen: datetime
    state: State = "found"
    summed: Summed | None = None
    result: StackResult | None = None
    reason: str = ""
    failed_in: str = ""
    ended: datetime | None = None

    @property
    def key(self) -> tuple[datetime, str]:
        """What orders the stacks of a session: in time, then by name."""
        return self.acquired, self.name

    @property
    def high_contrast(self) -> bool:
        """Whether it is no reference for others because of its contrast."""
        result = self.result
        return result is not None and not result.usable and result.score is not None

    @property
    def latency(self) -> float | None:
        """Seconds from being taken in to being done in the same run; None where it is not, or was kept."""
        if self.state not in ("done", "provisional") or self.ended is None:
            return None
        return None if self.result is None or self.result.kept else (self.ended - self.seen).total_seconds()


@dataclass(slots=True)
class Mark:
    """That so many bytes went through a pass at a time."""

    time: datetime
    bytes: int


@dataclass(slots=True)
class SessionState:
    """What is known of a session; `take` takes in what happens.

    Attributes
    ----------
    run
        The last run's beginning, and `began`, its time; None before.
    ended
        The last run's end; None while it goes on, and after a crash.
    updated
        The time of the last message.
    phases
        The passes that are going on, in the order in which they began.
    waiting
        What a run that follows a folder waits for; None while it does not.
    stacks
        By name, in the order in which they were found.
    written
        Outputs of `count`, by the name of the stack.
    left_out
        Files that are no stacks of the session.
    warnings
        The last ones, with their times.
    failures
        How often a stack could not go through a phase in this run.
    marks
        When stacks went through the passes in this run, by pass.
    """

    run: messages.RunStarted | None = None
    began: datetime | None = None
    ended: messages.RunFinished | None = None
    updated: datetime | None = None
    phases: list[str] = field(default_factory=list)
    waiting: messages.Waiting | None = None
    stacks: dict[str, StackState] = field(default_factory=dict)
    written: dict[str, Written] = field(default_factory=dict)
    left_out: dict[str, messages.StackLeftOut] = field(default_factory=dict)
    warnings: deque[tuple[datetime, str]] = field(default_factory=lambda: deque(maxlen=KEPT_TEXTS))
    failures: int = 0
    marks: dict[str, deque[Mark]] = field(default_factory=dict)

    @classmethod
    def of(cls, moments: Iterable[Moment]) -> SessionState:
        """Return the state after all that happened."""
        state = cls()
        for time, message in moments:
            state.take(message, time)
        return state

    def take(self, message: messages.Message, time: datetime) -> None:
        """Take in one message."""
        self.updated = time
        match message:
            case messages.RunStarted():
                self._start(message, time)
            case messages.StackFound():
                self._found(message, time)
            case messages.StackLeftOut():
                self.left_out[message.name] = message
                self.stacks.pop(message.name, None)
            case messages.StackDue():
                self._due(message)
            case messages.PhaseStarted() if message.phase not in self.phases:
                self.phases.append(message.phase)
            case messages.PhaseFinished() if message.phase in self.phases:
                self.phases.remove(message.phase)
            case messages.StackDone():
                self._done(message, time)
            case messages.StackFailed():
                self._failed(message, time)
            case messages.Waiting():
                self.waiting = message
            case messages.Warned():
                self.warnings.append((time, message.message))
            case messages.RunFinished():
                self.ended, self.phases, self.waiting = message, [], None
            case _:
                pass

    def _start(self, message: messages.RunStarted, time: datetime) -> None:
        self.run, self.began = message, time
        self.ended = self.waiting = None
        self.failures = 0
        for kept in (self.phases, self.stacks, self.left_out, self.warnings, self.marks):
            kept.clear()

    def _found(self, message: messages.StackFound, time: datetime) -> None:
        acquired = datetime.fromisoformat(message.acquired)
        self.left_out.pop(message.name, None)
        self.stacks[message.name] = StackState(message.name, message.output, acquired, message.bytes, time)

    def _due(self, message: messages.StackDue) -> None:
        stack = self.stacks.get(message.name)
        if stack is not None:
            stack.reason, stack.failed_in = message.reason, ""
            if stack.state != "provisional":
                stack.state = "summed" if stack.summed else "found"

    def _done(self, message: messages.StackDone, time: datetime) -> None:
        if isinstance(message.found, Written):
            self.written[message.name] = message.found
            return
        stack = self.stacks.get(message.name)
        if stack is None or message.found is None:
            return
        if stack.state == "failed":
            stack.reason = stack.failed_in = ""
        if isinstance(message.found, Summed):
            stack.summed, stack.state = message.found, "summed"
        else:
            stack.result, stack.ended = message.found, time
            stack.state = "provisional" if message.found.provisional else "done"
        if not message.found.kept:
            self.marks.setdefault(message.phase, deque()).append(Mark(time, message.bytes))

    def _failed(self, message: messages.StackFailed, time: datetime) -> None:
        self.failures += 1
        stack = self.stacks.get(message.name)
        if stack is not None:
            stack.state, stack.reason, stack.ended = "failed", message.reason, time
            stack.failed_in = message.phase

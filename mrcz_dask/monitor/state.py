"""State of a session, built from the messages of its runs, as they arrive or from the log on disk."""

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
KEPT_WARNINGS = 100


@dataclass(slots=True)
class StackState:
    """Record of how far one stack is: found, summed, provisional, done or failed.

    Attributes
    ----------
    name, output
        Relative to the session, and to the output folder.
    acquired
        Time of the microscope's clock.
    bytes_in
        Size of its file.
    seen
        When the run found it.
    state
        ``found``, ``summed`` (mask and sum are there), ``provisional``, ``done`` or ``failed``.
    summed, result
        Records of the sum and of the output, as far as they are there.
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
        """Key by which stacks are sorted: time of acquisition, then name."""
        return self.acquired, self.name

    @property
    def high_contrast(self) -> bool:
        """True if the stack is left out of windows because of carbon or thick ice."""
        result = self.result
        return result is not None and not result.usable and result.score is not None

    @property
    def latency(self) -> float | None:
        """Seconds from finding the stack to writing its output; None if it is not done, or was kept."""
        if self.state not in ("done", "provisional") or self.ended is None:
            return None
        return None if self.result is None or self.result.kept else (self.ended - self.seen).total_seconds()


@dataclass(slots=True)
class Mark:
    """Record of the moment when a stack went through a phase, and of its size, for rates."""

    time: datetime
    bytes: int


@dataclass(slots=True)
class SessionState:
    """State of a session and all its stacks, updated by each message of a run.

    Attributes
    ----------
    run
        The last run's beginning, and `began`, its time; None before.
    ended
        The last run's end; None while it goes on, and after a crash.
    updated
        The time of the last message.
    phases
        The phases that are going on, in the order in which they began.
    waiting
        Text that says for which stacks a run that follows a folder waits; None = for none.
    stacks
        States of the stacks by name, in the order in which they were found.
    written
        Outputs of `count`, by the name of the stack.
    left_out
        Files that are no stacks of the session.
    warnings
        The last ones, with their times.
    failures
        How often a stack could not go through a phase in this run.
    marks
        When stacks went through the phases in this run, by phase.
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
    warnings: deque[tuple[datetime, str]] = field(default_factory=lambda: deque(maxlen=KEPT_WARNINGS))
    failures: int = 0
    marks: dict[str, deque[Mark]] = field(default_factory=dict)

    @property
    def results(self) -> list[StackResult]:
        """Results of the stacks that are corrected, also of provisional ones."""
        stacks = self.stacks.values()
        return [s.result for s in stacks if s.result is not None and s.state in ("provisional", "done")]

    @classmethod
    def of(cls, moments: Iterable[Moment]) -> SessionState:
        """Return the state after a series of messages, such as those of the log."""
        state = cls()
        for time, message in moments:
            state.take(message, time)
        return state

    def take(self, message: messages.Message, time: datetime) -> None:
        """Update the state by one message and its time."""
        self.updated = time
        match message:
            case messages.RunStarted():
                self.run, self.began, self.ended, self.waiting, self.failures = message, time, None, None, 0
                for kept in (self.phases, self.stacks, self.left_out, self.warnings, self.marks):
                    kept.clear()
            case messages.StackFound():
                acquired = datetime.fromisoformat(message.acquired)
                self.left_out.pop(message.name, None)
                stack = StackState(message.name, message.output, acquired, message.bytes, time)
                self.stacks[message.name] = stack
            case messages.StackLeftOut():
                self.left_out[message.name] = message
                self.stacks.pop(message.name, None)
            case messages.PhaseStarted() if message.phase not in self.phases:
                self.phases.append(message.phase)
            case messages.PhaseFinished() if message.phase in self.phases:
                self.phases.remove(message.phase)
            case messages.StackDue() | messages.StackDone() | messages.StackFailed():
                self._take_stack(message, time)
            case messages.Waiting():
                self.waiting = message
            case messages.Warned():
                self.warnings.append((time, message.message))
            case messages.RunFinished():
                self.ended, self.phases, self.waiting = message, [], None
            case _:
                pass

    def _take_stack(
        self, message: messages.StackDue | messages.StackDone | messages.StackFailed, time: datetime
    ) -> None:
        stack = self.stacks.get(message.name)
        match message:
            case messages.StackFailed():
                self.failures += 1
                if stack is not None:
                    stack.state, stack.reason, stack.ended = "failed", message.reason, time
                    stack.failed_in = message.phase
            case messages.StackDue() if stack is not None:
                stack.reason, stack.failed_in = message.reason, ""
                if stack.state != "provisional":
                    stack.state = "summed" if stack.summed else "found"
            case messages.StackDone(found=Written() as written):
                self.written[message.name] = written
            case messages.StackDone(found=Summed() | StackResult() as record) if stack is not None:
                if stack.state == "failed":
                    stack.reason = stack.failed_in = ""
                if isinstance(record, Summed):
                    stack.summed, stack.state = record, "summed"
                else:
                    stack.result, stack.ended = record, time
                    stack.state = "provisional" if record.provisional else "done"
                if not record.kept:
                    self.marks.setdefault(message.phase, deque()).append(Mark(time, message.bytes))
            case _:
                pass

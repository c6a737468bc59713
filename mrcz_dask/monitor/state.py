"""The state of a session, folded from the events of its runs: live, or from the logbook on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mrcz_dask.session.logbook import Moment
from mrcz_dask.values import events
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
        The time of the last event.
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

    run: events.RunStarted | None = None
    began: datetime | None = None
    ended: events.RunFinished | None = None
    updated: datetime | None = None
    phases: list[str] = field(default_factory=list)
    waiting: events.Waiting | None = None
    stacks: dict[str, StackState] = field(default_factory=dict)
    written: dict[str, Written] = field(default_factory=dict)
    left_out: dict[str, events.StackLeftOut] = field(default_factory=dict)
    warnings: deque[tuple[datetime, str]] = field(default_factory=lambda: deque(maxlen=KEPT_TEXTS))
    failures: int = 0
    marks: dict[str, deque[Mark]] = field(default_factory=dict)

    @classmethod
    def of(cls, moments: Iterable[Moment]) -> SessionState:
        """Return the state after all that happened."""
        state = cls()
        for time, event in moments:
            state.take(event, time)
        return state

    def take(self, event: events.Event, time: datetime) -> None:
        """Take in one event."""
        self.updated = time
        match event:
            case events.RunStarted():
                self._start(event, time)
            case events.StackFound():
                self._found(event, time)
            case events.StackLeftOut():
                self.left_out[event.name] = event
                self.stacks.pop(event.name, None)
            case events.StackDue():
                self._due(event)
            case events.PhaseStarted() if event.phase not in self.phases:
                self.phases.append(event.phase)
            case events.PhaseFinished() if event.phase in self.phases:
                self.phases.remove(event.phase)
            case events.StackDone():
                self._done(event, time)
            case events.StackFailed():
                self._failed(event, time)
            case events.Waiting():
                self.waiting = event
            case events.Warned():
                self.warnings.append((time, event.message))
            case events.RunFinished():
                self.ended, self.phases, self.waiting = event, [], None
            case _:
                pass

    def _start(self, event: events.RunStarted, time: datetime) -> None:
        self.run, self.began = event, time
        self.ended = self.waiting = None
        self.failures = 0
        for kept in (self.phases, self.stacks, self.left_out, self.warnings, self.marks):
            kept.clear()

    def _found(self, event: events.StackFound, time: datetime) -> None:
        acquired = datetime.fromisoformat(event.acquired)
        self.left_out.pop(event.name, None)
        self.stacks[event.name] = StackState(event.name, event.output, acquired, event.bytes, time)

    def _due(self, event: events.StackDue) -> None:
        stack = self.stacks.get(event.name)
        if stack is not None:
            stack.reason, stack.failed_in = event.reason, ""
            if stack.state != "provisional":
                stack.state = "summed" if stack.summed else "found"

    def _done(self, event: events.StackDone, time: datetime) -> None:
        if isinstance(event.found, Written):
            self.written[event.name] = event.found
            return
        stack = self.stacks.get(event.name)
        if stack is None or event.found is None:
            return
        if stack.state == "failed":
            stack.reason = stack.failed_in = ""
        if isinstance(event.found, Summed):
            stack.summed, stack.state = event.found, "summed"
        else:
            stack.result, stack.ended = event.found, time
            stack.state = "provisional" if event.found.provisional else "done"
        if not event.found.kept:
            self.marks.setdefault(event.phase, deque()).append(Mark(time, event.bytes))

    def _failed(self, event: events.StackFailed, time: datetime) -> None:
        self.failures += 1
        stack = self.stacks.get(event.name)
        if stack is not None:
            stack.state, stack.reason, stack.ended = "failed", event.reason, time
            stack.failed_in = event.phase

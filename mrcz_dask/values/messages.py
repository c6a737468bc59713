"""Messages about the progress of a run, for progress bars, the log and the web page.

Computing code sends messages and knows none of its listeners.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from mrcz_dask.values.records import Record, StackResult, Summed, Written
from mrcz_dask.values.timing import Timing

SUMS, CORRECTION, COUNTED = "sums and masks", "correction", "counted frames"


@dataclass(frozen=True, slots=True)
class Message(Record):
    """Base class of all messages that a run sends to its listeners, such as progress bars and the log."""

    # Fields that stay out of logs.
    unlogged: ClassVar[tuple[str, ...]] = ("timing",)


@dataclass(frozen=True, slots=True)
class RunStarted(Message):
    """Message: a run begins; with version, folders, parameters, and where its tasks run."""

    version: str
    session: str
    output: str
    settings: dict[str, Any]
    executor: dict[str, Any]
    platform: str


@dataclass(frozen=True, slots=True)
class StackFound(Message):
    """Message: a stack belongs to the session; with its acquisition time by the microscope's clock,
    in ISO form.
    """

    name: str
    output: str
    acquired: str
    acquired_from: str
    bytes: int


@dataclass(frozen=True, slots=True)
class StackLeftOut(Message):
    """Message: a file is not a stack of the session; `rejected` if it looks
    like a stack but cannot be used.
    """

    name: str
    reason: str
    rejected: bool


@dataclass(frozen=True, slots=True)
class StackDue(Message):
    """Message: a stack will be corrected in this run; with the reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClusterReady(Message):
    """Message: Dask workers have started; with their number, threads each,
    and the dashboard's address ('' = none).
    """

    workers: int
    threads: int
    scheduler: str
    dashboard: str


@dataclass(frozen=True, slots=True)
class PageReady(Message):
    """Message: the web page of the session is up, at this address, until the run ends."""

    address: str


@dataclass(frozen=True, slots=True)
class PhaseStarted(Message):
    """Message: a phase begins in which all stacks are processed, such as summing or correcting them."""

    phase: str
    stacks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StackDone(Message):
    """Message: one stack has gone through a phase; with the bytes that were read."""

    phase: str
    name: str
    bytes: int
    timing: Timing | None = None
    found: Summed | StackResult | Written | None = None


@dataclass(frozen=True, slots=True)
class StackFailed(Message):
    """Message: one stack failed in a phase and is left out; with the reason, and the time that it took."""

    phase: str
    name: str
    reason: str
    bytes: int
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class PhaseFinished(Message):
    """Message: all stacks have gone through a phase."""

    phase: str


@dataclass(frozen=True, slots=True)
class Warned(Message):
    """Message: a warning for the user; the run goes on."""

    message: str


@dataclass(frozen=True, slots=True)
class Noted(Message):
    """Message: a fact that the run found out and uses, such as the orientation of a gain."""

    message: str


@dataclass(frozen=True, slots=True)
class Waiting(Message):
    """Message: a run that follows a folder needs `more` stacks before it corrects stack `place` (from 1)."""

    name: str
    place: int
    more: int

    def __str__(self) -> str:
        return f"stack {self.place} ({self.name}) is final after {self.more} more"


@dataclass(frozen=True, slots=True)
class RunFinished(Message):
    """Message: a run has ended; `error` says why if it ended early."""

    done: int
    failed: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LiveStarted(Message):
    """Message: a live session begins."""

    source: str
    processors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProcessorLoaded(Message):
    """Message: a live processor's file was loaded, for the first time or after an edit (`version` counts)."""

    name: str
    file: str
    digest: str
    version: int


@dataclass(frozen=True, slots=True)
class ProcessorFailed(Message):
    """Message: a live processor raised an exception on a frame (-1: while it was loaded);
    with the traceback.
    """

    name: str
    frame: int
    trace: str


@dataclass(frozen=True, slots=True)
class ProcessorRestarted(Message):
    """Message: a live processor's worker was lost or killed at a frame, and another worker replaces it."""

    name: str
    frame: int
    reason: str


@dataclass(frozen=True, slots=True)
class FramesMissing(Message):
    """Message: `count` frames of a live stream never arrived before this one."""

    frame: int
    count: int


@dataclass(frozen=True, slots=True)
class SourceEnded(Message):
    """Message: a live source has no more frames; `error` says why if it failed."""

    source: str
    frames: int
    error: str


Listener = Callable[[Message], None]


def silent(message: Message) -> None:
    """Ignore a message; the listener for runs that report nothing."""


def several(*listeners: Listener) -> Listener:
    """Return a listener that passes each message on to all of the given ones."""

    def pass_on(message: Message) -> None:
        """Pass a message on to each listener."""
        for listen in listeners:
            listen(message)

    return pass_on

"""Messages that a run sends to its listeners, such as progress bars, the log and pages.

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
    """Base of all messages."""

    # Fields that stay out of logs.
    unlogged: ClassVar[tuple[str, ...]] = ("timing",)


@dataclass(frozen=True, slots=True)
class RunStarted(Message):
    """A run begins: the version, the folders, the parameters, and what it runs on."""

    version: str
    session: str
    output: str
    settings: dict[str, Any]
    executor: dict[str, Any]
    platform: str


@dataclass(frozen=True, slots=True)
class StackFound(Message):
    """A stack belongs to the session: acquired at a time of the microscope's clock, in ISO form."""

    name: str
    output: str
    acquired: str
    acquired_from: str
    bytes: int


@dataclass(frozen=True, slots=True)
class StackLeftOut(Message):
    """A file is no stack of the session; `rejected` if it should have been one."""

    name: str
    reason: str
    rejected: bool


@dataclass(frozen=True, slots=True)
class StackDue(Message):
    """A stack must be corrected, for this reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClusterReady(Message):
    """Workers are there: their number, threads each, and where the dashboard is ('' = nowhere)."""

    workers: int
    threads: int
    scheduler: str
    dashboard: str


@dataclass(frozen=True, slots=True)
class PageReady(Message):
    """The page of the session is at an address until the run is over."""

    address: str


@dataclass(frozen=True, slots=True)
class PhaseStarted(Message):
    """A phase over the stacks begins."""

    phase: str
    stacks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StackDone(Message):
    """A stack went through a phase, in which `bytes` of it were read."""

    phase: str
    name: str
    bytes: int
    timing: Timing | None = None
    found: Summed | StackResult | Written | None = None


@dataclass(frozen=True, slots=True)
class StackFailed(Message):
    """A stack could not go through a phase; `timing` is that of the attempt."""

    phase: str
    name: str
    reason: str
    bytes: int
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class PhaseFinished(Message):
    """A phase over the stacks is over."""

    phase: str


@dataclass(frozen=True, slots=True)
class Warned(Message):
    """A warning, which stops nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class Noted(Message):
    """A fact that a run found out and relies on, such as the orientation of a gain."""

    message: str


@dataclass(frozen=True, slots=True)
class Waiting(Message):
    """A run that follows a folder waits: stack number `place` (from 1) is final after `more` stacks."""

    name: str
    place: int
    more: int

    def __str__(self) -> str:
        return f"stack {self.place} ({self.name}) is final after {self.more} more"


@dataclass(frozen=True, slots=True)
class RunFinished(Message):
    """A run is over; `error` says what ended it early."""

    done: int
    failed: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LiveStarted(Message):
    """A live session begins."""

    source: str
    processors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProcessorLoaded(Message):
    """A processor's file was loaded, for the `version`-th time."""

    name: str
    file: str
    digest: str
    version: int


@dataclass(frozen=True, slots=True)
class ProcessorFailed(Message):
    """A processor raised on a frame (-1: while it was loaded), with its traceback."""

    name: str
    frame: int
    trace: str


@dataclass(frozen=True, slots=True)
class ProcessorRestarted(Message):
    """A processor's worker was lost or given up at a frame; another one takes its place."""

    name: str
    frame: int
    reason: str


@dataclass(frozen=True, slots=True)
class FramesMissing(Message):
    """Frames are missing: `count` frames before this one never came."""

    frame: int
    count: int


@dataclass(frozen=True, slots=True)
class SourceEnded(Message):
    """The source has no more frames; `error` says why if it failed."""

    source: str
    frames: int
    error: str


Listener = Callable[[Message], None]


def silent(message: Message) -> None:
    """Ignore a message."""


def several(*listeners: Listener) -> Listener:
    """Return a listener that passes each message to all of these."""

    def pass_on(message: Message) -> None:
        for listen in listeners:
            listen(message)

    return pass_on

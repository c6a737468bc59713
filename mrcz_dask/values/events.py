"""What a run tells whoever listens: progress bars, dashboards, logs. Computing code knows none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mrcz_dask.values.timing import Timing


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class ClusterReady(Event):
    """Workers are there: their number, threads each, and where the dashboard is ('' = nowhere)."""

    workers: int
    threads: int
    scheduler: str
    dashboard: str


@dataclass(frozen=True, slots=True)
class PhaseStarted(Event):
    """A pass over the stacks begins."""

    phase: str
    stacks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StackDone(Event):
    """One stack went through a phase; `bytes` of it were read, in that time if it was taken."""

    phase: str
    name: str
    bytes: int
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class StackFailed(Event):
    """One stack could not go through a phase; `timing` is that of the attempt."""

    phase: str
    name: str
    reason: str
    bytes: int
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class PhaseFinished(Event):
    """A pass over the stacks is over."""

    phase: str


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something that a person should know, and that stops nothing."""

    message: str


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing."""

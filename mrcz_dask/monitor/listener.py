"""A session while it is processed: a listener that folds messages, and tells other threads what is new."""

from __future__ import annotations

import threading
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mrcz_dask.monitor.columns import Row, row
from mrcz_dask.monitor.snapshot import Snapshot, snapshot
from mrcz_dask.monitor.state import SessionState
from mrcz_dask.values import messages
from mrcz_dask.values.records import StackResult


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in what has happened, up to which somebody knows it."""

    generation: int = -1
    position: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """The stacks that are new or have changed since a cursor.

    Attributes
    ----------
    cursor
        The place up to which all is known with it.
    all_anew
        Whether `rows` are all there are, and take the place of what was known.
    rows
        By place in time.
    """

    cursor: Cursor
    all_anew: bool
    rows: dict[int, Row]


class SessionListener:
    """A listener that knows how a session stands; any thread may ask.

    Parameters
    ----------
    now
        A clock with a zone.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._state = SessionState()
        self._order: list[tuple[Any, str]] = []
        self._places: dict[str, int] = {}
        self._touched: list[int] = []
        self._generation = 0
        self._newest: tuple[str, str] | None = None

    def __call__(self, message: messages.Message) -> None:
        """Take in one message."""
        with self._lock:
            self._state.take(message, self._now())
            self._note(message)

    def snapshot(self) -> Snapshot:
        """Return how the session stands at this moment."""
        with self._lock:
            return snapshot(self._state, self._now())

    def totals(self) -> tuple[dict[str, tuple[int, int]], int]:
        """Return stacks and bytes that went through each phase in this run, and how often one failed."""
        with self._lock:
            marks = self._state.marks.items()
            sizes = {name: (len(done), sum(mark.bytes for mark in done)) for name, done in marks}
            return sizes, self._state.failures

    def newest(self) -> tuple[str, str] | None:
        """Return the output folder and the output of the stack that was corrected last; None before."""
        with self._lock:
            return self._newest

    def changes(self, since: Cursor) -> Changes:
        """Return the stacks that are new or have changed."""
        with self._lock:
            anew = since.generation != self._generation
            places = range(len(self._order)) if anew else sorted(set(self._touched[since.position :]))
            cursor = Cursor(self._generation, len(self._touched))
            stacks = self._state.stacks
            return Changes(cursor, anew, {k: row(k, stacks[self._order[k][1]]) for k in places})

    def _note(self, message: messages.Message) -> None:
        """Note which stacks a message has changed."""
        match message:
            case messages.RunStarted():
                self._newest = None
                self._begin_anew()
            case messages.StackFound():
                self._place(message.name)
            case messages.StackLeftOut() if message.name in self._places:
                self._begin_anew()
            case messages.StackDue() | messages.StackDone() | messages.StackFailed() if (
                message.name in self._places
            ):
                self._touched.append(self._places[message.name])
                result, run = getattr(message, "found", None), self._state.run
                if isinstance(result, StackResult) and run is not None:
                    self._newest = run.output, result.output
            case _:
                pass

    def _place(self, name: str) -> None:
        """Give a stack its place in time; those after it move on, if there are any."""
        key = self._state.stacks[name].key
        known = self._places.get(name)
        if known is not None and self._order[known] == key:
            self._touched.append(known)
        elif known is None and bisect(self._order, key) == len(self._order):
            self._places[name] = len(self._order)
            self._touched.append(len(self._order))
            self._order.append(key)
        else:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._order = sorted(stack.key for stack in self._state.stacks.values())
        self._places = {name: place for place, (_, name) in enumerate(self._order)}
        self._touched = []
        self._generation += 1

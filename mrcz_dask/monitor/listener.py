"""Follows a run by its messages, and tells the page and the metrics how it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from mrcz_dask.monitor.columns import Row, row
from mrcz_dask.monitor.snapshot import Snapshot, snapshot
from mrcz_dask.monitor.state import SessionState
from mrcz_dask.values import messages
from mrcz_dask.values.records import StackResult


class SessionListener:
    """Listens to the messages of a run and keeps the session's state, which any thread may ask for.

    Parameters
    ----------
    now
        A clock with a zone.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._state = SessionState()
        self._rows: dict[str, Row] = {}
        self._newest: tuple[str, str] | None = None

    def __call__(self, message: messages.Message) -> None:
        """Take in one message."""
        with self._lock:
            self._state.take(message, self._now())
            name = getattr(message, "name", "")
            if isinstance(message, messages.RunStarted):
                self._rows, self._newest = {}, None
            elif name in self._state.stacks:
                self._rows[name] = row(self._state.stacks[name])
                result, run = getattr(message, "found", None), self._state.run
                if isinstance(result, StackResult) and run is not None:
                    self._newest = run.output, result.output
            else:
                self._rows.pop(name, None)

    def snapshot(self) -> Snapshot:
        """Return the state of the session now: counts of stacks, rates, time left, mean R."""
        with self._lock:
            return snapshot(self._state, self._now())

    def totals(self) -> tuple[dict[str, tuple[int, int]], int]:
        """Return stacks and bytes that went through each phase in this run, and the number of failures."""
        with self._lock:
            marks = self._state.marks.items()
            sizes = {name: (len(done), sum(mark.bytes for mark in done)) for name, done in marks}
            return sizes, self._state.failures

    def newest(self) -> tuple[str, str] | None:
        """Return output folder and output name of the stack corrected last; None if there is none."""
        with self._lock:
            return self._newest

    def rows(self) -> list[Row]:
        """Return a row of numbers for each stack, in order of time; a changed stack has a new row."""
        with self._lock:
            stacks = sorted(self._state.stacks.values(), key=lambda stack: stack.key)
            return [self._rows[stack.name] for stack in stacks]

"""Follows a run by its messages, and tells page and metrics how it stands; its stacks as rows of numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import nan
from typing import Any

import numpy as np

from mrcz_dask.monitor.snapshot import Snapshot, snapshot
from mrcz_dask.monitor.state import STATES, SessionState, StackState
from mrcz_dask.values import messages
from mrcz_dask.values.records import StackResult

# The axis of correlated noise is logarithmic; held-out noise may be negative and is drawn here, then.
NOISE_FLOOR = 1e-5
LANES = (*STATES, "high contrast")
KINDS = ("raw", "filtered", "corrected")
TEXTS = ("name", "acquired", "state", "reason", "noise", "usable")
NUMBERS = ("lane", "contrast", "hot", "dead", "t_dark", "t_hot", "mu", "dose", *KINDS)

Row = Mapping[str, Any]


def row(stack: StackState) -> dict[str, Any]:
    """Return a stack's state as a dict of texts and numbers for the plots, NaN where not known yet."""
    noise = stack.result.noise if stack.result is not None else {}
    values = {kind: noise.get(kind) for kind in KINDS}
    shown = [f"{kind} {'-' if value is None else f'{value:.2e}'}" for kind, value in values.items()]
    outliers = stack.summed or stack.result
    return {
        "name": stack.name,
        "acquired": f"{stack.acquired:%Y-%m-%d %H:%M:%S}",
        "state": stack.state,
        "reason": stack.reason,
        "noise": ", ".join(shown) if noise else "-",
        "usable": "high" if stack.high_contrast else "ordinary",
        "lane": float(LANES.index(stack.state)),
        "contrast": float(LANES.index("high contrast")) if stack.high_contrast else nan,
        **{name: _number(getattr(outliers, name, None)) for name in ("hot", "dead")},
        **{name: _number(getattr(stack.summed, name, None)) for name in ("t_dark", "t_hot", "mu", "dose")},
        **{kind: nan if value is None else max(value, NOISE_FLOOR) for kind, value in values.items()},
    }


def columns(rows: Sequence[Row], first: int = 0) -> dict[str, Any]:
    """Return rows of stacks as columns for the plots; stacks are numbered from `first` + 1."""
    texts = {name: [str(row[name]) for row in rows] for name in TEXTS}
    numbers = {name: np.array([row[name] for row in rows], np.float64) for name in NUMBERS}
    return {**texts, "number": np.arange(first + 1.0, first + 1 + len(rows)), **numbers}


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


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
        self._newest: tuple[str, str, str] | None = None

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
                    self._newest = run.output, result.output, f"{name}, {self._rows[name]['acquired']}"
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

    def newest(self) -> tuple[str, str, str] | None:
        """Return the stack corrected last: output folder, output name, its name and time; None before it."""
        with self._lock:
            return self._newest

    def rows(self) -> list[Row]:
        """Return a row of numbers for each stack, in order of time; a changed stack has a new row."""
        with self._lock:
            stacks = sorted(self._state.stacks.values(), key=lambda stack: stack.key)
            return [self._rows[stack.name] for stack in stacks]

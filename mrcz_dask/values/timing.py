"""Measures how long tasks spend in each phase, such as reading, decoding and writing.

A mark costs two microseconds while a clock runs, and a fifth of one otherwise. Marks may be nested: the time
of the inner one is taken off the outer one, so that the phases of a thread add up to its time.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter_ns, thread_time_ns, time
from types import TracebackType
from typing import Literal, Self, TypeVar, get_args

Phase = Literal["decode", "sum", "fit", "window", "apply", "encode", "disk", "blocked", "other"]
PHASES: tuple[Phase, ...] = get_args(Phase)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spent:
    """Record of the time and bytes that one task spent in one phase, such as ``decode`` or ``disk``.

    Attributes
    ----------
    phase
        Its name; ``blocked`` is waiting for helping threads, ``other`` what no mark names.
    helpers
        False: of the task's own thread. True: of threads that worked for it.
    wall, processor
        Seconds; of several helping threads their sum.
    bytes
        Bytes of decoded or encoded pixels, or bytes read and written.
    """

    phase: Phase
    helpers: bool
    wall: float
    processor: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Record of one task's duration, split into phases, and where it ran.

    Attributes
    ----------
    worker
        Host and process that carried it out.
    start
        Seconds since 1970, by that host's clock.
    wall
        Seconds from its start to its end; the phases of its own thread add up to this.
    spent
        Phase by phase.
    """

    worker: str
    start: float
    wall: float
    spent: tuple[Spent, ...]

    def __add__(self, other: Timing) -> Timing:
        """Return the time of this task with that of another, which was done for it."""
        sums: dict[tuple[Phase, bool], Spent] = {}
        for part in (*self.spent, *other.spent):
            key = part.phase, part.helpers
            known = sums.get(key, Spent(*key, 0.0, 0.0, 0))
            wall, processor = known.wall + part.wall, known.processor + part.processor
            sums[key] = Spent(*key, wall, processor, known.bytes + part.bytes)
        return replace(self, wall=self.wall + other.wall, spent=tuple(sums.values()))


class _Account:
    """Nanoseconds and bytes of a phase of one thread so far."""

    __slots__ = ("nbytes", "processor", "wall")

    def __init__(self) -> None:
        self.wall = self.processor = self.nbytes = 0


Accounts = dict[Phase, _Account]


def _accounts() -> Accounts:
    return {name: _Account() for name in PHASES}


class _Lane:
    """The time of one thread, cut where the phase changes."""

    __slots__ = ("_account", "_processor", "_wall", "accounts", "clock")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.accounts = _accounts()
        self._account = self.accounts["other"]
        self._wall, self._processor = perf_counter_ns(), thread_time_ns()

    def switch(self, account: _Account) -> _Account:
        """Go on in another phase; add the time since the last switch to the old one and return that."""
        wall, processor = perf_counter_ns(), thread_time_ns()
        before = self._account
        before.wall += wall - self._wall
        before.processor += processor - self._processor
        self._account, self._wall, self._processor = account, wall, processor
        return before

    def stop(self) -> None:
        """Add the time since the last switch."""
        self.switch(self._account)


_lane: ContextVar[_Lane | None] = ContextVar("lane", default=None)


class _Mark:
    __slots__ = ("_account", "_lane", "_outer")

    def __init__(self, lane: _Lane, account: _Account) -> None:
        self._lane, self._account = lane, account

    def __enter__(self) -> None:
        self._outer = self._lane.switch(self._account)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._lane.switch(self._outer)


_OFF = nullcontext()  # the mark where no clock runs


def phase(name: Phase, nbytes: int = 0) -> AbstractContextManager[None]:
    """Return a context manager that adds the time of its block to a phase, such as ``disk``,
    of the running task.

    Parameters
    ----------
    name
        Name of the phase.
    nbytes
        Bytes that go through it in this block.
    """
    lane = _lane.get()
    if lane is None:
        return _OFF
    account = lane.accounts[name]
    account.nbytes += nbytes
    return _Mark(lane, account)


def carried(job: Callable[[], T]) -> Callable[[], T]:
    """Wrap a function for a helping thread, so that its time counts to the task of the calling thread."""
    lane = _lane.get()
    return job if lane is None else partial(lane.clock.help, job)


class Clock:
    """Measures how long the task in its ``with`` block spends in each phase, helping threads included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helpers = _accounts()

    def __enter__(self) -> Self:
        self._start = time()
        self._own = _Lane(self)
        self._before = _lane.set(self._own)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _lane.reset(self._before)
        self._own.stop()

    def help(self, job: Callable[[], T]) -> T:
        """Call a function in a helping thread and add its time to this clock's task."""
        lane = _Lane(self)
        before = _lane.set(lane)
        try:
            return job()
        finally:
            _lane.reset(before)
            lane.stop()
            with self._lock:
                for name, account in lane.accounts.items():
                    total = self._helpers[name]
                    total.wall += account.wall
                    total.processor += account.processor
                    total.nbytes += account.nbytes

    def timing(self) -> Timing:
        """Return the measured times, after the ``with`` block."""
        with self._lock:
            helpers = _spent(self._helpers, helpers=True)
        wall = sum(account.wall for account in self._own.accounts.values()) / 1e9
        own = _spent(self._own.accounts, helpers=False)
        return Timing(f"{platform.node()}:{os.getpid()}", self._start, wall, own + helpers)


def _spent(accounts: Accounts, *, helpers: bool) -> tuple[Spent, ...]:
    return tuple(
        Spent(name, helpers, account.wall / 1e9, account.processor / 1e9, account.nbytes)
        for name, account in accounts.items()
        if account.wall
    )

"""The numbers of a session at a moment: what the page, the metrics and `mrcz-dask status` all show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from mrcz_dask.monitor.state import STATES, Mark, SessionState, StackState
from mrcz_dask.values import messages

Running = Literal["nothing yet", "running", "finished", "stopped", "lost"]
RESULTS = ("provisional", "done")
NOISE = ("raw", "filtered", "corrected")
# Rates are those of so many stacks at most, the last ones.
LAST = 30
# What a correction takes, in times of the sum of the same stack.
SECOND_PASS = 2.5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session at a moment.

    Attributes
    ----------
    running
        ``running``; ``finished``; ``stopped`` by an error or a person; ``lost`` (it ended without saying so).
    error
        What stopped it.
    phase
        The passes that go on, with commas, or None.
    began, updated
        Times of the run's beginning and of its last message, or None.
    stacks
        How many are in each state, and their number as ``all``; ``kept`` of ``done`` were there before.
    left_out, rejected
        Files that are no stacks, and those of them that should have been.
    high_contrast
        Stacks that are no reference for others because of their contrast.
    hot, dead
        Outlier pixels of the stacks that are done.
    noise
        Means of the held-out correlated noise over stacks that may be references: raw, filtered, corrected.
    bytes_in, bytes_out
        Of the stacks that are done.
    stacks_per_minute, bytes_per_minute
        Of the last pass that goes on, over the last stacks; None where too few went through it.
    acquired_per_minute
        Stacks that the microscope recorded a minute, over its last ones; None where there are too few.
    seconds_left
        Until all known stacks are done; None where it is not known.
    latency
        Median seconds from taking a stack in to its output, over the last ones; None where there are none.
    workers
        Of the cluster at its beginning; 0 without one.
    """

    running: Running
    error: str | None
    phase: str | None
    waiting: str | None
    began: datetime | None
    updated: datetime | None
    stacks: dict[str, int]
    left_out: int
    rejected: int
    high_contrast: int
    hot: int
    dead: int
    noise: dict[str, float | None]
    bytes_in: int
    bytes_out: int
    stacks_per_minute: float | None
    bytes_per_minute: float | None
    acquired_per_minute: float | None
    seconds_left: float | None
    latency: float | None
    workers: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        times = {name: t.isoformat() if (t := values[name]) else None for name in ("began", "updated")}
        return values | times


def snapshot(state: SessionState, now: datetime, *, alive: bool = True) -> Snapshot:
    """Return the numbers of a session.

    Parameters
    ----------
    state
        What is known of it.
    now
        The time, with a zone.
    alive
        Whether the run that did not say that it ended may still go on.
    """
    stacks = list(state.stacks.values())
    results = [s.result for s in stacks if s.result is not None and s.state in RESULTS]
    ordinary = [r for r in results if r.usable and not r.too_quiet]
    pace = _pace(state)
    return Snapshot(
        running=_running(state, alive),
        error=state.ended.error if state.ended else None,
        phase=", ".join(state.phases) or None,
        waiting=str(state.waiting) if state.waiting else None,
        began=state.began,
        updated=state.updated,
        stacks=_counts(stacks),
        left_out=len(state.left_out),
        rejected=sum(one.rejected for one in state.left_out.values()),
        high_contrast=sum(s.high_contrast for s in stacks if s.state in RESULTS),
        hot=sum(r.hot for r in results),
        dead=sum(r.dead for r in results),
        noise={kind: mean(r.noise[kind] for r in ordinary) for kind in NOISE},
        bytes_in=sum(r.bytes_in for r in results),
        bytes_out=sum(r.bytes_out for r in results),
        stacks_per_minute=_per_minute(state, pace, now, lambda mark: 1),
        bytes_per_minute=_per_minute(state, pace, now, lambda mark: mark.bytes),
        acquired_per_minute=_acquired(stacks),
        seconds_left=None if state.waiting else _seconds_left(state, stacks, now),
        latency=_latency(stacks),
        workers=int(state.run.executor.get("workers", 0)) if state.run else 0,
    )


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is there, or None."""
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known else None


def _running(state: SessionState, alive: bool) -> Running:
    if state.run is None:
        return "nothing yet"
    if state.ended is None:
        return "running" if alive else "lost"
    return "stopped" if state.ended.error is not None else "finished"


def _counts(stacks: Sequence[StackState]) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(STATES, 0)
    for one in stacks:
        counts[one.state] += 1
    kept = sum(s.state == "done" and s.result is not None and s.result.kept for s in stacks)
    return {"all": len(stacks), **counts, "kept": kept}


def _pace(state: SessionState) -> str:
    """Return the pass whose rate is shown: the last one that goes on and has one, else the last one."""
    passes = [name for name in state.phases if len(state.marks.get(name, ())) > 1] or list(state.marks)
    return passes[-1] if passes else messages.SUMS


def _per_minute(state: SessionState, pace: str, now: datetime, amount: Callable[[Mark], int]) -> float | None:
    """Return a rate from the first of the last marks on; what the first one did came before it.

    While the pass goes on, waiting for longer than stacks take on average counts, too.
    """
    marks = list(state.marks.get(pace, ()))[-LAST:]
    return _rate(marks, [amount(mark) for mark in marks], now if pace in state.phases else None)


def _rate(marks: Sequence[Mark], amounts: Sequence[float], now: datetime | None) -> float | None:
    """Return a rate a minute; `now` is None where nothing goes on."""
    if len(marks) < 2:
        return None
    span = marks[-1].time - marks[0].time
    waiting = timedelta() if now is None else now - marks[-1].time - span / (len(marks) - 1)
    seconds = (span + max(waiting, timedelta())).total_seconds()
    return 60 * sum(amounts[1:]) / seconds if seconds > 0 else None


def _acquired(stacks: Sequence[StackState]) -> float | None:
    times = sorted(s.acquired for s in stacks)[-LAST:]
    if len(times) < 2:
        return None
    seconds = (times[-1] - times[0]).total_seconds()
    return 60 * (len(times) - 1) / seconds if seconds > 0 else None


def _seconds_left(state: SessionState, stacks: Sequence[StackState], now: datetime) -> float | None:
    """Return what is left over the rate of the last stacks of both passes, which go on side by side."""
    if state.ended is not None:
        return None
    costs = {messages.SUMS: 1.0, messages.CORRECTION: SECOND_PASS}
    done = [(mark, costs[name]) for name in costs for mark in state.marks.get(name, ())]
    last = sorted(done, key=lambda one: one[0].time)[-LAST:]
    rate = _rate([mark for mark, _ in last], [mark.bytes * cost for mark, cost in last], now)
    first = sum(s.bytes_in for s in stacks if s.state == "found")
    second = sum(s.bytes_in for s in stacks if s.state in ("found", "summed", "provisional"))
    return 60 * (first + SECOND_PASS * second) / rate if rate else None


def _latency(stacks: Sequence[StackState]) -> float | None:
    known = sorted((s.ended, s.latency) for s in stacks if s.ended is not None and s.latency is not None)
    last = sorted(latency for _, latency in known[-LAST:])
    return last[len(last) // 2] if last else None

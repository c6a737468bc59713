"""State of a session at one moment, in numbers and words, for page, metrics and `mrcz-dask status`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from mrcz_dask.correction.verdict import verdict_on
from mrcz_dask.formats.metadata import parse_json
from mrcz_dask.monitor.state import STATES, SessionState, StackState
from mrcz_dask.values import messages
from mrcz_dask.values.records import mean_noise
from mrcz_dask.values.texts import duration, readable

Running = Literal["nothing yet", "running", "finished", "stopped", "lost"]
# Rates are those of so many stacks at most, the last ones.
LAST = 30
# Time of a correction over that of the sum of the same stack.
COSTS = {messages.SUMS: 1.0, messages.CORRECTION: 2.5}


@dataclass(frozen=True, slots=True)
class NotDone:
    """Record of a stack that could not be processed, or of a file that should have been a stack.

    Attributes
    ----------
    time
        When; None for a file that was refused at the beginning.
    name
        Name of the stack or file.
    phase
        Where it stopped; ``input`` for a file that was refused.
    reason
        Why.
    """

    time: datetime | None
    name: str
    phase: str
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Record of a session's state at one moment: numbers of stacks, rates, time left, mean R, failures.

    Attributes
    ----------
    version, session, output
        The program that ran last, and the folders as it called them; empty before any run.
    running
        ``running``; ``finished``; ``stopped`` by an error or a person; ``lost`` (it ended without saying so).
    error
        Error that stopped it.
    phase
        The phases that go on, with commas, or None.
    waiting
        Text that says for which stacks a run that follows a folder waits; None = for none.
    began, updated
        Times of the run's beginning and of its last message, or None.
    stacks
        Number of stacks in each state, and of all as ``all``; ``kept`` of ``done`` were there before.
    left_out, rejected
        Numbers of files that are no stacks, and of those of them that should have been.
    high_contrast
        Number of stacks that are no reference for others because of their contrast.
    hot, dead
        Outlier pixels of the stacks that are done.
    noise
        Means of the held-out correlated noise over stacks that may be references: raw, filtered, corrected.
    verdict
        Sentence on what the run gained or lost; None before its end, and where nothing was measured.
    bytes_in, bytes_out
        Sizes of inputs and outputs of the stacks that are done.
    stacks_per_minute, bytes_per_minute
        Rates of the last phase that goes on, over the last stacks; None where too few went through it.
    acquired_per_minute
        Stacks that the microscope recorded a minute, over its last ones; None where there are too few.
    seconds_left
        Until all known stacks are done; None where it is not known.
    latency
        Median seconds from finding a stack to its output, over the last ones; None where there are none.
    workers
        Workers of the cluster at its beginning; 0 without one.
    not_done
        Stacks and files that are not done, the last first.
    left_out_files
        Files that are no stacks, with reasons.
    high_contrast_stacks
        Names of the stacks of high contrast.
    warnings
        The last ones, with their times.
    """

    version: str
    session: str
    output: str
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
    verdict: str | None
    bytes_in: int
    bytes_out: int
    stacks_per_minute: float | None
    bytes_per_minute: float | None
    acquired_per_minute: float | None
    seconds_left: float | None
    latency: float | None
    workers: int
    not_done: tuple[NotDone, ...]
    left_out_files: tuple[tuple[str, str], ...]
    high_contrast_stacks: tuple[str, ...]
    warnings: tuple[tuple[datetime, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the state as a dict for JSON."""
        values = asdict(self) | {
            "left_out_files": [{"name": name, "reason": reason} for name, reason in self.left_out_files],
            "warnings": [{"time": time, "message": text} for time, text in self.warnings],
        }
        return parse_json(json.dumps(values, default=datetime.isoformat), "snapshot")


def snapshot(state: SessionState, now: datetime, *, alive: bool = True) -> Snapshot:
    """Summarize the state of a session at a moment: numbers of stacks, rates, time left, mean R.

    Parameters
    ----------
    state
        The session, from its messages.
    now
        The time, with a zone.
    alive
        Whether a run that did not say that it ended may still go on.
    """
    run, stacks, left_out = state.run, list(state.stacks.values()), state.left_out.values()
    results = state.results
    stacks_per_minute, bytes_per_minute = _phase_rates(state, now)
    contrast = sorted((s for s in stacks if s.high_contrast), key=lambda s: s.key)
    recorded = sorted(s.acquired for s in stacks)[-LAST:]
    known = sorted((s.ended, s.latency) for s in stacks if s.ended is not None and s.latency is not None)
    latencies = sorted(latency for _, latency in known[-LAST:])
    return Snapshot(
        version=run.version if run else "",
        session=run.session if run else "",
        output=run.output if run else "",
        running=_running(state, alive),
        error=state.ended.error if state.ended else None,
        phase=", ".join(state.phases) or None,
        waiting=str(state.waiting) if state.waiting else None,
        began=state.began,
        updated=state.updated,
        stacks={
            "all": len(stacks),
            **{name: sum(s.state == name for s in stacks) for name in STATES},
            "kept": sum(s.state == "done" and s.result is not None and s.result.kept for s in stacks),
        },
        left_out=len(left_out),
        rejected=sum(file.rejected for file in left_out),
        high_contrast=sum(not r.usable and r.score is not None for r in results),
        hot=sum(r.hot for r in results),
        dead=sum(r.dead for r in results),
        noise=mean_noise(results),
        verdict=verdict_on(results) if state.ended else None,
        bytes_in=sum(r.bytes_in for r in results),
        bytes_out=sum(r.bytes_out for r in results),
        stacks_per_minute=stacks_per_minute,
        bytes_per_minute=bytes_per_minute,
        acquired_per_minute=_rate(recorded, [1] * len(recorded), None),
        seconds_left=_seconds_left(state, stacks, now),
        latency=latencies[len(latencies) // 2] if latencies else None,
        workers=int(run.executor.get("workers", 0)) if run else 0,
        not_done=_not_done(state),
        left_out_files=tuple((file.name, file.reason) for file in left_out if not file.rejected),
        high_contrast_stacks=tuple(s.name for s in contrast),
        warnings=tuple(state.warnings),
    )


def _running(state: SessionState, alive: bool) -> Running:
    if state.run is None:
        return "nothing yet"
    if state.ended is None:
        return "running" if alive else "lost"
    return "stopped" if state.ended.error is not None else "finished"


def _phase_rates(state: SessionState, now: datetime) -> tuple[float | None, float | None]:
    """Return stacks and bytes a minute: of the last phase that goes on and has a rate, or the last one."""
    phases = [name for name in state.phases if len(state.marks.get(name, ())) > 1] or list(state.marks)
    phase = phases[-1] if phases else messages.SUMS
    marks, until = list(state.marks.get(phase, ()))[-LAST:], now if phase in state.phases else None
    times = [mark.time for mark in marks]
    return _rate(times, [1] * len(times), until), _rate(times, [mark.bytes for mark in marks], until)


def _rate(times: Sequence[datetime], amounts: Sequence[float], now: datetime | None) -> float | None:
    """Return a rate a minute, from the first time on: what was done then came before it.

    Waiting for longer than stacks take on average counts, too; `now` is None where nothing goes on.
    """
    if len(times) < 2:
        return None
    span = times[-1] - times[0]
    waiting = timedelta() if now is None else now - times[-1] - span / (len(times) - 1)
    seconds = (span + max(waiting, timedelta())).total_seconds()
    return 60 * sum(amounts[1:]) / seconds if seconds > 0 else None


def _seconds_left(state: SessionState, stacks: Sequence[StackState], now: datetime) -> float | None:
    """Divide what is left by the rate of the last stacks of both phases, which go on side by side."""
    if state.ended is not None or state.waiting:
        return None
    done = [(mark, cost) for name, cost in COSTS.items() for mark in state.marks.get(name, ())]
    last = sorted(done, key=lambda pair: pair[0].time)[-LAST:]
    rate = _rate([mark.time for mark, _ in last], [mark.bytes * cost for mark, cost in last], now)
    to_sum = sum(s.bytes_in for s in stacks if s.state == "found")
    to_correct = sum(s.bytes_in for s in stacks if s.state in ("found", "summed", "provisional"))
    left = COSTS[messages.SUMS] * to_sum + COSTS[messages.CORRECTION] * to_correct
    return 60 * left / rate if rate else None


def _not_done(state: SessionState) -> tuple[NotDone, ...]:
    failed = [s for s in state.stacks.values() if s.state == "failed" and s.ended is not None]
    failed.sort(key=lambda s: (s.ended, s.name), reverse=True)
    refused = [file for file in state.left_out.values() if file.rejected]
    return (
        *(NotDone(s.ended, s.name, s.failed_in, s.reason) for s in failed),
        *(NotDone(None, file.name, "input", file.reason) for file in refused),
    )


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about a session for people, such as "time left: 3 min": its key, label and text."""

    key: str
    label: str
    text: str


def headline(snapshot: Snapshot) -> str:
    """Return in a few words whether the run goes on, is finished, stopped or lost."""
    match snapshot.running:
        case "running":
            return f"running: {snapshot.phase or snapshot.waiting or 'waiting'}"
        case "stopped":
            return f"stopped: {snapshot.error}"
        case "lost":
            return "lost: the run ended without saying so, or nobody holds its lock; run the command again"
        case other:
            return other


def facts(snapshot: Snapshot) -> Iterator[Fact]:
    """Yield the lines that the page and `status` show: stacks done, failures, time left, rates, R."""
    stacks = snapshot.stacks
    kept = f" ({stacks['kept']} kept from before)" if stacks["kept"] else ""
    yield Fact("done", "done", f"{stacks['done']} of {stacks['all']}{kept}")
    waiting = [f"{stacks[name]} {name}" for name in ("found", "summed", "provisional") if stacks[name]]
    yield Fact("waiting", "on the way", ", ".join(waiting) or "none")
    not_done = [f"{stacks['failed']} failed"] if stacks["failed"] else []
    not_done += [f"{_count(snapshot.rejected, 'file')} refused"] if snapshot.rejected else []
    yield Fact("failed", "not done", ", ".join(not_done) or "none")
    if snapshot.running in ("running", "lost") and snapshot.waiting is None:
        yield Fact("left", "time left", duration(snapshot.seconds_left))
    rate, bytes_rate = snapshot.stacks_per_minute, snapshot.bytes_per_minute
    shown = "-"
    if rate is not None and bytes_rate is not None:
        shown = f"{_plain(rate)} stacks/min, {readable(bytes_rate)}/min"
    yield Fact("rate", "rate", shown)
    recorded = snapshot.acquired_per_minute
    shown = "-" if recorded is None else f"{_plain(recorded)} stacks/min"
    if recorded is not None and rate is not None:
        shown += f" (this phase: {_plain(rate / recorded)} times that)"
    yield Fact("recorded", "recorded at", shown)
    yield Fact("latency", "from found to done", duration(snapshot.latency))
    yield Fact("data", "data", f"{readable(snapshot.bytes_in)} in, {readable(snapshot.bytes_out)} out")
    yield Fact("outliers", "outlier pixels", f"{snapshot.hot} hot, {snapshot.dead} dead")
    noise = [f"{kind} {'-' if value is None else f'{value:.2e}'}" for kind, value in snapshot.noise.items()]
    yield Fact("noise", "correlated noise", ", ".join(noise))
    if snapshot.verdict is not None:
        yield Fact("verdict", "verdict", snapshot.verdict)
    yield Fact("contrast", "high contrast", _count(snapshot.high_contrast, "stack"))
    yield Fact("left_out", "left out", _count(snapshot.left_out - snapshot.rejected, "file"))
    yield Fact("updated", "last message", clock(snapshot.updated))


def clock(time: datetime | None) -> str:
    """Return a time as text in UTC; ``-`` if there is none."""
    return "-" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number > 1)}" if number else "none"


def _plain(value: float) -> str:
    """Return a positive number with three digits, never as a power of ten."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.3g}" if value >= 0.001 else "0"

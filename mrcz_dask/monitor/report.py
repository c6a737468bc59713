"""What is said of a session: its numbers in words, what could not be done and why, what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mrcz_dask.monitor.snapshot import Snapshot, snapshot
from mrcz_dask.monitor.state import SessionState
from mrcz_dask.values.sizes import readable

INPUT = "input"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A stack that could not be done, or a file that should have been one.

    Attributes
    ----------
    time
        When; None for a file that was refused at the beginning.
    name
        Of the stack or file.
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
class Report:
    """A session at a moment, with names and reasons.

    Attributes
    ----------
    numbers
        What can be counted.
    version, session, output
        Of the program that ran last, and the folders as it called them; empty before any run.
    troubles
        What is not done, the last first.
    left_out
        Files that are no stacks, with reasons.
    high_contrast
        Names of the stacks that are no reference for others because of their contrast.
    warnings
        The last ones, with their times.
    """

    numbers: Snapshot
    version: str
    session: str
    output: str
    troubles: tuple[Trouble, ...]
    left_out: tuple[tuple[str, str], ...]
    high_contrast: tuple[str, ...]
    warnings: tuple[tuple[datetime, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "version": self.version,
            "session": self.session,
            "output": self.output,
            **self.numbers.to_dict(),
            "not_done": [
                {"time": t.time and t.time.isoformat(), "name": t.name, "phase": t.phase, "reason": t.reason}
                for t in self.troubles
            ],
            "left_out_files": [{"name": name, "reason": reason} for name, reason in self.left_out],
            "high_contrast_stacks": list(self.high_contrast),
            "warnings": [{"time": time.isoformat(), "message": text} for time, text in self.warnings],
        }


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is said of a session: its key, what it is, and its value in words."""

    key: str
    label: str
    text: str


def report(state: SessionState, now: datetime, *, alive: bool = True) -> Report:
    """Return what is said of a session; see `snapshot`."""
    run = state.run
    numbers = snapshot(state, now, alive=alive)
    contrast = sorted((s for s in state.stacks.values() if s.high_contrast), key=lambda s: s.key)
    return Report(
        numbers=numbers,
        version=run.version if run else "",
        session=run.session if run else "",
        output=run.output if run else "",
        troubles=tuple(_troubles(state)),
        left_out=tuple((e.name, e.reason) for e in state.left_out.values() if not e.rejected),
        high_contrast=tuple(s.name for s in contrast),
        warnings=tuple(state.warnings),
    )


def _troubles(state: SessionState) -> Iterator[Trouble]:
    failed = [s for s in state.stacks.values() if s.state == "failed" and s.ended is not None]
    for one in sorted(failed, key=lambda s: (s.ended, s.name), reverse=True):
        yield Trouble(one.ended, one.name, one.failed_in, one.reason)
    for file in state.left_out.values():
        if file.rejected:
            yield Trouble(None, file.name, INPUT, file.reason)


def headline(numbers: Snapshot) -> str:
    """Return in a few words what goes on."""
    match numbers.running:
        case "running":
            return f"running: {numbers.phase or numbers.waiting or 'waiting'}"
        case "stopped":
            return f"stopped: {numbers.error}"
        case "lost":
            return "lost: the run ended without saying so, or nobody holds its lock; run the command again"
        case other:
            return other


def facts(numbers: Snapshot) -> Iterator[Fact]:
    """Yield what is said of the numbers, in the order in which a person asks."""
    stacks = numbers.stacks
    yield Fact("done", "done", f"{stacks['done']} of {stacks['all']}" + _kept(stacks["kept"]))
    yield Fact("waiting", "on the way", _waiting(stacks))
    yield Fact("failed", "not done", _not_done(stacks["failed"], numbers.rejected))
    if numbers.running in ("running", "lost") and numbers.waiting is None:
        yield Fact("left", "time left", duration(numbers.seconds_left))
    yield Fact("rate", "rate", _rate(numbers))
    yield Fact("recorded", "recorded at", _recorded(numbers))
    yield Fact("latency", "from found to done", duration(numbers.latency))
    yield Fact("data", "data", f"{readable(numbers.bytes_in)} in, {readable(numbers.bytes_out)} out")
    yield Fact("outliers", "outlier pixels", f"{numbers.hot} hot, {numbers.dead} dead")
    yield Fact("noise", "correlated noise", ", ".join(f"{k} {_small(v)}" for k, v in numbers.noise.items()))
    yield Fact("contrast", "high contrast", _count(numbers.high_contrast, "stack"))
    yield Fact("left_out", "left out", _count(numbers.left_out - numbers.rejected, "file"))
    yield Fact("updated", "last event", clock(numbers.updated))


def duration(seconds: float | None) -> str:
    """Return a time as people write it: two units at most; ``-`` if it is not known."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"


def clock(time: datetime | None) -> str:
    """Return a moment in UTC; ``-`` if there is none."""
    return "-" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _kept(count: int) -> str:
    return f" ({count} kept from before)" if count else ""


def _waiting(stacks: dict[str, int]) -> str:
    states = [f"{stacks[name]} {name}" for name in ("found", "summed", "provisional") if stacks[name]]
    return ", ".join(states) or "none"


def _not_done(failed: int, rejected: int) -> str:
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{_count(rejected, 'file')} refused"] if rejected else []
    return ", ".join(parts) or "none"


def _rate(numbers: Snapshot) -> str:
    if numbers.stacks_per_minute is None or numbers.bytes_per_minute is None:
        return "-"
    return f"{_plain(numbers.stacks_per_minute)} stacks/min, {readable(numbers.bytes_per_minute)}/min"


def _recorded(numbers: Snapshot) -> str:
    recorded, done = numbers.acquired_per_minute, numbers.stacks_per_minute
    if recorded is None:
        return "-"
    times = f" (this pass: {_plain(done / recorded)} times that)" if done is not None else ""
    return f"{_plain(recorded)} stacks/min{times}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s") if number else "none"


def _plain(value: float) -> str:
    """Return a positive number with three digits, never as a power of ten."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.3g}" if value >= 0.001 else "0"


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"

"""State of a session in words, for the page and `mrcz-dask status`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from mrcz_dask.monitor.snapshot import Snapshot
from mrcz_dask.values.sizes import readable


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
    yield Fact("contrast", "high contrast", _count(snapshot.high_contrast, "stack"))
    yield Fact("left_out", "left out", _count(snapshot.left_out - snapshot.rejected, "file"))
    yield Fact("updated", "last event", clock(snapshot.updated))


def duration(seconds: float | None) -> str:
    """Return a time in words with two units at most, such as "2 h 5 min"; ``-`` if it is not known."""
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
    """Return a time as text in UTC; ``-`` if there is none."""
    return "-" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number > 1)}" if number else "none"


def _plain(value: float) -> str:
    """Return a positive number with three digits, never as a power of ten."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.3g}" if value >= 0.001 else "0"

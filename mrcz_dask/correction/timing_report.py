"""Where the time of a run went: stack by stack, phase by phase; taken and written beside the outputs."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Any

from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.engine.client import Client, DaskClient
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.values import messages
from mrcz_dask.values.timing import PHASES, Phase, Spent, Timing
from mrcz_dask.version import __version__

VERSION = 1
PROFILE, REPORT = "profile.json", "dask-report.html"
# What no run can do without: both decodings, the encoding, and the disk.
FLOOR: tuple[Phase, ...] = ("decode", "encode", "disk")
LIBRARIES = ("numpy", "scipy", "numba", "blosc2", "numcodecs", "zarr", "dask", "distributed")


@dataclass(frozen=True, slots=True)
class StackTime:
    """The time of one stack in one pass; `timing` is None where its worker was lost with it."""

    name: str
    done: bool
    timing: Timing | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        spent = () if self.timing is None else self.timing.spent
        own, helpers = ([s for s in spent if s.helpers is which] for which in (False, True))
        values = {"name": self.name, "done": self.done, "phases": _seconds(own), "helpers": _seconds(helpers)}
        if self.timing is None:
            return values
        return values | {name: getattr(self.timing, name) for name in ("worker", "start", "wall")}


def _seconds(spent: Iterable[Spent]) -> dict[str, Any]:
    return {s.phase: {"wall": s.wall, "processor": s.processor, "bytes": s.bytes} for s in spent}


@dataclass(frozen=True, slots=True)
class Total:
    """What a phase took, over all stacks.

    Attributes
    ----------
    wall, helpers
        Seconds of the tasks' own threads, and of threads that worked for them.
    processor
        Seconds of processor time of both.
    bytes
        That went through it.
    """

    wall: float
    helpers: float
    processor: float
    bytes: int

    @classmethod
    def of(cls, spent: Iterable[Spent]) -> Total:
        """Return the sum over records of one phase."""
        found = list(spent)
        return cls(
            sum(s.wall for s in found if not s.helpers),
            sum(s.wall for s in found if s.helpers),
            sum(s.processor for s in found),
            sum(s.bytes for s in found),
        )

    @property
    def seconds(self) -> float:
        """Of all threads."""
        return self.wall + self.helpers

    @property
    def rate(self) -> float | None:
        """GB a second and thread; None where nothing went through."""
        return self.bytes / self.seconds / 1e9 if self.bytes and self.seconds else None


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the stacks.

    Attributes
    ----------
    name
        Of the pass.
    wall
        Seconds from its beginning to its end, in which other passes may go on, too.
    stacks
        In the order in which they were finished.
    """

    name: str
    wall: float
    stacks: tuple[StackTime, ...]

    @property
    def timings(self) -> list[Timing]:
        """Of the stacks whose time is known."""
        return [s.timing for s in self.stacks if s.timing is not None]

    @property
    def spent(self) -> list[Spent]:
        """Of all stacks."""
        return [s for t in self.timings for s in t.spent]

    @property
    def totals(self) -> dict[Phase, Total]:
        """Of all stacks, phase by phase; phases that did not occur are left out."""
        return totals(self.spent)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "wall": self.wall,
            "phases": _described(self.spent),
            "workers": self._workers(),
            "stacks": [s.to_dict() for s in self.stacks],
        }

    def _workers(self) -> dict[str, Any]:
        """Return what each worker did, first start to last end by its own clock."""
        ordered = sorted(self.timings, key=lambda t: t.worker)
        grouped = {name: list(group) for name, group in groupby(ordered, lambda t: t.worker)}
        return {
            name: {
                "stacks": len(group),
                "busy": sum(t.wall for t in group),
                "first_start": min(t.start for t in group),
                "last_end": max(t.start + t.wall for t in group),
            }
            for name, group in grouped.items()
        }


@dataclass(frozen=True, slots=True)
class TimingReport:
    """Where the time of a run went.

    Attributes
    ----------
    folder
        Of the outputs.
    wall
        Seconds of the whole run, without the start of a cluster.
    slots
        How many tasks could run at a time.
    executor
        What it says of itself.
    passes
        In the order in which they began.
    """

    folder: Path
    wall: float
    slots: int
    executor: dict[str, Any]
    passes: tuple[Pass, ...]

    @property
    def totals(self) -> dict[Phase, Total]:
        """Of all passes, phase by phase; phases that did not occur are left out."""
        return totals(s for one in self.passes for s in one.spent)

    @property
    def waiting(self) -> float:
        """Seconds of slots in which no task ran."""
        return max(0.0, self.slot_seconds - sum(t.wall for one in self.passes for t in one.timings))

    @property
    def slot_seconds(self) -> float:
        """Seconds of all slots, from the beginning to the end of the run."""
        return self.slots * self.wall

    @property
    def busy(self) -> float:
        """Seconds of all threads that did something."""
        return sum(t.seconds for name, t in self.totals.items() if name != "blocked")

    @property
    def floor(self) -> float:
        """Seconds of all threads for what no run can do without: decode, decode, encode, disk."""
        return sum(t.seconds for name, t in self.totals.items() if name in FLOOR)

    @property
    def ratio(self) -> float | None:
        """The seconds of all slots over the floor; None for a run in which nothing was to be done."""
        return self.slot_seconds / self.floor if self.floor else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: times in seconds, sizes in bytes."""
        return {
            "profile": VERSION,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
            "platform": platform.platform(),
            "executor": self.executor,
            "slots": self.slots,
            "wall": self.wall,
            "slot_seconds": self.slot_seconds,
            "busy": self.busy,
            "phases": _described((s for one in self.passes for s in one.spent), self.waiting),
            "floor": {"phases": list(FLOOR), "seconds": self.floor, "ratio": self.ratio},
            "passes": [one.to_dict() for one in self.passes],
        }


def totals(spent: Iterable[Spent]) -> dict[Phase, Total]:
    """Return the sums of each phase that occurs."""
    found = list(spent)
    occurring = {s.phase for s in found}
    return {name: Total.of(s for s in found if s.phase == name) for name in PHASES if name in occurring}


def _described(spent: Iterable[Spent], waiting: float | None = None) -> dict[str, Any]:
    """Return the totals as plain values, with each one's share of the seconds of all threads and slots."""
    found = totals(spent)
    everything = sum(one.seconds for one in found.values()) + (waiting or 0.0)
    phases: dict[str, Any] = {
        name: asdict(one) | {"gb_per_s": one.rate, "share": _share(one.seconds, everything)}
        for name, one in found.items()
    }
    if waiting is None:
        return phases
    return phases | {"waiting": {"wall": waiting, "share": _share(waiting, everything)}}


def _share(seconds: float, everything: float) -> float | None:
    return seconds / everything if everything else None


def _versions() -> dict[str, str]:
    return {
        "mrcz_dask": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


@dataclass(slots=True)
class Collector:
    """A listener that collects the times of a run, whose passes go on side by side.

    Parameters
    ----------
    now
        A clock in seconds.

    Attributes
    ----------
    passes
        Those that are over.
    """

    now: Callable[[], float] = perf_counter
    passes: list[Pass] = field(default_factory=list)
    _begun: dict[str, float] = field(default_factory=dict)
    _stacks: dict[str, list[StackTime]] = field(default_factory=dict)

    def __call__(self, message: messages.Message) -> None:
        """Take in one message."""
        match message:
            case messages.PhaseStarted():
                self._begun[message.phase] = self.now()
            case messages.StackDone() | messages.StackFailed():
                done = isinstance(message, messages.StackDone)
                stacks = self._stacks.setdefault(message.phase, [])
                stacks.append(StackTime(message.name, done, message.timing))
            case messages.PhaseFinished():
                wall = self.now() - self._begun[message.phase]
                self.passes.append(Pass(message.phase, wall, tuple(self._stacks.get(message.phase, ()))))
            case _:
                pass


def run_profiled(
    plan: Plan, client: Client, listen: messages.Listener = messages.silent
) -> tuple[Outcome, TimingReport]:
    """Carry a plan out as `carry_out` does, take the times, and write them beside the outputs.

    ``profile.json`` says where the time went; on a cluster ``dask-report.html`` is Dask's own report. The
    outputs and the session store are the same as without. A run that ends with an error leaves neither.

    Raises
    ------
    MrczDaskError, OSError
        As `carry_out`.
    """
    collector = Collector()
    for name in (PROFILE, REPORT):
        with suppress(OSError):  # of an earlier run; whether there can be new ones shows at the end
            (plan.folder / name).unlink()

    def both(message: messages.Message) -> None:
        collector(message)
        listen(message)

    began = perf_counter()
    with _reported(client, plan.folder / REPORT, listen):
        outcome = carry_out(plan, client, both, take_times=True)
        wall = perf_counter() - began
    profile = TimingReport(plan.folder, wall, client.slots, client.describe(), tuple(collector.passes))
    _write(profile, listen)
    return outcome, profile


def _write(profile: TimingReport, listen: messages.Listener) -> None:
    path = profile.folder / PROFILE
    try:
        write_atomic(path, json.dumps(profile.to_dict(), indent=2).encode() + b"\n")
    except OSError as error:  # the stacks are done
        listen(messages.Warned(str(error)))


@contextmanager
def _reported(client: Client, path: Path, listen: messages.Listener) -> Iterator[None]:
    """Write Dask's report on what runs in the block, where there is a cluster; without it the run goes on.

    It is written with all that it needs to be looked at without a network.
    """
    if not isinstance(client, DaskClient):
        yield
        return
    from distributed import performance_report

    report = performance_report(filename=str(path), mode="inline")
    with client.client.as_current():
        begun = _went_well(report.__enter__, path, listen)
        yield
        if begun:
            _went_well(lambda: report.__exit__(None, None, None), path, listen)


def _went_well(step: Callable[[], None], path: Path, listen: messages.Listener) -> bool:
    try:
        step()
    except Exception as error:  # noqa: BLE001 - a scheduler without bokeh, a full disk
        listen(messages.Warned(f"{path}: cannot be written ({error or type(error).__name__})"))
        return False
    return True

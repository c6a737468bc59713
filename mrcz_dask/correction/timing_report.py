"""Reports where the time of a run went, for each stack and kind of work; written for ``--profile``."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
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
# Phases that no run can do without: both decodings, the encoding, and the disk.
FLOOR: tuple[Phase, ...] = ("decode", "encode", "disk")
LIBRARIES = ("numpy", "scipy", "numba", "blosc2", "numcodecs", "zarr", "dask", "distributed")


@dataclass(frozen=True, slots=True)
class StackTime:
    """Record of the time that one stack took in one phase; `timing` is None if its worker was lost."""

    name: str
    done: bool
    timing: Timing | None

    def to_dict(self) -> dict[str, Any]:
        """Return the times of the stack as a dict for JSON, in seconds and bytes."""
        timing = self.timing
        parts: dict[bool, dict[str, Any]] = {False: {}, True: {}}
        for part in timing.spent if timing is not None else ():
            numbers = {"wall": part.wall, "processor": part.processor, "bytes": part.bytes}
            parts[part.helpers][part.phase] = numbers
        values = {"name": self.name, "done": self.done, "phases": parts[False], "helpers": parts[True]}
        if timing is None:
            return values
        return values | {"worker": timing.worker, "start": timing.start, "wall": timing.wall}


@dataclass(frozen=True, slots=True)
class Total:
    """Record of the time and bytes of one kind of work, such as decoding, summed over stacks.

    Attributes
    ----------
    wall, helpers
        Seconds of the tasks' own threads, and of threads that worked for them.
    processor
        Seconds of processor time of both.
    bytes
        Bytes that went through the phase.
    """

    wall: float
    helpers: float
    processor: float
    bytes: int

    @property
    def seconds(self) -> float:
        """Seconds of wall time, summed over the tasks' own threads and their helper threads."""
        return self.wall + self.helpers

    @property
    def rate(self) -> float | None:
        """Throughput in GB per second and thread; None if no bytes went through."""
        return self.bytes / self.seconds / 1e9 if self.bytes and self.seconds else None


def totals(spent: Iterable[Spent]) -> dict[Phase, Total]:
    """Sum the measured times for each kind of work, such as decoding or disk."""
    by_phase: dict[Phase, list[Spent]] = {}
    for part in spent:
        by_phase.setdefault(part.phase, []).append(part)
    return {
        phase: Total(
            sum(s.wall for s in by_phase[phase] if not s.helpers),
            sum(s.wall for s in by_phase[phase] if s.helpers),
            sum(s.processor for s in by_phase[phase]),
            sum(s.bytes for s in by_phase[phase]),
        )
        for phase in PHASES
        if phase in by_phase
    }


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """Record of the time that one phase of a run, such as sums and masks, took over all stacks.

    Attributes
    ----------
    name
        Name of the phase.
    wall
        Seconds from its beginning to its end; other phases may overlap.
    stacks
        Times of the stacks, in the order in which they were finished.
    """

    name: str
    wall: float
    stacks: tuple[StackTime, ...]

    @property
    def timings(self) -> list[Timing]:
        """Timings of the stacks whose worker reported one."""
        return [s.timing for s in self.stacks if s.timing is not None]

    @property
    def spent(self) -> list[Spent]:
        """Measured times of every kind of work in every stack, as one list."""
        return [s for t in self.timings for s in t.spent]

    @property
    def totals(self) -> dict[Phase, Total]:
        """Time of each kind of work, such as decoding, summed over the stacks of this phase."""
        return totals(self.spent)

    def to_dict(self) -> dict[str, Any]:
        """Return the phase as a dict for JSON; start and end of each worker are by its own clock."""
        ordered = sorted(self.timings, key=lambda t: t.worker)
        workers = {name: list(group) for name, group in groupby(ordered, lambda t: t.worker)}
        return {
            "name": self.name,
            "wall": self.wall,
            "phases": _described(self.spent),
            "workers": {
                name: {
                    "stacks": len(group),
                    "busy": sum(t.wall for t in group),
                    "first_start": min(t.start for t in group),
                    "last_end": max(t.start + t.wall for t in group),
                }
                for name, group in workers.items()
            },
            "stacks": [s.to_dict() for s in self.stacks],
        }


@dataclass(frozen=True, slots=True)
class TimingReport:
    """Record of where the time of a run went: its phases, their kinds of work, and idle slots.

    Attributes
    ----------
    folder
        Output folder.
    wall
        Seconds of the whole run, without the start of a cluster.
    slots
        Number of tasks that could run at a time.
    executor
        Description of the client.
    phases
        The phases in the order in which they began.
    """

    folder: Path
    wall: float
    slots: int
    executor: dict[str, Any]
    phases: tuple[PhaseTimes, ...]

    @property
    def totals(self) -> dict[Phase, Total]:
        """Time of each kind of work, such as decoding, summed over the whole run."""
        return totals(s for phase in self.phases for s in phase.spent)

    @property
    def slot_seconds(self) -> float:
        """Seconds in which tasks could have run: wall time of the run times number of slots."""
        return self.slots * self.wall

    @property
    def waiting(self) -> float:
        """Seconds in which no task ran, summed over slots (places where a task can run)."""
        return max(0.0, self.slot_seconds - sum(t.wall for phase in self.phases for t in phase.timings))

    @property
    def busy(self) -> float:
        """Seconds in which threads worked, summed over threads; time blocked on others is not counted."""
        return sum(t.seconds for name, t in self.totals.items() if name != "blocked")

    @property
    def floor(self) -> float:
        """Seconds of threads in work that no run can avoid: decoding twice, encoding, and disk."""
        return sum(t.seconds for name, t in self.totals.items() if name in FLOOR)

    @property
    def ratio(self) -> float | None:
        """Available slot seconds divided by the floor, ideally 1; None if nothing was to be done."""
        return self.slot_seconds / self.floor if self.floor else None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dict for JSON: times in seconds, sizes in bytes."""
        return {
            "profile": VERSION,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "mrcz_dask": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in LIBRARIES},
            },
            "platform": platform.platform(),
            "executor": self.executor,
            "slots": self.slots,
            "wall": self.wall,
            "slot_seconds": self.slot_seconds,
            "busy": self.busy,
            "phases": _described((s for phase in self.phases for s in phase.spent), self.waiting),
            "floor": {"phases": list(FLOOR), "seconds": self.floor, "ratio": self.ratio},
            "passes": [phase.to_dict() for phase in self.phases],
        }


def _described(spent: Iterable[Spent], waiting: float | None = None) -> dict[str, Any]:
    """Return the totals as plain values, with each one's share of the seconds of all threads and slots."""
    by_phase = totals(spent)
    everything = sum(total.seconds for total in by_phase.values()) + (waiting or 0.0)
    phases: dict[str, Any] = {
        name: asdict(total)
        | {"gb_per_s": total.rate, "share": total.seconds / everything if everything else None}
        for name, total in by_phase.items()
    }
    if waiting is not None:
        phases["waiting"] = {"wall": waiting, "share": waiting / everything if everything else None}
    return phases


@dataclass(slots=True)
class Collector:
    """Listens to the messages of a run and collects the times of its phases and stacks.

    Parameters
    ----------
    now
        A clock in seconds.

    Attributes
    ----------
    phases
        Phases that are over.
    """

    now: Callable[[], float] = perf_counter
    phases: list[PhaseTimes] = field(default_factory=list)
    _begun: dict[str, float] = field(default_factory=dict)
    _stacks: defaultdict[str, list[StackTime]] = field(default_factory=lambda: defaultdict(list))

    def __call__(self, message: messages.Message) -> None:
        """Take one message."""
        match message:
            case messages.PhaseStarted():
                self._begun[message.phase] = self.now()
            case messages.StackDone() | messages.StackFailed():
                done = isinstance(message, messages.StackDone)
                self._stacks[message.phase].append(StackTime(message.name, done, message.timing))
            case messages.PhaseFinished():
                wall = self.now() - self._begun[message.phase]
                self.phases.append(PhaseTimes(message.phase, wall, tuple(self._stacks[message.phase])))
            case _:
                pass


def run_profiled(
    plan: Plan, client: Client, listen: messages.Listener = messages.silent
) -> tuple[Outcome, TimingReport]:
    """Correct all stacks of a plan as `carry_out` does, and write a timing report beside the outputs.

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
    began = perf_counter()
    with _dask_report(client, plan.folder / REPORT, listen):
        outcome = carry_out(plan, client, messages.several(collector, listen), take_times=True)
        wall = perf_counter() - began
    report = TimingReport(plan.folder, wall, client.slots, client.describe(), tuple(collector.phases))
    try:
        write_atomic(plan.folder / PROFILE, json.dumps(report.to_dict(), indent=2).encode() + b"\n")
    except OSError as error:  # the stacks are done
        listen(messages.Warned(str(error)))
    return outcome, report


@contextmanager
def _dask_report(client: Client, path: Path, listen: messages.Listener) -> Iterator[None]:
    """Write Dask's report on the block, if there is a cluster; without the report the run goes on.

    It is written with all that it needs to be looked at without a network.
    """
    if not isinstance(client, DaskClient):
        yield
        return
    from distributed import performance_report

    def attempted(step: Callable[[], None]) -> bool:
        """Take a step; a failure is a warning."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - a scheduler without bokeh, a full disk
            listen(messages.Warned(f"{path}: cannot be written ({error or type(error).__name__})"))
            return False
        return True

    report = performance_report(filename=str(path), mode="inline")
    with client.client.as_current():
        begun = attempted(report.__enter__)
        yield
        if begun:
            attempted(lambda: report.__exit__(None, None, None))

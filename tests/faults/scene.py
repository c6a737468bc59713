"""A session, the bytes that it should give, and runs over it to which bad things happen."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.params import KomaParams, Settings

RADIUS = 4
OURS = [sys.executable, "-m", "mrcz_dask.cli.app"]
BESIDE = {"events.jsonl", "MANIFEST", "report.html", "leave-out.txt", ".koma.lock"}

Line = dict[str, Any]


def contents(folder: Path) -> dict[str, bytes]:
    """Every byte of the outputs."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name not in BESIDE}


def half_written(folder: Path) -> list[str]:
    """Outputs under their final names that are not whole."""
    return [p.name for p in folder.glob("*.mrcz") if verify_file(p).status != "sound"]


@dataclass(frozen=True)
class Night:
    """A session and what a serial run makes of it.

    Attributes
    ----------
    session
        Its folder.
    expected
        Bytes of the outputs by name.
    """

    session: Path
    expected: dict[str, bytes]


def make_night(folder: Path, stacks: int, shape: tuple[int, int], frames: int, seed: int = 1) -> Night:
    """Simulate a session and run over it in this process."""
    params = named(
        "standard", shape=shape, frames=frames, stacks=stacks, seed=seed, hot=(0.005, 0.01), dose=1
    )
    session = folder / "night"
    write_session(session, params)
    plan = make_plan(session, folder / "serial", Settings(koma=KomaParams(radius=RADIUS)))
    assert carry_out(plan, SerialClient()).complete
    return Night(session, contents(folder / "serial"))


@dataclass
class Koma:
    """The command, running.

    Attributes
    ----------
    process
        Its process.
    events
        What it has told so far.
    """

    process: subprocess.Popen[str]
    events: list[Line] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def listen(self) -> None:
        """Take in what it tells."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                try:
                    self.events.append(json.loads(line))
                except ValueError:
                    self.other.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def count(self, event: str, **fields: Any) -> int:
        """Return how many events of a kind it has told."""
        return sum(one["event"] == event and fields.items() <= one.items() for one in list(self.events))

    def wait_for(self, number: int, event: str, timeout: float = 120, **fields: Any) -> bool:
        """Wait for so many events of a kind; False if the command ended before."""
        end = time.monotonic() + timeout
        with self._news:
            while self.count(event, **fields) < number:
                if self.process.poll() is not None:
                    return False
                if time.monotonic() > end:
                    raise TimeoutError(f"no {number} x {event} {fields}; said: {self.other[-5:]}")
                self._news.wait(0.2)
        return True

    def workers(self) -> list[int]:
        """Return the processes of its local workers that run by now."""
        return [pid for pid in descendants(self.process.pid) if "spawn_main" in command_of(pid)]

    def end(self, timeout: float = 300) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(timeout)


@contextmanager
def koma(night: Night, out: Path, *options: object) -> Iterator[Koma]:
    """Run the command in a process of its own; whatever is left of it is ended."""
    command = [*OURS, "koma", str(night.session), "-o", str(out), "--radius", str(RADIUS), "--log-json"]
    command.append("--no-report")
    process = subprocess.Popen(
        [*command, *map(str, options)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    running = Koma(process)
    listener = threading.Thread(target=running.listen, daemon=True)
    listener.start()
    try:
        yield running
    finally:
        left = [process.pid, *descendants(process.pid)]
        for pid in left:
            kill(pid)
        process.wait()
        listener.join(5)
        if process.stderr is not None and not listener.is_alive():
            process.stderr.close()


def resume(night: Night, out: Path, *options: object) -> Koma:
    """Run the command to its end; it must find everything done."""
    with koma(night, out, *options) as again:
        code = again.end()
        assert code == 0, (code, again.other[-5:], [e for e in again.events if e["event"] == "StackFailed"])
        return again


def check(night: Night, out: Path) -> None:
    """The outputs are those of the serial run, and nothing else is there."""
    found = contents(out)
    assert found.keys() == night.expected.keys()
    assert [name for name in found if found[name] != night.expected[name]] == []


def kill(pid: int, how: int = signal.SIGKILL) -> None:
    """Send a signal to a process, if it is there."""
    with suppress(ProcessLookupError):
        os.kill(pid, how)


def descendants(pid: int) -> list[int]:
    """Return the processes that come from one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                stat = (entry / "stat").read_text()
                parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def command_of(pid: int) -> str:
    """Return the command line of a process, empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@contextmanager
def scheduler(folder: Path, workers: int = 2, prefix: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """Run a scheduler and workers as a facility would, apart from the command."""
    cluster = Cluster(folder, prefix)
    try:
        cluster.start(workers)
        yield cluster
    finally:
        cluster.stop()


class Cluster:
    """A scheduler and its workers in processes of their own.

    Parameters
    ----------
    folder
        For the scheduler's file.
    prefix
        What the workers' command begins with.
    """

    def __init__(self, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        self._file = folder / "scheduler.json"
        self._prefix = prefix
        self.processes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def start(self, workers: int) -> None:
        """Start all; wait until the scheduler says where it is."""
        self._file.unlink(missing_ok=True)
        module = [sys.executable, "-m"]
        where = ["--scheduler-file", str(self._file)]
        loopback = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        self._run([*module, "distributed.cli.dask_scheduler", *loopback, *where])
        while not self._file.exists():
            time.sleep(0.1)
        self.address = json.loads(self._file.read_text())["address"]
        for _ in range(workers):
            options = ["--nthreads", "1", "--memory-limit", "2GB", "--no-dashboard", "--host", "127.0.0.1"]
            self._run([*self._prefix, *module, "distributed.cli.dask_worker", *where, *options])

    def _run(self, command: list[str]) -> None:
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def kill_scheduler(self) -> None:
        """End the scheduler at once."""
        kill(self.processes[0].pid)

    def stop(self) -> None:
        """End all."""
        for process in self.processes:
            for pid in (*descendants(process.pid), process.pid):
                kill(pid)
            process.wait()
        self.processes.clear()


def at_random(running: Koma, act: Callable[[], None], rng: random.Random, longest: float) -> None:
    """Do something at a random moment of a run."""
    running.wait_for(1, "PhaseStarted")
    time.sleep(rng.uniform(0, longest))
    act()

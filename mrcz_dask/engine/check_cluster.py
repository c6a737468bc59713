"""Checks whether a cluster can process a session, by one small job or a running scheduler."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from mrcz_dask.engine.client import DaskClient, workers_there
from mrcz_dask.engine.clusters import SHARE, ClientOptions, cores, open_client
from mrcz_dask.engine.hosts import is_loopback
from mrcz_dask.engine.memory import PROCESS_BYTES, MemoryEstimate, estimate_memory
from mrcz_dask.values.errors import MrczDaskError, ParameterError
from mrcz_dask.values.messages import ClusterReady, Listener, Message, Warned, several
from mrcz_dask.values.stopping import check_stop
from mrcz_dask.values.texts import readable

if TYPE_CHECKING:
    from distributed import Client, Worker

# A K2 in counting mode; and what suffices to look around.
K2 = estimate_memory((3838, 3710), [np.dtype(np.uint8)], "int16")
LOOKS_AROUND = MemoryEstimate(PROCESS_BYTES, 1)
# Seconds: for a job to start, for its other workers, for a file to be seen through a network file system's
# cache, between clocks, for an answer.
LONGEST, COMES_WITHIN, SEEN_WITHIN, CLOCKS_APART, ANSWERS = 600, 60.0, 15.0, 5.0, 10.0


@dataclass(frozen=True, slots=True)
class ClusterCheck:
    """Result of one check of a cluster: what was checked, whether it works, and the remedy if not.

    Attributes
    ----------
    name
        Subject of the check, such as ``memory``.
    ok
        Whether it does what a session needs.
    found
        Result in words.
    remedy
        Advice; empty if all is well.
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Results of all checks of a cluster, in the order in which they were made."""

    findings: tuple[ClusterCheck, ...]

    @property
    def ok(self) -> bool:
        """True if all checks of the cluster succeeded."""
        return all(finding.ok for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the results of the checks as a dictionary of plain values, for JSON."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker's report for the check of a cluster: its node, versions, memory, clock,
    and view of the shared folder.

    Attributes
    ----------
    host
        Its node.
    python, cores, memory
        Version, cores that it may use, and the memory of its node or control group, bytes.
    time
        Time of its clock, seconds since 1970.
    content
        Content of the client's file as the worker reads it; None if it cannot.
    wrote
        Name of the file that the worker wrote there.
    problem
        Why it could not; empty if it could.
    """

    host: str
    python: str
    cores: int
    memory: int
    time: float
    content: str | None
    wrote: str
    problem: str


def check_cluster(options: ClientOptions, folder: Path, listen: Listener) -> Report:
    """Check that workers start, have memory and the same versions, and see the session's folder.

    One small job is submitted; a scheduler that runs is asked.

    Parameters
    ----------
    options
        With a queue or a scheduler.
    folder
        Folder of a session or its outputs, which workers must see under the same path.
    listen
        Gets messages about the progress.

    Raises
    ------
    ParameterError
        When neither a queue nor a scheduler is given, or the folder is none.
    """
    if options.queue is None and options.scheduler is None:
        raise ParameterError("no cluster to check; give --queue-file, --cluster or --scheduler")
    if not folder.is_dir():
        raise ParameterError(f"{folder} is no folder; expected the folder of a session or its outputs")
    if options.queue is not None:  # one job, with the memory of a K2 session
        wait, memory = min(options.queue.wait, LONGEST), options.queue.job_memory(K2)
        options = replace(options, queue=replace(options.queue, jobs=(1, 1), wait=wait, memory=memory))
    return Report(tuple(_findings(options, folder.absolute(), listen)))


def _findings(options: ClientOptions, folder: Path, listen: Listener) -> Iterator[ClusterCheck]:
    heard: list[Message] = []
    subject, begin = ("job" if options.queue else "scheduler"), time.monotonic()
    try:
        with open_client(options, LOOKS_AROUND, several(heard.append, listen)) as client:
            assert isinstance(client, DaskClient)
            yield _started(options, client, time.monotonic() - begin)
            yield from _of_workers(options, client.client, folder)
            for message in heard:
                if isinstance(message, ClusterReady):
                    yield _dashboard(message)
                if isinstance(message, Warned) and "not encrypted" in message.message:
                    yield ClusterCheck("encryption", False, message.message, "use tls://")
    except (MrczDaskError, OSError) as error:
        yield ClusterCheck(subject, False, f"{error}", "nothing else can be checked before this works")


def _started(options: ClientOptions, client: DaskClient, seconds: float) -> ClusterCheck:
    if options.queue is None:
        text = f"{options.scheduler} answered in {seconds:.1f} s; workers: {len(client.room())}"
        return ClusterCheck("scheduler", True, text)
    expected = options.queue.plan_workers(LOOKS_AROUND).workers
    with suppress(TimeoutError):
        client.client.wait_for_workers(expected, timeout=COMES_WITHIN)
    workers = len(client.room())
    text = f"{options.queue.system} started one in {seconds:.1f} s; workers: {workers} of {expected}"
    remedy = f"read the logs of the other jobs in {options.queue.folder / 'logs'}"
    return ClusterCheck("job", workers == expected, text, "" if workers == expected else remedy)


def _of_workers(options: ClientOptions, client: Client, folder: Path) -> Iterator[ClusterCheck]:
    """Yield what each of the workers finds; the same on all of them is said once."""
    token, name = uuid.uuid4().hex, f".mrcz-dask-check-{uuid.uuid4().hex}"
    here = folder / name
    try:
        _write(here, token)
    except OSError as error:
        yield ClusterCheck(
            "folder", False, f"{folder} cannot be written into here: {error}", "choose another"
        )
        return
    try:
        before = time.time()
        answers = client.run(inspect_worker, str(here), on_error="return")
        after = time.time()
        workers = workers_there(client)
        findings: dict[str, list[ClusterCheck]] = {}
        for address, facts in answers.items():
            if not isinstance(facts, WorkerFacts):
                remedy = "install the same versions of mrcz-dask and its packages everywhere"
                lost = ClusterCheck("worker", False, f"{address} could not look around: {facts}", remedy)
                findings.setdefault("worker", []).append(lost)
                continue
            judged = [_folder(folder, token, facts), *_program(options, facts), _clock(facts, before, after)]
            if address in workers:
                judged.append(_memory(options, workers[address], facts))
            for finding in judged:
                findings.setdefault(finding.name, []).append(finding)
        for kind in ("worker", "folder", "versions", "memory", "cores", "clock"):
            yield from _merged(findings.get(kind, []))
    finally:
        for path in folder.glob(f"{name}*"):
            path.unlink(missing_ok=True)


def _merged(findings: list[ClusterCheck]) -> Iterator[ClusterCheck]:
    """Yield every finding that is not fine once, or else the first."""
    yield from dict.fromkeys([finding for finding in findings if not finding.ok] or findings[:1])


def inspect_worker(path: str, dask_worker: Worker) -> WorkerFacts:
    """Report a worker's node, memory and time of day, and test whether it reads and writes the shared
    folder.
    """
    from distributed.system import MEMORY_LIMIT

    begin = time.time()
    content = _patiently(lambda: Path(path).read_text(encoding="utf-8"))
    wrote, problem = Path(f"{path}-{dask_worker.id}"), ""
    try:
        _write(wrote, content or "")
    except OSError as error:
        problem = str(error)
    version, free = platform.python_version(), cores()
    host = socket.gethostname()
    return WorkerFacts(host, version, free, MEMORY_LIMIT, begin, content, wrote.name, problem)


def _patiently(read: Callable[[], str]) -> str | None:
    """Read a file, as soon as a network file system shows it; None if it does not."""
    end = time.monotonic() + SEEN_WITHIN
    while True:
        with suppress(OSError):
            return read()
        if time.monotonic() > end:
            return None
        time.sleep(0.5)
        check_stop()


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _folder(folder: Path, token: str, facts: WorkerFacts) -> ClusterCheck:
    """Judge whether client and worker read what the other one wrote."""
    remedy = "choose a folder on a file system that all nodes mount under the same path, with leave to write"
    if facts.content is None:
        return ClusterCheck(
            "folder", False, f"{folder} is not seen on {facts.host}, or is another one", remedy
        )
    if facts.content != token:
        return ClusterCheck("folder", False, f"{folder} on {facts.host} has other contents", remedy)
    if facts.problem:
        text = f"{folder} cannot be written into on {facts.host}: {facts.problem}"
        return ClusterCheck("folder", False, text, remedy)
    if _patiently(lambda: (folder / facts.wrote).read_text(encoding="utf-8")) != token:
        return ClusterCheck(
            "folder", False, f"what {facts.host} writes into {folder} is not seen here", remedy
        )
    return ClusterCheck("folder", True, f"{folder} is seen and written by workers, with the same contents")


def _program(options: ClientOptions, facts: WorkerFacts) -> Iterator[ClusterCheck]:
    """Judge the version of Python, and the cores that a worker may use."""
    mine = platform.python_version()
    if facts.python != mine:
        remedy = f"use the same environment: `python` in the queue settings, or Python {mine} on {facts.host}"
        yield ClusterCheck("versions", False, f"Python {facts.python} on {facts.host}, {mine} here", remedy)
    else:
        text = f"the same here and there: Python {mine}, and what decides about bytes"
        yield ClusterCheck("versions", True, text)
    cores = options.queue.cores if options.queue is not None else 1
    ok, request = facts.cores >= cores, f"; a job asks for {cores}" if options.queue else ""
    remedy = "" if ok else "ask for fewer (--cores)"
    yield ClusterCheck("cores", ok, f"{facts.cores} on {facts.host}{request}", remedy)


def _memory(options: ClientOptions, worker: dict[str, Any], facts: WorkerFacts) -> ClusterCheck:
    """Judge whether a K2 stack fits into a worker, and whether its node has what it was promised."""
    queue = options.queue
    if queue is None:
        limit = (worker["memory_limit"] or facts.memory) * SHARE
        text = f"a worker may use {readable(limit)}; a K2 stack needs {readable(K2.of(1))}"
        remedy = "start workers with more (dask worker --memory-limit); smaller frames need less"
        return ClusterCheck("memory", limit >= K2.of(1), text, "" if limit >= K2.of(1) else remedy)
    memory = queue.job_memory(K2)
    if memory > facts.memory:
        text = f"a job asks for {readable(memory)}, {facts.host} has {readable(facts.memory)}"
        return ClusterCheck("memory", False, text, "ask for less (--job-memory), with fewer cores (--cores)")
    try:
        plan = queue.plan_workers(K2)
    except MrczDaskError as error:
        return ClusterCheck("memory", False, f"for K2 stacks: {error}", "ask for more (--job-memory)")
    text = f"a job of {readable(memory)} and {queue.cores} cores takes {plan.workers} K2 stacks at a time"
    return ClusterCheck("memory", True, text)


def _clock(facts: WorkerFacts, before: float, after: float) -> ClusterCheck:
    """Judge how far a worker's clock is off: at least so much outside of the time of the question."""
    off = min(0.0, facts.time - before) + max(0.0, facts.time - after)
    ok = abs(off) < CLOCKS_APART
    text = f"{facts.host} is {off:+.1f} s off" if off else f"{facts.host} agrees"
    remedy = "set the clock of the node (chrony, ntpd): certificates have dates, and so have files"
    return ClusterCheck("clock", ok, text, "" if ok else remedy)


def _dashboard(ready: ClusterReady) -> ClusterCheck:
    """Say where the dashboard is, and the tunnel to it from another machine."""
    if not ready.dashboard:
        return ClusterCheck(
            "dashboard", False, "none", "install bokeh, or start the scheduler with its dashboard"
        )
    address = urlsplit(ready.dashboard)
    host, port = address.hostname or "", address.port or 80
    far = "127.0.0.1" if is_loopback(host) else host
    try:
        with urllib.request.urlopen(f"{address.scheme}://{host}:{port}/health", timeout=ANSWERS):
            pass
    except OSError as error:
        text = f"{ready.dashboard} does not answer here: {error}"
        return ClusterCheck(
            "dashboard", False, text, f"try from its machine: ssh -N -L {port}:{far}:{port} ..."
        )
    tunnel = f"ssh -N -L {port}:{far}:{port} {getpass.getuser()}@{socket.getfqdn()}"
    return ClusterCheck(
        "dashboard", True, f"port {port}; from your desk: {tunnel}, then http://127.0.0.1:{port}/status"
    )

"""Executors on real processes: the same bytes as the serial one, also after a worker was killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.engine.client import Client, DaskClient, SerialClient, segments_of
from mrcz_dask.engine.memory import Need
from mrcz_dask.engine.queues import QueueProfile
from mrcz_dask.engine.where import Tls, Where, cores, is_loopback, local_crew, open_client
from mrcz_dask.runs import cluster, flow
from mrcz_dask.runs.readback import swept
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.events import ClusterReady, Event, PhaseStarted, StackDone, Warned, silent

LITTLE = Need(100_000_000, 1_000_000)
WRITES = ["normalized", "recompressed", "references"]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file() and p.name != "events.jsonl"
    }


@pytest.fixture(scope="module")
def processes() -> Iterator[DaskClient]:
    """Two workers of one thread, for all tests of this module."""
    with open_client(Where(2), LITTLE, silent) as executor:
        assert isinstance(executor, DaskClient)
        yield executor


@pytest.fixture(scope="module")
def threads() -> Iterator[Client]:
    """One worker of two threads."""
    with open_client(Where(1, 2), LITTLE, silent) as executor:
        yield executor


@pytest.mark.parametrize("write", WRITES)
def test_serial_processes_and_threads_give_the_same_bytes(
    night: Path, tmp_path: Path, koma: Any, processes: Client, threads: Client, write: str
) -> None:
    one = koma(night, tmp_path / "one", write=write)
    two = koma(night, tmp_path / "two", processes, write=write)
    three = koma(night, tmp_path / "three", threads, write=write)
    assert one.complete and two.complete and three.complete
    assert one.results == two.results == three.results
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "three")


@pytest.mark.parametrize("phase", ["sums and masks", "correction"])
def test_a_killed_worker_changes_nothing(
    night: Path, tmp_path: Path, koma: Any, processes: DaskClient, phase: str
) -> None:
    koma(night, tmp_path / "calm")
    killed = []

    def kill(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == phase:
            pid = next(iter(processes.client.run(os.getpid).values()))
            killed.append(pid)
            threading.Timer(0.05, os.kill, (pid, signal.SIGKILL)).start()

    with swept(tmp_path / "rough", [p.stem for p in night.glob("*.mrcz")]):
        rough = koma(night, tmp_path / "rough", processes, listen=kill)
    assert killed
    assert rough.complete
    assert contents(tmp_path / "calm") == contents(tmp_path / "rough")
    assert [p.name for p in (tmp_path / "rough").iterdir() if p.name.startswith(".")] == []


def test_a_task_that_kills_every_worker_fails_alone(
    processes: DaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "PATIENCE", 1)
    (tmp_path / "tasks_of_this_test.py").write_text(TASKS)
    processes.client.upload_file(str(tmp_path / "tasks_of_this_test.py"))
    sys.path.insert(0, str(tmp_path))
    try:
        from tasks_of_this_test import Deadly, run  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    tasks = [Deadly(name, name == "c") for name in "abcdef"]
    found = {task.name: result for task, result in processes.run(run, [tasks[:3], tasks[3:]])}
    assert isinstance(found.pop("c"), Exception)
    assert found == {name: name.upper() for name in "abdef"}


TASKS = """
import os, signal
from dataclasses import dataclass

@dataclass(frozen=True)
class Deadly:
    name: str
    deadly: bool

def run(task):
    if task.deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return task.name.upper()
"""


def test_a_worker_that_will_not_start_again_is_replaced(tmp_path: Path) -> None:
    """As one that is killed while it starts."""
    with open_client(Where(2), LITTLE, silent) as executor:
        assert isinstance(executor, cluster.LocalExecutor)
        local = executor._cluster
        local.sync(next(iter(local.workers.values())).close)
        tasks = range(6)
        assert sorted(k for k, _ in executor.run(str, [tasks[:3], tasks[3:]])) == list(tasks)
        while len(executor.room()) < 2:
            time.sleep(0.1)


@pytest.mark.cluster
def test_a_task_that_takes_too_much_memory_is_tried_again(tmp_path: Path) -> None:
    """Its worker is ended for it; the next attempt may need less, as here."""
    with open_client(Where(1, memory=700_000_000), LITTLE, silent) as executor:
        assert isinstance(executor, DaskClient)
        executor.client.upload_file(str(written(tmp_path / "greedy_tasks.py", GREEDY)))
        sys.path.insert(0, str(tmp_path))
        try:
            from greedy_tasks import run  # type: ignore[import-not-found]
        finally:
            sys.path.pop(0)
        marker = str(tmp_path / "was here")
        assert [result for _, result in executor.run(run, [[marker]])] == ["enough"]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


GREEDY = """
import os, time

def run(marker):
    if os.path.exists(marker):
        return "enough"
    open(marker, "w").close()
    taken = bytearray(os.urandom(1 << 20)) * 1500
    time.sleep(60)
    return "too much"
"""


def test_the_cluster_is_announced_and_sized(processes: DaskClient) -> None:
    assert (processes.slots, processes.threads) == (2, 1)
    assert processes.describe() == {"kind": "dask", "workers": 2, "threads": 2}


def test_no_worker_seems_lost_while_the_client_asks_for_itself(processes: DaskClient) -> None:
    client, over = processes.client, threading.Event()

    def ask() -> None:  # as the client's own loop does, all the time instead of every two seconds
        while not over.is_set():
            client.sync(client._update_scheduler_info)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert {len(processes.room()) for _ in range(300)} == {2}
    finally:
        over.set()
        asking.join()


def test_no_more_tasks_at_a_time_than_there_is_memory_for(tmp_path: Path) -> None:
    """Of three threads two work: the third would need more than the limit."""
    need = Need(process=10**8, task=10**8)
    with open_client(Where(1, 3, memory=300_000_000), need, silent) as executor:
        assert isinstance(executor, DaskClient)
        assert (executor.slots, executor.threads) == (2, 2)
        (address,) = executor.room()
        limits = executor.client.run(lambda dask_worker: dask_worker.memory_manager.memory_limit)
        assert limits == {address: 300_000_000}
        found = list(executor.run(str, [range(5), range(5, 9)]))
    assert sorted(found) == [(k, str(k)) for k in range(9)]


def test_workers_of_another_scheduler_without_enough_memory(processes: DaskClient) -> None:
    address = processes.client.scheduler.address
    where = Where(scheduler=address)
    with (
        pytest.raises(SessionError, match="start workers with more"),
        open_client(where, Need(10**13, 1), silent),
    ):
        pass


def test_no_workers_is_serial() -> None:
    with open_client(Where(0), LITTLE, silent) as executor:
        assert isinstance(executor, SerialClient)


def test_workers_and_scheduler_exclude_each_other() -> None:
    for more in ({"workers": 2}, {"memory": 10**9}):
        with pytest.raises(ParameterError, match="give one of them"):
            Where(scheduler="tcp://x:1", **more)


def test_a_queue_excludes_what_sizes_or_names_another_cluster() -> None:
    queue = QueueProfile("slurm")
    for more in ({"workers": 2}, {"memory": 10**9}, {"scheduler": "tcp://x:1"}):
        with pytest.raises(ParameterError, match="give one of them"):
            Where(queue=queue, **more)


def test_the_workers_of_one_job_are_known_before_it_runs() -> None:
    planned = local_crew(Where(queue=QueueProfile("slurm", cores=3)), LITTLE)
    assert planned is not None and (planned.workers, planned.threads) == (3, 1)


def test_certificates_have_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    with pytest.raises(ParameterError, match=r"--tls-cert is .*none.pem; expected a PEM file"):
        Tls(tmp_path / "ca.pem", tmp_path / "none.pem")
    tls = Tls(tmp_path / "ca.pem", tmp_path / "ca.pem")
    for where, said in (
        ({}, "are for --scheduler"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "is not encrypted"),
    ):
        with (
            pytest.raises(ParameterError, match=said),
            open_client(Where(tls=tls, **where), LITTLE, silent),  # type: ignore[arg-type]
        ):
            pass


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("tcp://127.0.0.1:8786", True),
        ("tls://127.4.5.6:1", True),
        ("localhost:8787", True),
        ("tcp://[::1]:8786", True),
        ("192.0.2.2:8787", False),
        ("tcp://login:8786", False),
        (":8787", False),
        ("0.0.0.0:8787", False),
    ],
)
def test_what_is_reached_from_this_machine_alone(address: str, inside: bool) -> None:
    assert is_loopback(address) is inside


@pytest.mark.parametrize(
    ("address", "warned"), [("127.0.0.1:0", 0), ("localhost:0", 0), (":0", 1), ("0.0.0.0:0", 1)]
)
def test_a_dashboard_beyond_this_machine_is_warned_of(address: str, warned: int) -> None:
    heard: list[Event] = []
    with open_client(Where(1, dashboard=address), LITTLE, heard.append):
        pass
    assert sum(isinstance(event, Warned) for event in heard) == warned


def test_a_plain_scheduler_beyond_this_machine_is_warned_of() -> None:
    heard: list[Event] = []
    cluster._warn_of_plain("tcp://login:8786", heard.append)
    cluster._warn_of_plain("tls://login:8786", heard.append)
    cluster._warn_of_plain("tcp://127.0.0.1:8786", heard.append)
    assert len(heard) == 1


def test_cores_are_those_of_this_process() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "127.0.0.1:9", "nonsense://x", "no such host:1"])
def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises((SessionError, ParameterError), match="--scheduler"), ExitStack() as stack:
        stack.enter_context(open_client(Where(scheduler=address), LITTLE, silent))


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None) as empty,
        pytest.raises(SessionError, match="no worker"),
        open_client(Where(scheduler=empty.scheduler_address), LITTLE, silent),
    ):
        pass


def test_a_running_scheduler_is_used(night: Path, tmp_path: Path, koma: Any, threads: DaskClient) -> None:
    heard: list[Event] = []
    address = threads.client.scheduler.address
    with open_client(Where(scheduler=address), LITTLE, heard.append) as executor:
        outcome = koma(night, tmp_path / "out", executor)
    assert outcome.complete
    (ready,) = heard
    assert isinstance(ready, ClusterReady)
    assert (ready.workers, ready.scheduler) == (1, address)


@pytest.mark.cluster
def test_a_scheduler_that_is_lost(night: Path, tmp_path: Path, koma: Any) -> None:
    """What is done stays; the run ends with a message, and can be taken up again."""
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    with subprocess.Popen(
        [
            *dask,
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            tmp_path / "s.json",
        ],
        stderr=subprocess.DEVNULL,
    ) as scheduler:
        worker = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", tmp_path / "s.json"],
            stderr=subprocess.DEVNULL,
        )
        import json
        import time

        while not (tmp_path / "s.json").exists():
            time.sleep(0.1)
        address = json.loads((tmp_path / "s.json").read_text())["address"]

        def kill(event: Event) -> None:
            if isinstance(event, StackDone) and event.phase == "correction":
                scheduler.kill()

        try:
            with (
                pytest.raises(SessionError, match="run again"),
                open_client(Where(scheduler=address), LITTLE, silent) as executor,
            ):
                koma(night, tmp_path / "out", executor, listen=kill)
        finally:
            scheduler.kill()
            worker.kill()
            worker.wait()
    assert koma(night, tmp_path / "out").complete


@given(count=st.integers(0, 300), slots=st.integers(1, 100))
def test_segments_hold_every_task_once_and_in_order(slots: int, count: int) -> None:
    segments = segments_of(range(count), slots)
    assert [k for segment in segments for k in segment] == list(range(count))
    assert len(segments) == min(count, slots)
    assert {len(segment) for segment in segments} <= {count // slots, count // slots + 1}

"""Clients on real processes: the same bytes as the serial one, also after a worker was killed."""

import importlib
import os
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.engine import clusters
from mrcz_dask.engine.client import Client, DaskClient, SerialClient
from mrcz_dask.engine.clusters import (
    ClientOptions,
    Tls,
    cores,
    open_client,
    plan_local_workers,
)
from mrcz_dask.engine.loop import Task, carry_out
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.engine.queues import QueueSettings
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.messages import Message, Warned, silent
from mrcz_dask.values.records import Failure

LITTLE = MemoryEstimate(100_000_000, 1_000_000)


@dataclass(frozen=True)
class Named:
    """A task's argument."""

    name: str
    marker: str = ""
    places: tuple[str, ...] = ()


def results(client: Client, function: Any, names: Any) -> dict[str, Any]:
    """What a function gives for tasks of these names."""
    tasks = [Task("try", "trying", function, one, k) for k, one in enumerate(names)]
    return {one.name: found for one, found in carry_out(client, tasks)}


def shout(task: Any) -> str:
    return str(task.name.upper())


def test_a_task_that_kills_every_worker_fails_alone(processes: DaskClient, tmp_path: Path) -> None:
    run = sent(processes, tmp_path, "deadly_tasks", DEADLY)
    processes.client.cluster.scheduler.allowed_failures = 2  # fewer than the product's, to be sooner done
    found = results(processes, run, map(Named, "abcdef"))
    failed = found.pop("c")
    assert isinstance(failed, Failure) and "worker was lost" in failed.reason
    assert found == {name: name.upper() for name in "abdef"}


def sent(client: DaskClient, folder: Path, module: str, text: str) -> Any:
    """The function `run` of a module that is sent to the workers."""
    (folder / f"{module}.py").write_text(text)
    client.client.upload_file(str(folder / f"{module}.py"))
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module).run
    finally:
        sys.path.pop(0)


DEADLY = """
import os, signal

def run(task):
    if task.name == "c":
        os.kill(os.getpid(), signal.SIGKILL)
    return task.name.upper()
"""


@pytest.mark.slow
def test_a_worker_that_will_not_start_again_is_replaced() -> None:
    """As one that is killed while it starts."""
    with open_client(ClientOptions(2), LITTLE, silent) as client:
        assert isinstance(client, DaskClient)
        local = client.client.cluster
        local.sync(next(iter(local.workers.values())).close)
        assert len(results(client, shout, map(Named, "abcdef"))) == 6
        while len(client.room()) < 2:
            time.sleep(0.1)


@pytest.mark.cluster
def test_a_task_that_takes_too_much_memory_is_tried_again(tmp_path: Path) -> None:
    """Its worker is ended for it; the next attempt may need less, as here."""
    with open_client(ClientOptions(1, memory=700_000_000), LITTLE, silent) as client:
        assert isinstance(client, DaskClient)
        run = sent(client, tmp_path, "greedy_tasks", GREEDY)
        assert results(client, run, [Named("a", str(tmp_path / "was here"))]) == {"a": "enough"}


GREEDY = """
import os, time

def run(task):
    if os.path.exists(task.marker):
        return "enough"
    open(task.marker, "w").close()
    taken = bytearray(os.urandom(1 << 20)) * 1500
    time.sleep(60)
    return "too much"
"""


def test_the_cluster_is_announced_and_sized(processes: DaskClient) -> None:
    assert (processes.slots, processes.threads) == (2, 1)
    assert processes.describe() == {"kind": "dask", "workers": 2, "threads": 2}


def test_no_worker_seems_lost_while_the_client_asks_for_itself(processes: DaskClient) -> None:
    client, over = processes.client, threading.Event()
    client.wait_for_workers(2, timeout=60)  # one may have been ended by the test before

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
    need = MemoryEstimate(process=10**8, task=10**8)
    with open_client(ClientOptions(1, 3, memory=300_000_000), need, silent) as client:
        assert isinstance(client, DaskClient)
        assert (client.slots, client.threads) == (2, 2)
        (address,) = client.room()
        limits = client.client.run(lambda dask_worker: dask_worker.memory_manager.memory_limit)
        assert limits == {address: 300_000_000}
        assert results(client, shout, map(Named, "abcdefghi")) == {name: name.upper() for name in "abcdefghi"}


def test_workers_of_another_scheduler_without_enough_memory(processes: DaskClient) -> None:
    address = processes.client.scheduler.address
    where = ClientOptions(scheduler=address)
    with (
        pytest.raises(SessionError, match="start workers with more"),
        open_client(where, MemoryEstimate(10**13, 1), silent),
    ):
        pass


def test_no_workers_is_serial() -> None:
    with open_client(ClientOptions(0), LITTLE, silent) as client:
        assert isinstance(client, SerialClient)


def test_workers_and_scheduler_exclude_each_other() -> None:
    for more in ({"workers": 2}, {"memory": 10**9}):
        with pytest.raises(ParameterError, match="give one of them"):
            ClientOptions(scheduler="tcp://x:1", **more)


def test_a_queue_excludes_what_sizes_or_names_another_cluster() -> None:
    queue = QueueSettings("slurm")
    for more in ({"workers": 2}, {"memory": 10**9}, {"scheduler": "tcp://x:1"}):
        with pytest.raises(ParameterError, match="give one of them"):
            ClientOptions(queue=queue, **more)


def test_the_workers_of_one_job_are_known_before_it_runs() -> None:
    planned = plan_local_workers(ClientOptions(queue=QueueSettings("slurm", cores=3)), LITTLE)
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
            open_client(ClientOptions(tls=tls, **where), LITTLE, silent),  # type: ignore[arg-type]
        ):
            pass


@pytest.mark.parametrize(("address", "warned"), [("localhost:0", 0), ("0.0.0.0:0", 1)])
def test_a_dashboard_beyond_this_machine_is_warned_of(address: str, warned: int) -> None:
    heard: list[Message] = []
    with open_client(ClientOptions(1, dashboard=address), LITTLE, heard.append):
        pass
    assert sum(isinstance(message, Warned) for message in heard) == warned


def test_a_plain_scheduler_beyond_this_machine_is_warned_of() -> None:
    heard: list[Message] = []
    clusters._warn_of_plain("tcp://login:8786", heard.append)
    clusters._warn_of_plain("tls://login:8786", heard.append)
    clusters._warn_of_plain("tcp://127.0.0.1:8786", heard.append)
    assert len(heard) == 1


def test_cores_are_those_of_this_process() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "127.0.0.1:9", "nonsense://x", "no such host:1"])
def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 1)
    with pytest.raises((SessionError, ParameterError), match="--scheduler"), ExitStack() as stack:
        stack.enter_context(open_client(ClientOptions(scheduler=address), LITTLE, silent))


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 1)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(SessionError, match="no worker"),
        open_client(ClientOptions(scheduler=empty.scheduler_address), LITTLE, silent),
    ):
        pass

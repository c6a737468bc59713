"""The main job on real processes: the same bytes as the serial one, also after a worker was killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.engine.client import Client, DaskClient
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.session.output_folder import without_temporary_files
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.messages import ClusterReady, Message, StackDone, silent
from tests.correction.conftest import WRITES, contents

LITTLE = MemoryEstimate(100_000_000, 1_000_000)


@pytest.fixture(scope="module")
def threads() -> Iterator[Client]:
    """One worker of two threads."""
    with open_client(ClientOptions(1, 2), LITTLE, silent) as client:
        yield client


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

    def kill(message: Message) -> None:
        if isinstance(message, StackDone) and message.phase == phase and not killed:
            pid = next(iter(processes.client.run(os.getpid).values()))
            killed.append(pid)
            threading.Timer(0.05, os.kill, (pid, signal.SIGKILL)).start()

    with without_temporary_files(tmp_path / "rough", [p.stem for p in night.glob("*.mrcz")]):
        rough = koma(night, tmp_path / "rough", processes, listen=kill)
    assert killed
    assert rough.complete
    assert contents(tmp_path / "calm") == contents(tmp_path / "rough")
    assert [p.name for p in (tmp_path / "rough").iterdir() if p.name.startswith(".")] == []


def test_a_running_scheduler_is_used(night: Path, tmp_path: Path, koma: Any, threads: DaskClient) -> None:
    heard: list[Message] = []
    address = threads.client.scheduler.address
    with open_client(ClientOptions(scheduler=address), LITTLE, heard.append) as client:
        outcome = koma(night, tmp_path / "out", client)
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
        while not (tmp_path / "s.json").exists():
            time.sleep(0.1)
        address = json.loads((tmp_path / "s.json").read_text())["address"]

        def kill(message: Message) -> None:
            if isinstance(message, StackDone) and message.phase == "correction":
                scheduler.kill()

        try:
            with (
                pytest.raises(SessionError, match="run again"),
                open_client(ClientOptions(scheduler=address), LITTLE, silent) as client,
            ):
                koma(night, tmp_path / "out", client, listen=kill)
        finally:
            scheduler.kill()
            worker.kill()
            worker.wait()
    assert koma(night, tmp_path / "out").complete

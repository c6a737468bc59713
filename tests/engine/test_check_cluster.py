"""What `cluster check` finds: on a scheduler that runs, and in what workers may answer."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.engine import check_cluster as checking
from mrcz_dask.engine.check_cluster import K2, ClusterCheck, Report, WorkerFacts, check_cluster
from mrcz_dask.engine.client import DaskClient
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.engine.queues import QueueSettings
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.messages import ClusterReady, silent

SEEN = WorkerFacts("n017", checking.platform.python_version(), 4, 64 * 10**9, 1000.0, "token", "x-1", "")
QUEUE = ClientOptions(queue=QueueSettings("slurm", cores=4, memory=8 * 10**9))


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with open_client(ClientOptions(2, memory=3 * 10**9), MemoryEstimate(10**8, 10**6), silent) as executor:
        assert isinstance(executor, DaskClient)
        yield executor.client.scheduler.address


def named(report: Report) -> dict[str, ClusterCheck]:
    found = {one.name: one for one in report.findings}
    assert len(found) == len(report.findings), report
    return found


def test_a_scheduler_that_does_what_is_needed(scheduler: str, tmp_path: Path) -> None:
    report = check_cluster(ClientOptions(scheduler=scheduler), tmp_path, silent)
    assert report.ok, report
    assert list(named(report)) == ["scheduler", "folder", "versions", "memory", "cores", "clock", "dashboard"]
    assert list(tmp_path.iterdir()) == []
    assert json.loads(json.dumps(report.to_dict()))["findings"][0]["ok"] is True


def test_the_tunnel_leads_to_the_port_of_the_dashboard(scheduler: str, tmp_path: Path) -> None:
    found = named(check_cluster(ClientOptions(scheduler=scheduler), tmp_path, silent))["dashboard"].found
    port = found.split()[1].rstrip(";")
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in found


@pytest.mark.slow
def test_workers_in_another_folder(scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's file is written beside: what workers see of the folder is not what is here."""
    monkeypatch.setattr(checking, "SEEN_WITHIN", 0.0)
    real = checking._write
    monkeypatch.setattr(checking, "_write", lambda path, text: real(path.with_suffix(".elsewhere"), text))
    report = check_cluster(ClientOptions(scheduler=scheduler), tmp_path, silent)
    assert not report.ok
    folder = named(report)["folder"]
    assert "is not seen on" in folder.found and "under the same path" in folder.remedy
    assert list(tmp_path.iterdir()) == []


def test_no_scheduler_is_one_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrcz_dask.engine.clusters.CONNECT_SECONDS", 1)
    report = check_cluster(ClientOptions(scheduler="tcp://127.0.0.1:9"), tmp_path, silent)
    (one,) = report.findings
    assert not one.ok and "no Dask scheduler answers" in one.found


def test_a_machine_without_the_queue_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    (one,) = check_cluster(QUEUE, tmp_path, silent).findings
    assert not one.ok and "sbatch: not found" in one.found


def test_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="--scheduler"):
        check_cluster(ClientOptions(), tmp_path, silent)
    with pytest.raises(ParameterError, match="is no folder"):
        check_cluster(QUEUE, tmp_path / "none", silent)


def test_one_job_is_submitted_with_the_memory_of_a_k2_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[ClientOptions] = []

    def refuse(options: ClientOptions, *_: Any) -> Any:
        opened.append(options)
        raise SessionError("no queue system is here")

    monkeypatch.setattr(checking, "open_client", refuse)
    queue = QueueSettings("slurm", jobs=(2, 9), cores=3, wait=10**5)
    report = checking.check_cluster(ClientOptions(queue=queue), tmp_path, silent)
    assert not report.ok and "no queue system is here" in report.findings[0].found
    assert opened[0].queue is not None
    assert (opened[0].queue.jobs, opened[0].queue.wait) == ((1, 1), 600)
    assert opened[0].queue.memory == QueueSettings("slurm", cores=3).job_memory(K2)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"content": None}, "is not seen on n017"),
        ({"content": "other"}, "has other contents"),
        ({"problem": "[Errno 30] Read-only file system"}, "cannot be written into on n017: .*Read-only"),
        ({}, "what n017 writes into .* is not seen here"),
    ],
)
def test_a_folder_that_is_not_shared(
    seen: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "SEEN_WITHIN", 0.0)
    one = checking._folder(tmp_path, "token", replace(SEEN, **seen))
    assert not one.ok and one.remedy
    assert re.search(said, one.found)
    (tmp_path / "x-1").write_text("token")
    assert checking._folder(tmp_path, "token", SEEN).ok


def test_memory_of_a_job() -> None:
    fine = checking._memory(QUEUE, {}, SEEN)
    assert fine.ok and "takes 4 K2 stacks at a time" in fine.found
    small = checking._memory(QUEUE, {}, replace(SEEN, memory=10**9))
    assert not small.ok and "n017 has 1 GB" in small.found
    little = checking._memory(ClientOptions(queue=QueueSettings("slurm", memory=10**9)), {}, SEEN)
    assert not little.ok and "--job-memory" in little.found


@pytest.mark.parametrize(("limit", "ok"), [(0, True), (4 * 10**9, True), (10**9, False)])
def test_memory_of_a_worker(limit: int, ok: bool) -> None:
    assert checking._memory(ClientOptions(scheduler="x:1"), {"memory_limit": limit}, SEEN).ok is ok


def test_cores_versions_and_clock() -> None:
    assert [one.ok for one in checking._program(QUEUE, SEEN)] == [True, True]
    assert [one.ok for one in checking._program(QUEUE, replace(SEEN, cores=2))] == [True, False]
    assert [one.ok for one in checking._program(QUEUE, replace(SEEN, python="3.9.0"))] == [False, True]
    assert checking._clock(SEEN, 999.0, 1001.0).found.endswith("agrees")
    behind = checking._clock(SEEN, 1090.0, 1092.0)
    assert not behind.ok and "-90.0 s off" in behind.found
    assert not checking._clock(SEEN, 900.0, 902.0).ok


def test_a_dashboard_that_is_missing_or_silent() -> None:
    assert not checking._dashboard(ClusterReady(1, 1, "tcp://x:1", "")).ok
    silent_one = checking._dashboard(ClusterReady(1, 1, "tcp://x:1", "http://127.0.0.1:9/status"))
    assert not silent_one.ok and "does not answer" in silent_one.found


def test_the_same_from_all_workers_is_said_once() -> None:
    fine, bad = ClusterCheck("x", True, "a"), ClusterCheck("x", False, "b", "c")
    assert list(checking._merged([fine, replace(fine, found="d")])) == [fine]
    assert list(checking._merged([fine, bad, bad])) == [bad]
    assert list(checking._merged([])) == []

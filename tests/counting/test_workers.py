"""Real worker processes: the same bytes with any number of them, and when they are killed."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mrcz_dask.counting import FractionParams, count_plan
from mrcz_dask.counting import run as run_module
from mrcz_dask.counting.run import carry_out
from mrcz_dask.engine.client import DaskClient
from mrcz_dask.engine.clusters import ClientOptions
from tests.electrons import count

SLOW = """
import time

def slow(frame, camera):
    time.sleep(0.05)
    return camera.find(frame)
"""


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.mrcz"))}


@pytest.mark.cluster
def test_two_workers_and_two_threads_write_the_bytes_of_one_process(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    params = FractionParams(2, 7)
    both = {"calibration": calibration, "fractions": params, "events": True}
    count(*raw_stacks, output=tmp_path / "one", **both)
    done = count(*raw_stacks, output=tmp_path / "two", where=ClientOptions(workers=2, threads=2), **both)
    assert done.complete and outputs(tmp_path / "one") == outputs(tmp_path / "two")


@pytest.mark.cluster
def test_killed_workers_change_nothing(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client, LocalCluster

    (tmp_path / "slow.py").write_text(SLOW)
    options = {"calibration": calibration, "events": True, "detector": f"{tmp_path / 'slow.py'}:slow"}
    monkeypatch.setattr(run_module, "batch_frames", lambda shape: 5)
    count(*raw_stacks, output=tmp_path / "one", **options)
    plan = count_plan(raw_stacks, tmp_path / "killed", **options)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        killed: list[int] = []
        killer = threading.Thread(target=_kill, args=(client, 3, killed))
        killer.start()
        done = carry_out(plan, DaskClient(client, plan.memory_estimate()))
        killer.join()
    assert killed and done.complete
    assert outputs(tmp_path / "one") == outputs(tmp_path / "killed")


def _kill(client: object, times: int, killed: list[int]) -> None:
    for _ in range(times):
        time.sleep(1.0)
        pids = list(client.run(os.getpid, on_error="ignore").values())  # type: ignore[attr-defined]
        for pid in pids[:1]:
            if isinstance(pid, int):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

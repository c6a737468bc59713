import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from distributed import LocalCluster

from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.live.frames import FrameInfo, Roi
from mrcz_dask.live.processors.host import Script
from mrcz_dask.live.processors.pool import Hosted, Pool, WorkerLostError, open_pool
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.messages import ClusterReady, Warned
from tests.live.conftest import Ears, Numbers, run_all

Write = Callable[[str, str], Script]
INFO = FrameInfo(0, 0.0, "", 0, None, {}, Roi(0, 2, 0, 3), (2, 3))
FRAME = np.ones((2, 3), np.uint8)
DIE = """
@processor(Scalar("pid"))
def die(frame, *, now: bool = False):
    if now:
        os._exit(1)
    return os.getpid()
"""


def _taken(pool: Pool, script: Script) -> Hosted:
    hosted = pool.take("die", Event())
    assert hosted is not None
    assert hosted.call("load", script, seconds=60)[1] == ""
    return hosted


def test_each_has_a_process_to_itself_and_another_when_it_is_lost(pool: Pool, write: Write) -> None:
    script = write("die", DIE)
    one, other = _taken(pool, script), _taken(pool, script)
    assert len({one.pid, other.pid, os.getpid()}) == 3
    assert one.call("run", FRAME, INFO, {}, seconds=60).values == {"pid": one.pid}
    with pytest.raises(WorkerLostError):
        one.call("run", FRAME, INFO, {"now": True}, seconds=60)
    pool.end(one)
    again = _taken(pool, script)
    assert again.pid not in (one.pid, other.pid)
    for hosted in (again, other):
        pool.release(hosted.address)


def test_who_waits_for_a_worker_can_be_stopped(pool: Pool, write: Write) -> None:
    script, stop = write("die", DIE), Event()
    held = [_taken(pool, script) for _ in range(2)]
    stop.set()
    assert pool.take("third", stop) is None
    for hosted in held:
        pool.release(hosted.address)


def test_a_running_scheduler_is_used_and_few_workers_are_warned_of(write: Write, tmp_path: Path) -> None:
    body = DIE.replace("now: bool = False", "now: bool = True").replace(
        "if now:", "if now and frame.max() == 2:"
    )
    scripts = [
        write("die", body),
        write("top", "@processor(Scalar('top'))\ndef top(frame): return frame.max()"),
    ]
    ears = Ears()
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs="CRITICAL"
        ) as cluster,
        open_pool(ClientOptions(scheduler=cluster.scheduler_address), 2, 10**8, ears) as pool,
    ):
        session = run_all(pool, Numbers(range(5)), scripts)
    assert "2 processors share 1 workers" in ears.of(Warned)[-1].message
    assert ears.of(ClusterReady)[0].workers == 1
    assert session.panels()[0].restarts == 1
    frames = [one.number for one in session.results("die")[1]]
    assert frames == [0, 1, 3, 4]


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrcz_dask.engine.clusters.CONNECT_SECONDS", 1)
    with (
        pytest.raises(SessionError, match="no Dask scheduler answers"),
        open_pool(ClientOptions(scheduler="tcp://127.0.0.1:9"), 1, 10**8, Ears()),
    ):
        time.sleep(0)

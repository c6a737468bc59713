"""A real SLURM: workers as jobs of it, the bytes of the serial run, whatever becomes of the jobs."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine import clusters, jobs
from mrcz_dask.engine.client import DaskClient
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.engine.loop import Task
from mrcz_dask.engine.loop import carry_out as carry_out_tasks
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.engine.queues import QueueSettings, read_queue_settings
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.output_folder import without_temporary_files
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.messages import Message, PhaseStarted, StackDone, silent
from mrcz_dask.values.params import KomaParams, OutlierParams, Settings, WriteParams

pytestmark = pytest.mark.cluster

WORKFLOW = Path(__file__).parents[2] / "workflows" / "slurm"
RADIUS = 3
LITTLE = MemoryEstimate(320_000_000, 20_000_000)
PATIENCE = 90


def in_environment(slurm: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm.environment[name])


@pytest.fixture(autouse=True)
def in_slurm(slurm: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    in_environment(slurm, home, monkeypatch)
    monkeypatch.setattr(clusters, "GRACE", 3.0)
    monkeypatch.setattr(jobs, "LOOK", 1.0)
    yield
    assert until(lambda: slurm.jobs() == []), "jobs were left in the queue"
    assert not list(home.rglob("ran")), "a shell has seen the name of a session or a stack"
    assert not list(home.rglob("*.pem")), "certificates were left"


def until(true: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.3)
    return False


def settings(**more: Any) -> QueueSettings:
    return QueueSettings("slurm", **({"jobs": (2, 2), "queue": "night", "walltime": 600} | more))


@contextmanager
def opened(**more: Any) -> Iterator[DaskClient]:
    with open_client(ClientOptions(queue=settings(**more)), LITTLE, silent) as client:
        assert isinstance(client, DaskClient)
        yield client


def koma(night: Path, out: Path, client: Any, listen: Any = silent) -> None:
    settings = Settings(outliers=OutlierParams(), koma=KomaParams(radius=RADIUS), write=WriteParams())
    plan = make_plan(night, out, settings)
    with without_temporary_files(out, [stack.stem for stack in plan.stacks]):
        assert carry_out(plan, client, listen).complete


def test_a_session_through_jobs_gives_the_bytes_of_the_serial_run(
    night: Path, serial: dict[str, bytes], home: Path, mrcz: Any, outputs: Any
) -> None:
    options = ("--cluster", "slurm", "--jobs", 2, "--cores", 1, "--queue", "night", "--walltime", "10m")
    done = mrcz("koma", night, "-o", home / "out", "--radius", RADIUS, "--no-report", *options)
    assert done.code == 0, done
    assert "at tls://" in done.err and "dashboard http://127.0.0.1:" in done.err
    assert "warning" not in done.err
    assert outputs(home / "out") == serial


def test_two_jobs_of_one_core_work_side_by_side(
    night: Path, serial: dict[str, bytes], home: Path, outputs: Any, slurm: Any
) -> None:
    with opened() as client:
        assert client.slots == 2
        assert until(lambda: len(client.room()) == 2)
        assert len(slurm.jobs("--states", "RUNNING")) == 2
        koma(night, home / "out", client)
    assert outputs(home / "out") == serial


def test_nothing_but_encrypted_ports_is_reached_from_elsewhere() -> None:
    with opened(jobs=(1, 1)) as client:
        info = client.client.scheduler_info(n_workers=-1)
        host = client.client.scheduler.address.split("://")[1].rpartition(":")[0]
        (worker,) = info["workers"].values()
        assert info["address"].startswith("tls://") and worker["nanny"].startswith("tls://")
        pages = [info["services"]["dashboard"], worker["services"].get("dashboard")]
        for port in filter(None, pages):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            if not host.startswith("127."):
                with pytest.raises(OSError):
                    socket.create_connection((host, port), timeout=5)


def test_two_workers_in_a_job_of_two_cores(
    night: Path, serial: dict[str, bytes], home: Path, outputs: Any, slurm: Any
) -> None:
    with opened(jobs=(1, 1), cores=2, memory=10**9) as client:
        assert until(lambda: len(client.room()) == 2)
        assert len(slurm.jobs()) == 1
        koma(night, home / "out", client)
    assert outputs(home / "out") == serial


def test_a_run_uses_jobs_that_start_later(
    night: Path, serial: dict[str, bytes], home: Path, outputs: Any, slurm: Any
) -> None:
    """All cores but one are taken at first, so that one job waits until the run is on its way."""
    sleep = (f"-n{slurm.cores - 1}", "--mem=100M", "--output=/dev/null", "--wrap", "sleep 300")
    taken = slurm.run("sbatch", "--parsable", *sleep)
    assert until(lambda: slurm.state(taken.strip()) == "RUNNING")
    rooms: list[int] = []

    with opened() as client:

        def listen(message: Message) -> None:
            if isinstance(message, PhaseStarted) and not rooms:
                rooms.append(len(client.room()))
                slurm.run("scancel", taken.strip())
                assert until(lambda: len(client.room()) == 2)

        koma(night, home / "out", client, listen)
    assert rooms == [1]
    assert outputs(home / "out") == serial


@pytest.mark.parametrize("phase", ["sums and masks", "correction"])
def test_a_cancelled_job_changes_nothing_and_is_replaced(
    night: Path, serial: dict[str, bytes], home: Path, outputs: Any, slurm: Any, phase: str
) -> None:
    cancelled: list[str] = []
    with opened() as client:
        assert until(lambda: len(client.room()) == 2)

        def cancel(message: Message) -> None:
            if isinstance(message, StackDone) and message.phase == phase and not cancelled:
                cancelled.append(slurm.jobs()[0])
                slurm.run("scancel", cancelled[0])

        koma(night, home / "out", client, cancel)
        assert until(lambda: len(slurm.jobs("--states", "RUNNING")) == 2 and len(client.room()) == 2)
        assert cancelled[0] not in slurm.jobs()
    assert outputs(home / "out") == serial


def test_workers_end_before_their_job_is_ended(
    night: Path,
    serial: dict[str, bytes],
    home: Path,
    outputs: Any,
    slurm: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first one ends between sums and corrections, which its successor makes."""
    monkeypatch.setattr(clusters, "GRACE", 15.0)
    with opened(jobs=(1, 1), lifetime=15, stagger=0) as client:
        (first,) = slurm.jobs()

        def listen(message: Message) -> None:
            if isinstance(message, StackDone) and message.phase == "sums and masks":
                assert until(lambda: slurm.state(first) != "RUNNING")

        koma(night, home / "out", client, listen)
        assert slurm.state(first) in ("COMPLETING", "COMPLETED")
        assert until(lambda: slurm.jobs() not in ([], [first]))
    assert outputs(home / "out") == serial


def test_jobs_follow_the_work(slurm: Any) -> None:
    """A backlog brings all jobs, none of it ends them, and new work brings one again."""

    def napping(client: DaskClient, number: int) -> Iterator[int]:
        naps: list[Any] = [Task("nap", "napping", time.sleep, 0.3)] * number  # type: ignore[arg-type]
        return (len(client.room()) for _ in carry_out_tasks(client, naps))

    with opened(jobs=(0, 2)) as client:
        rooms = list(napping(client, 150))
        assert len(rooms) == 150 and max(rooms) == 2
        assert until(lambda: slurm.jobs() == [])
        assert len(list(napping(client, 3))) == 3


def test_a_first_job_that_waits_long_stays_in_the_queue(slurm: Any) -> None:
    """Also where no job need be kept: nothing is known of the work before there is a worker."""
    looks = 6
    before = slurm.jobs("--states", "all")
    slurm.run("scontrol", "update", "PartitionName=night", "State=DOWN")
    begin = threading.Timer(
        looks * jobs.LOOK, slurm.run, ["scontrol", "update", "PartitionName=night", "State=UP"]
    )
    begin.start()
    with opened(jobs=(0, 2), wait=60):
        begin.join()
        assert len(slurm.jobs("--states", "all")) == len(before) + 1


def test_200_stacks_bring_four_jobs_and_then_none(
    tmp_path_factory: pytest.TempPathFactory, home: Path, slurm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the client stays; a command that is over ends its jobs at once."""
    monkeypatch.undo()  # the times of the program itself
    in_environment(slurm, home, monkeypatch)
    folder = tmp_path_factory.mktemp("many")
    write_session(folder, named("standard", shape=(320, 336), frames=8, stacks=200, seed=5, dose=2))
    most = 0

    def listen(message: Message) -> None:
        nonlocal most
        if isinstance(message, StackDone):
            most = max(most, len(client.room()))

    with opened(jobs=(0, 4)) as client:
        koma(folder, home / "out", client, listen)
        assert most == 4
        assert until(lambda: slurm.jobs() == [], 60)


def test_a_job_that_was_refused_is_submitted_again(
    home: Path, slurm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "AGAIN", 2.0)
    full, refused = home / "full", home / "refused"
    program = home / "sbatch"
    program.write_text(
        f'#!/bin/sh\nif [ -e {full} ]; then touch {refused}; echo "limit of jobs" >&2; exit 1; fi\n'
        f'exec {shutil.which("sbatch")} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    with opened(jobs=(1, 1)) as client:
        full.touch()
        slurm.run("scancel", *slurm.jobs())
        assert until(refused.exists)
        full.unlink()
        assert until(lambda: len(client.room()) == 1 and len(slurm.jobs()) == 1)
        full.touch()
        with pytest.raises(SessionError, match="slurm takes no job: limit of jobs"), opened():
            pass


@pytest.mark.parametrize("how", ["worker", "job"])
def test_the_only_worker_is_lost(
    night: Path, serial: dict[str, bytes], home: Path, outputs: Any, slurm: Any, how: str
) -> None:
    lost: list[object] = []
    with opened(jobs=(1, 1)) as client:

        def lose(message: Message) -> None:
            if isinstance(message, StackDone) and not lost:
                lost.extend(client.client.run(os.getpid).values() if how == "worker" else slurm.jobs())
                if how == "worker":
                    os.kill(lost[0], signal.SIGKILL)
                else:
                    slurm.run("scancel", *lost)

        koma(night, home / "out", client, lose)
    assert lost and outputs(home / "out") == serial


def test_outputs_of_jobs_are_reproduced_and_counts_are_those_of_one_process(
    night: Path, raw_stacks: list[Path], calibration: Path, home: Path, mrcz: Any, outputs: Any
) -> None:
    options = ("--calibration", calibration, "--fraction", 7, "--events")
    alone = mrcz("count", *raw_stacks, "-o", home / "alone", *options, "--workers", 0)
    queued = mrcz("count", *raw_stacks, "-o", home / "out", *options, "--cluster", "slurm", "--jobs", 2)
    assert alone.code == queued.code == 0, queued
    assert "at tls://" in queued.err
    assert outputs(home / "out") == outputs(home / "alone")
    made = home / "out" / raw_stacks[0].name
    again = mrcz("reproduce", made, "--session", raw_stacks[0].parent, "--calibration", calibration)
    assert again.code == 0, again


def test_check_finds_everything_fine(night: Path, mrcz: Any) -> None:
    done = mrcz("cluster", "check", night, "--cluster", "slurm", "--cores", 2, "--json")
    assert done.code == 0, done
    found = {one["name"]: one["found"] for one in json.loads(done.out)["findings"]}
    assert list(found) == ["job", "folder", "versions", "memory", "cores", "clock", "dashboard"]
    assert "workers: 2 of 2" in found["job"] and "takes 2 K2 stacks" in found["memory"]


def test_check_of_a_queue_that_is_not_there(night: Path, mrcz: Any) -> None:
    done = mrcz("cluster", "check", night, "--cluster", "slurm", "--queue", "nowhere")
    assert done.code == 3
    assert "invalid partition specified: nowhere" in done.out


def test_without_tls_there_is_a_warning(night: Path, home: Path, mrcz: Any) -> None:
    (home / "plain.toml").write_text('system = "slurm"\ntls = false\n')
    done = mrcz("cluster", "check", night, "--queue-file", home / "plain.toml")
    beyond = "127.0.0.1" not in done.err.split("tcp://")[1][:10]
    assert ("is not encrypted" in done.err) is beyond
    assert done.code == (3 if beyond else 0)
    local = mrcz("cluster", "check", night, "--queue-file", home / "plain.toml", "--interface", "lo")
    assert (local.code, "warning" in local.err) == (0, False), local


def test_a_job_that_does_not_start_is_looked_at(slurm: Any) -> None:
    with (
        pytest.raises(SessionError, match=r"no job has started within 00:00:04 .*squeue .*PENDING"),
        opened(jobs=(1, 1), cores=slurm.cores + 1, wait=4),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_takes_its_jobs_along(
    night: Path, home: Path, slurm: Any, number: int
) -> None:
    options = ("--cluster", "slurm", "--jobs", "2", "--radius", str(RADIUS), "-o", str(home / "out"))
    command = [sys.executable, "-m", "mrcz_dask.cli.app", "koma", str(night), *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        assert until(lambda: slurm.jobs() != [])  # with all jobs at work the run may end first
        process.send_signal(number)
        assert process.wait(timeout=PATIENCE) == 128 + number
    assert until(lambda: slurm.jobs() == [])


def run_script(name: str, night: Path, home: Path, slurm: Any, *options: str) -> str:
    """Submit a script of workflows/slurm, wait for its end, and return its log."""
    shutil.copy(WORKFLOW / name, home)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    submit = ["sbatch", "--parsable", *options, name, str(night), str(home / "out")]
    environment = {**slurm.environment, "HOME": str(home), "PATH": path, "RADIUS": str(RADIUS)}
    job = subprocess.run(submit, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    assert until(lambda: slurm.state(job) not in ("PENDING", "RUNNING", "COMPLETING"), 300)
    log = (home / f"koma-{job}.log").read_text()
    assert slurm.state(job) == "COMPLETED", log
    return log


def test_the_batch_script_runs_the_command_as_a_job(
    night: Path, serial: dict[str, bytes], home: Path, outputs: Any, slurm: Any
) -> None:
    text = (WORKFLOW / "queue.toml").read_text()
    assert QueueSettings.of(read_queue_settings(WORKFLOW / "queue.toml")).jobs == (1, 8)
    # This node has fewer cores than the settings' jobs, and the command takes one.
    (home / "queue.toml").write_text(text.replace("cores = 4", "cores = 1"))
    assert "16 stacks done, 0 not done" in run_script("koma.sbatch", night, home, slurm)
    assert outputs(home / "out") == serial


def test_the_script_of_one_allocation_submits_no_job(
    night: Path, serial: dict[str, bytes], home: Path, outputs: Any, slurm: Any
) -> None:
    log = run_script("allocation.sbatch", night, home, slurm, "--ntasks=3", "--mem-per-cpu=700M")
    assert "16 stacks done, 0 not done" in log and "is not encrypted" not in log
    assert "tls://" in log and outputs(home / "out") == serial
    assert not list(home.glob(".koma-*")), "certificates were left"

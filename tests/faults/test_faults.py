"""What goes wrong in a night: what was done stays, the rest is done by running again, to the byte."""

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.scene import (
    Koma,
    Night,
    check,
    half_written,
    kill,
    koma,
    make_night,
    resume,
    scheduler,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Forty stacks that take long enough to be disturbed."""
    return make_night(tmp_path_factory.mktemp("faults"), 40, (640, 640), 16)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Twelve stacks."""
    return make_night(tmp_path_factory.mktemp("short"), 12, (512, 512), 12)


def test_twenty_workers_killed_at_random(night: Night, tmp_path: Path) -> None:
    """Then the scheduler and the command, each followed by a resume."""
    rng, out, killed = random.Random(1), tmp_path / "out", 0
    with koma(night, out, "--workers", 4) as running:
        running.wait_for(1, "PhaseStarted")
        while killed < 20 and running.process.poll() is None:
            time.sleep(rng.uniform(0.2, 1.2))
            workers = running.workers()
            if workers:
                kill(rng.choice(workers))
                killed += 1
        assert running.end() == 0
    check(night, out)
    shutil.rmtree(out)

    with scheduler(tmp_path) as cluster:
        with koma(night, out, "--scheduler", cluster.address) as running:
            running.wait_for(10, "StackDone", phase="correction")
            cluster.kill_scheduler()
            assert running.end() == 1
            assert any("scheduler was lost" in line for line in running.other)
        assert half_written(out) == []
        done = running.count("StackDone", phase="correction")
        cluster.stop()
        cluster.start(2)
        with koma(night, out, "--scheduler", cluster.address) as running:
            running.wait_for(done + 10, "StackDone", phase="correction")
            kill(running.process.pid)
            running.process.wait()
        assert half_written(out) == []
        again = resume(night, out, "--scheduler", cluster.address)
    kept = sum(bool(e["found"].get("kept")) for e in again.events if e["event"] == "StackDone")
    assert kept >= 10
    assert killed == 20
    check(night, out)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("phase", ["sums and masks", "correction"])
def test_told_to_stop(short: Night, tmp_path: Path, how: int, phase: str) -> None:
    out = tmp_path / "out"
    with koma(short, out, "--workers", 2) as running:
        running.wait_for(3, "StackDone", phase=phase)
        os.killpg(running.process.pid, how)  # as a terminal or a queue system does
        assert running.end(60) != 0
        assert "Traceback" not in "".join(running.other)
    assert half_written(out) == []
    resume(short, out, "--workers", 2)
    check(short, out)


def test_a_worker_that_is_stopped_for_good(short: Night, tmp_path: Path) -> None:
    """It says nothing any more; the scheduler gives it up, and what it had goes to another."""
    out = tmp_path / "out"
    os.environ["DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"] = "5s"
    try:
        with koma(short, out, "--workers", 2) as running:
            running.wait_for(2, "StackDone", phase="sums and masks")
            kill(running.workers()[0], signal.SIGSTOP)
            assert running.end() == 0
    finally:
        del os.environ["DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"]
    check(short, out)


def test_the_folders_are_gone_for_a_while(short: Night, tmp_path: Path) -> None:
    """As if a file server was started again: inputs and outputs away, and back."""
    share, away = tmp_path / "share", tmp_path / "away"
    share.mkdir()
    moved = Night(Path(shutil.copytree(short.session, share / "night")), short.expected)
    out = share / "out"
    with koma(moved, out, "--workers", 2) as running:
        running.wait_for(2, "StackDone", phase="correction")
        share.rename(away)
        time.sleep(6)
        away.rename(share)
        assert running.end() == 0, running.other[-5:]
    check(moved, out)


def test_the_disk_is_full_in_the_middle(short: Night, tmp_path: Path) -> None:
    out = tmp_path / "small"
    out.mkdir()
    size = sum(map(len, short.expected.values()))
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={4 * size}", "tmpfs", str(out)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here; this needs root")
    try:
        with koma(short, out / "koma", "--workers", 2) as running:
            running.wait_for(1, "StackDone", phase="correction")
            _fill(out / "filling", leave=size // 3)
            assert running.end() == 3
            failed = [e for e in running.events if e["event"] == "StackFailed"]
            assert failed and all("free some space" in e["reason"] for e in failed)
        assert half_written(out / "koma") == []
        (out / "filling").unlink()
        resume(short, out / "koma", "--workers", 2)
        check(short, out / "koma")
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)


def _fill(path: Path, leave: int) -> None:
    """Take the space of a file system but for so many bytes; the run takes of it, too."""
    with path.open("wb", buffering=0) as filling, suppress(OSError):
        while (free := shutil.disk_usage(path.parent).free) > leave:
            filling.write(b"x" * min(1 << 16, free - leave))


def test_a_stack_is_deleted_while_the_others_are_read(short: Night, tmp_path: Path) -> None:
    copied = Night(Path(shutil.copytree(short.session, tmp_path / "night")), short.expected)
    last = sorted(copied.session.glob("*.mrcz"))[-1]
    out = tmp_path / "out"
    with koma(copied, out, "--workers", 1) as running:
        running.wait_for(1, "PhaseFinished", phase="sums and masks")
        data = last.read_bytes()
        last.unlink()
        code = running.end()
    failed = {e["name"] for e in running.events if e["event"] == "StackFailed"}
    assert (code, failed) == (3, {last.name}) or (code, failed) == (0, set())
    assert half_written(out) == []
    last.write_bytes(data)
    resume(copied, out, "--workers", 1)
    check(copied, out)


def test_two_runs_on_one_output(short: Night, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with koma(short, out, "--workers", 1) as first:
        first.wait_for(1, "PhaseStarted")
        with koma(short, out, "--workers", 1) as second:
            assert second.end(60) == 2
            assert any("another run writes there" in line for line in second.other)
        assert first.end() == 0
    check(short, out)


def test_a_node_whose_clock_is_wrong(short: Night, tmp_path: Path) -> None:
    if shutil.which("faketime") is None:
        install = ["apt-get", "install", "-y", "-q", "-o", "DPkg::Lock::Timeout=120", "faketime"]
        found = shutil.which("apt-get") and subprocess.run(install, capture_output=True, check=False)
        if not found or found.returncode != 0:
            pytest.skip("faketime is not installed, and cannot be")
    out = tmp_path / "out"
    with (
        scheduler(tmp_path, prefix=("faketime", "-f", "-3d")) as cluster,
        koma(short, out, "--scheduler", cluster.address) as running,
    ):
        assert running.end() == 0, running.other[-5:]
    check(short, out)
    assert resumed_nothing(resume(short, out, "--workers", 1))


def resumed_nothing(running: Koma) -> bool:
    """Whether a run found everything done."""
    return running.count("StackDue") == 0


def test_run_again_over_a_finished_night(short: Night, tmp_path: Path) -> None:
    out = tmp_path / "out"
    resume(short, out, "--workers", 0)
    assert resumed_nothing(resume(short, out, "--workers", 0))
    check(short, out)

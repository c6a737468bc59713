"""What is said when a signal ends a command, in a run's first seconds, and at its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.cli import console
from mrcz_dask.cli.progress import Bars
from mrcz_dask.convert import recompress as convert
from mrcz_dask.correction import run as koma
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values import messages


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(128 + signal.SIGTERM)])
def test_a_run_that_is_stopped_says_what_is_kept(
    night: Path, mrcz: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    take, taken = koma.KomaJob.take, []

    def stop(self: Any, task: Any, made: Any) -> None:
        take(self, task, made)
        taken.append(task.phase)
        if taken.count("correction") == 2:
            raise error

    monkeypatch.setattr(koma.KomaJob, "take", stop)
    shown = mrcz("koma", night, "--workers", 0, "--radius", 2)
    assert shown.code in (130, 143) and "Traceback" not in shown.err
    assert f"stopped: 2 outputs are done and kept in {night / 'koma'}" in shown.err
    assert "run the same command again to go on" in shown.err
    assert mrcz("status", night / "koma").out.startswith(
        "stopped: Ctrl-C" if shown.code == 130 else "stopped: signal 143"
    )


def test_other_commands_say_how_far_they_came(
    night: Path, mrcz: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second, *_ = sorted(night.glob("*.mrcz"))
    work = convert.recompress

    def stop(path: Path, *others: Any, **more: Any) -> Any:
        if path == second:
            raise KeyboardInterrupt
        return work(path, *others, **more)

    monkeypatch.setattr("mrcz_dask.convert.recompress.recompress", stop)
    shown = mrcz("recompress", first, second, "-o", tmp_path / "out")
    assert shown.code == 130
    assert f"stopped: 1 of 2 files are done and kept; go on with {second}" in shown.err
    monkeypatch.setattr("mrcz_dask.cli.inspect._stacks", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert "stopped: files that are finished are kept" in mrcz("info", first).err


def test_the_beginning_says_what_goes_on_and_the_end_where_everything_is(
    night: Path, mrcz: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrcz_dask.report.page.page", lambda data: "drawn by other tests")
    shown = mrcz("koma", night, "--workers", 0, "--radius", 2, report=True)
    assert shown.err.startswith(f"looking for stacks in {night}\n5 stacks, ")
    out = night / "koma"
    assert f"report: {out / 'report.html'}\n" in shown.out
    assert f"session store: {out / 'session.zarr'}, " in shown.out
    assert shown.out.startswith("R x 1000: how much the frames of a stack have in common (lower is better)")
    assert ("larger than the inputs: corrected pixels have fractions of a count" in shown.out) == (
        sum(p.stat().st_size for p in out.glob("*.mrcz"))
        > sum(p.stat().st_size for p in night.glob("*.mrcz"))
    )
    assert mrcz("koma", night, "--workers", 0, "--radius", 2, "--quiet").err == ""


def test_a_run_that_follows_shows_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [[type(one).__name__ for one in Bars(following=f)._progress.columns] for f in (True, False)]
    assert ["TimeRemainingColumn" in names for names in columns] == [False, True]
    Bars(following=True)(messages.Waiting("a.mrc", 11, 8))
    assert capsys.readouterr().err == "stack 11 (a.mrc) is final after 8 more\n"


def test_an_interrupt_without_notes_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_stopped(KeyboardInterrupt())
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_ends_everything_and_leaves_no_half(night: Path, tmp_path: Path, workers: int) -> None:
    command = [sys.executable, "-m", "mrcz_dask.cli.app", "koma", str(night), "--workers", str(workers)]
    command += ["--radius", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("correction"):
                break
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to workers, too
        rest = process.stderr.read()
        assert process.wait(60) in (130, 3, 0)
    assert "Traceback" not in rest
    assert [p.name for p in (night / "koma").iterdir() if p.name.startswith(".")] == [".koma.lock"]
    deadline = time.monotonic() + 10
    while _members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _members(process.pid) == []


def _members(group: int) -> list[int]:
    found = []
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = one.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(one.parent.name))
    return found


@pytest.fixture(scope="module")
def long_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session that takes long enough for a signal to come before its end."""
    folder = tmp_path_factory.mktemp("long") / "night"
    write_session(folder, named("standard", shape=(512, 512), frames=8, stacks=12, seed=1))
    return folder


@pytest.mark.parametrize("phase", ["sums and masks", "correction"])
def test_sigterm_ends_in_order_and_leaves_no_half(
    command: Path, long_night: Path, tmp_path: Path, phase: str
) -> None:
    out = tmp_path / "out"
    typed = [command, "koma", long_night, "--radius", "2", "--workers", "0", "-o", out]
    with subprocess.Popen(typed, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(phase):
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert "Traceback" not in rest
    left = {p.suffix for p in out.iterdir() if p.name != "MANIFEST"}
    assert left <= {".zarr", ".mrcz", ".mdoc", ".jsonl", ".lock"}

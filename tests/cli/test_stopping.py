"""What is said when a signal ends a command, in a run's first seconds, and at its end."""

import signal
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.cli import console
from mrcz_dask.cli.progress import Bars
from mrcz_dask.runs import convert, koma
from mrcz_dask.values import events


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

    monkeypatch.setattr("mrcz_dask.runs.convert.recompress", stop)
    shown = mrcz("recompress", first, second, "-o", tmp_path / "out")
    assert shown.code == 130
    assert f"stopped: 1 of 2 files are done and kept; go on with {second}" in shown.err
    monkeypatch.setattr("mrcz_dask.cli.inspect._files", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert "stopped: files that are finished are kept" in mrcz("info", first).err


def test_the_beginning_says_what_goes_on_and_the_end_where_everything_is(night: Path, mrcz: Any) -> None:
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
    Bars(following=True)(events.Waiting("a.mrc", 11, 8))
    assert capsys.readouterr().err == "stack 11 (a.mrc) is final after 8 more\n"


def test_an_interrupt_without_notes_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    console.tell_stopped(KeyboardInterrupt())
    assert "run the same command again" in capsys.readouterr().err

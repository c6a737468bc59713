"""The table of times says what it holds, with and without helping threads, and of a run that did nothing."""

from pathlib import Path

import pytest

from mrcz_dask.cli.summary import show_times
from mrcz_dask.correction.timing_report import PhaseTimes, StackTime, TimingReport
from mrcz_dask.values.timing import Spent, Timing

DECODE = Spent("decode", False, 2.0, 1.5, 4_000_000_000)
BLOCKED = Spent("blocked", False, 1.0, 0.0, 0)
ENCODE = Spent("encode", True, 1.0, 1.0, 1_000_000_000)


def shown(folder: Path, capsys: pytest.CaptureFixture[str], *spent: Spent) -> list[str]:
    wall = sum(s.wall for s in spent if not s.helpers)
    stacks = (StackTime("a", True, Timing("a:1", 0.0, wall, spent)),) if spent else ()
    one = PhaseTimes("correction", 3.5 if spent else 0.0, stacks)
    show_times(TimingReport(folder, 4.0, 1, {"kind": "serial"}, (one,)))
    return capsys.readouterr().out.splitlines()


def test_rows_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line.split() for line in shown(tmp_path, capsys, DECODE)]
    assert ["decode", "2.00", "2.00", "50.0%", "1.50", "4", "2"] in rows
    assert ["waiting", "2.00", "50.0%"] in rows
    assert ["all", "2.00", "4.00", "1.50"] in rows


def test_helping_threads_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(shown(tmp_path, capsys, DECODE, BLOCKED, ENCODE))
    assert "1.00 s of it come from threads that helped a task" in text
    assert (
        "codec floor (decode, decode, encode, disk): 3.00 s; all slots together: 4.00 s, 1.33 times" in text
    )
    assert "helped" not in "\n".join(shown(tmp_path, capsys, DECODE))


def test_the_report_is_named_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no report of Dask" in shown(tmp_path, capsys, DECODE)[-1]
    (tmp_path / "dask-report.html").write_text("")
    assert shown(tmp_path, capsys, DECODE)[-1] == f"Dask's report: {tmp_path / 'dask-report.html'}"


def test_a_run_that_did_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(shown(tmp_path, capsys))
    assert "no stack was read" in text and "waiting" in text and "100.0%" in text

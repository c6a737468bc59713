"""What a person, or a machine, is told while a run goes on."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.cli.interrupts import SAME_SECONDS
from mrcz_dask.cli.progress import Bars
from mrcz_dask.formats.metadata import SEAL
from mrcz_dask.values import messages
from mrcz_dask.values.records import StackResult

SERIAL = ("--radius", 2, "--workers", 0)


def test_quiet_says_only_what_is_wrong(night: Path, mrcz: Any) -> None:
    (night / "bad.mrcz").write_bytes(b"no stack" * 200)
    shown = mrcz("koma", night, *SERIAL, "-q")
    assert shown.code == 3
    assert shown.err == ""
    assert "not done:" in shown.out


def test_verbose_has_a_line_for_every_stack(night: Path, mrcz: Any) -> None:
    (night / "bad.mrcz").write_bytes(b"no stack" * 200)
    shown = mrcz("koma", night, *SERIAL, "-v")
    for path in night.glob("FoilHole*.mrcz"):
        assert f"{path.name}: of 20" in shown.err
        assert f"{path.name}: sums and masks: done" in shown.err
        assert re.search(rf"{path.name}: correction: done, \d+\.\d s after it was taken in", shown.err)
    assert "bad.mrcz: rejected:" in shown.err
    assert "correction: kept" in mrcz("koma", night, *SERIAL, "-v").err


def test_json_lines_are_those_of_the_log(night: Path, mrcz: Any) -> None:
    shown = mrcz("koma", night, *SERIAL, "--log-json")
    said = [json.loads(line) for line in shown.err.splitlines()]
    kept = [json.loads(line) for line in (night / "koma" / "events.jsonl").read_text().splitlines()]
    for one in (*said, *kept):
        del one["time"], one[SEAL]  # each line has the time at which it was written
    assert said == kept
    assert sum(one["event"] == "StackDone" for one in said) == 10


def test_bars_end_where_all_is_done_that_was_to_be_done() -> None:
    """Of five stacks one cannot be summed, one not be replaced, one is kept, and one corrected twice."""
    sums, correction, bars = messages.SUMS, messages.CORRECTION, Bars()

    def done(k: int, **more: bool) -> messages.StackDone:
        found = StackResult(f"{k}", f"{k}.mrcz", 10, 10, 0, 0, True, None, {}, (), "d", 0, "k", **more)
        return messages.StackDone(correction, f"{k}", 10, None, found)

    told = [
        *(messages.PhaseStarted(phase, 5, 50) for phase in (sums, correction)),
        messages.StackFailed(sums, "0", "half written", 10),
        *(messages.StackDone(sums, f"{k}", 10) for k in range(1, 5)),
        messages.PhaseFinished(sums),
        messages.StackFailed("existing output", "1", "in the way", 10),
        done(2, kept=True),
        done(3, provisional=True),
        done(3),
        done(4),
    ]
    for message in told:
        bars(message)
    for bar in bars._progress.tasks:
        assert (bar.completed, bar.fields["stacks"]) == (bar.total, bar.fields["of"]), bar.description


@pytest.mark.parametrize("twice", [False, True])
def test_following_until_it_is_interrupted(command: Path, night: Path, twice: bool) -> None:
    follow = ["--follow", "--settle", "1s", "--poll", "0.2s", "--provisional", "--no-report"]
    typed = [command, "koma", night, "--workers", "0", "--radius", "2", "--log-json", *follow]
    with subprocess.Popen(typed, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if '"StackDone", "phase": "correction"' in line:
                break
        running.send_signal(signal.SIGINT)
        if twice:
            time.sleep(2 * SAME_SECONDS)
            running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    if twice:
        assert running.returncode != 0 or "5 stacks done" in out
    else:
        assert running.returncode == 0
        assert "5 stacks done, 0 not done" in out
        assert len(list((night / "koma").glob("*.mrcz"))) == 5
    assert twice or not list((night / "koma").glob(".*.part"))  # the next run removes what is left


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--settle", "soon"], "--settle is 'soon'; expected a time such as 90s"),
        (["--follow", "--profile"], "--profile takes the times of one run"),
        (["--until-idle", "-1"], "--until-idle is '-1'"),
    ],
)
def test_wrong_usage(night: Path, mrcz: Any, options: list[str], said: str) -> None:
    shown = mrcz("koma", night, *options)
    assert shown.code == 2
    assert said in shown.err

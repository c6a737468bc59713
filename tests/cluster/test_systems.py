"""The other queue systems, by commands that take jobs as theirs do, and run them at once on this machine."""

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.cluster

RADIUS = 3
COMMANDS = {
    "sge": ("qsub", "qdel", 'Your job $! ("mrcz-dask") has been submitted'),
    "pbs": ("qsub", "qdel", "$!.head"),
    "lsf": ("bsub", "bkill", "Job <$!> is submitted to queue <night>."),
}
# The script comes as a file, or as standard input; `setsid`, so that a job can be ended as a whole.
SUBMIT = """#!/bin/sh
script=$(mktemp {folder}/job.XXXXXX)
cat ${{1:+"$1"}} >"$script"
setsid bash "$script" >"$script.log" 2>&1 </dev/null &
echo "$!" >>{folder}/submitted
echo "{answer}"
"""
CANCEL = """#!/bin/sh
id=${{1%%.*}}
echo "$id" >>{folder}/cancelled
kill -TERM -- "-$id"
"""


@pytest.fixture(params=sorted(COMMANDS))
def system(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A queue system whose commands are here."""
    submit, cancel, answer = COMMANDS[request.param]
    folder = home / "bin"
    folder.mkdir()
    for name, text in ((submit, SUBMIT), (cancel, CANCEL)):
        quoted = answer.replace('"', '\\"')
        (folder / name).write_text(text.format(folder=folder, answer=quoted))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join((str(folder), os.environ["PATH"])))
    return str(request.param)


def test_a_session_gives_the_bytes_of_the_serial_run(
    system: str, night: Path, serial: dict[str, bytes], home: Path, mrcz: Any, outputs: Any
) -> None:
    options = ("--cluster", system, "--jobs", 2, "--interface", "lo", "--walltime", "10m")
    done = mrcz("koma", night, "-o", home / "out", "--radius", RADIUS, "--no-report", *options)
    assert done.code == 0, done
    assert "at tls://127.0.0.1:" in done.err
    assert outputs(home / "out") == serial
    ids = {name: (home / "bin" / name).read_text().split() for name in ("submitted", "cancelled")}
    assert len(ids["submitted"]) == 2 and set(ids["cancelled"]) == set(ids["submitted"])
    assert not list(home.rglob("ran")), "a shell has seen the name of a session or a stack"

"""`status` tells from the log alone how a session stands."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.cli import status as command
from mrcz_dask.formats.metadata import sealed_values, unsealed_values
from mrcz_dask.session.log import NAME
from mrcz_dask.session.output_folder import locked

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def finished(simulated_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a run over five stacks."""
    from mrcz_dask.correction.plan import make_plan
    from mrcz_dask.correction.run import carry_out
    from mrcz_dask.engine.client import SerialClient
    from mrcz_dask.values.params import KomaParams, Settings

    out = tmp_path_factory.mktemp("status") / "out"
    carry_out(make_plan(simulated_night, out, Settings(koma=KomaParams(radius=2))), SerialClient())
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of its outputs and log."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def cut(out: Path, after: str, more: bytes = b"") -> None:
    """Let the log end with the last line that holds a text."""
    lines = (out / NAME).read_bytes().splitlines(keepends=True)
    last = max(k for k, line in enumerate(lines) if after.encode() in line)
    (out / NAME).write_bytes(b"".join(lines[: last + 1]) + more)


def test_a_finished_session(out: Path, mrcz: Command) -> None:
    shown = mrcz("status", out)
    assert shown.code == 0
    assert shown.out.splitlines()[0] == "finished" and "5 of 5" in shown.out


def test_outputs_that_are_gone(out: Path, mrcz: Command) -> None:
    first, second, *_ = sorted(out.glob("*.mrcz"))
    first.unlink()
    second.write_bytes(b"short")
    shown, verified = mrcz("status", out), mrcz("verify", out)
    assert shown.code == verified.code == 3
    for text in (shown.out, verified.out):
        assert f"{first.name} is gone" in text and f"{second.name} has 5 bytes" in text
    assert f"{first}: gone" in verified.out and f"{second}: damaged" in verified.out
    one = {one["name"]: one["reason"] for one in json.loads(mrcz("status", out, "--json").out)["not_done"]}
    assert set(one) == {first.name, second.name}


def test_outputs_that_changed_places(out: Path, mrcz: Command) -> None:
    first, second, *_ = sorted(out.glob("*.mrcz"))
    first.rename(out / "other")
    second.rename(first)
    (out / "other").rename(second)
    shown = mrcz("verify", out)
    assert shown.code == 3 and shown.out.count(": damaged") == 2 and "the run wrote" in shown.out


def test_verify_names_what_is_damaged_in_the_session_store(out: Path, mrcz: Command) -> None:
    assert "session.zarr: sound" in mrcz("verify", out).out
    chunk = next(file for file in sorted(out.glob("session.zarr/stacks/*/sum/c/**/*")) if file.is_file())
    chunk.unlink()
    shown = mrcz("verify", out)
    assert shown.code == 3 and "session.zarr: damaged" in shown.out
    name = chunk.relative_to(out).parts[2]
    assert f"{name}: {chunk.relative_to(out / 'session.zarr/stacks' / name)} is gone" in shown.out


def test_verify_misses_what_is_gone_from_the_session_store_as_a_whole(
    simulated_night: Path, out: Path, mrcz: Command
) -> None:
    shutil.rmtree(out / "session.zarr/stacks" / next(out.glob("*.mrcz")).stem)
    level = out / "session.zarr/gains/zarr.json"
    level.write_text(level.read_text().replace("group", "groop"))
    shown = mrcz("verify", out)
    assert shown.code == 3 and f"the sums of {next(out.glob('*.mrcz')).stem}" in shown.out
    assert f"{level}: has changed since it was written; remove it and run again" in shown.out
    level.unlink()
    mrcz("koma", simulated_night, "-o", out, "--workers", 0, "--radius", 2)
    assert mrcz("verify", out).code == 0


def test_it_says_the_same_as_the_run(night: Path, mrcz: Command) -> None:
    (night / "odd.mrcz").write_bytes(b"no header")
    run = mrcz("koma", night, "--workers", 0, "--radius", 2, "--json")
    shown = mrcz("status", night / "koma", "--json")
    assert run.code == shown.code == 3
    result, found = json.loads(run.out), json.loads(shown.out)
    assert found["stacks"]["done"] == len(result["results"]) == 5
    assert found["hot"] == sum(one["hot"] for one in result["results"])
    assert [one["name"] for one in found["not_done"]] == [one["name"] for one in result["rejected"]]
    assert found["output"] == result["output"] and found["running"] == "finished"


def test_a_run_that_goes_on(out: Path, mrcz: Command) -> None:
    cut(out, '"phase": "sums and masks", "name"')
    with locked(out):
        shown = mrcz("status", out)
    assert shown.code == 0
    assert shown.out.startswith("running: sums and masks, correction\n") and ", process " in shown.out


def test_a_run_that_was_killed(out: Path, mrcz: Command) -> None:
    cut(out, '"event": "StackDone"', b'{"time": "2026-01-0')
    shown = mrcz("status", out)
    assert shown.code == 1 and shown.out.startswith("lost: ")
    assert json.loads(mrcz("status", out, "--json").out)["running"] == "lost"


def test_a_run_that_was_stopped(out: Path, mrcz: Command) -> None:
    end = {"event": "RunFinished", "done": 0, "failed": 0, "error": "full"}
    line = json.dumps({"time": "2026-01-01T00:00:00+00:00", **end}) + "\n"
    cut(out, '"event": "StackDone"', line.encode())
    shown = mrcz("status", out)
    assert shown.code == 1 and shown.out.startswith("stopped: full\n")


def test_failures_are_told_with_reasons(out: Path, mrcz: Command) -> None:
    lines = (out / NAME).read_text().splitlines()
    name = json.loads(next(line for line in lines if "StackFound" in line))["name"]
    failure = {"event": "StackFailed", "phase": "correction", "name": name, "reason": "cut off", "bytes": 1}
    time = json.loads(lines[-1])["time"]
    (out / NAME).write_text("\n".join([*lines[:-1], json.dumps({"time": time, **failure}), lines[-1], ""]))
    shown = mrcz("status", out)
    assert shown.code == 3 and f"{name}: correction: cut off" in shown.out and "1 failed" in shown.out


@pytest.mark.parametrize("there", [True, False])
def test_no_log(there: bool, tmp_path: Path, mrcz: Command) -> None:
    folder = tmp_path / "out"
    if there:
        folder.mkdir()
    shown = mrcz("status", folder)
    assert shown.code == 2 and "no log can be read" in shown.err


def test_another_layout(out: Path, mrcz: Command) -> None:
    first = unsealed_values(json.loads((out / NAME).read_text().splitlines()[0]), NAME)
    (out / NAME).write_text(json.dumps(sealed_values(first | {"layout": 7})) + "\n")
    shown = mrcz("status", out)
    assert shown.code == 1 and "another layout" in shown.err


def test_a_log_that_lies_elsewhere_is_not_read(out: Path, tmp_path: Path, mrcz: Command) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / NAME).symlink_to(out / NAME)
    assert mrcz("status", other).code == 2


def test_watching_ends_with_the_run(out: Path, mrcz: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (out / NAME).read_bytes()
    cut(out, '"event": "StackDone"')

    def go_on(seconds: float) -> None:
        (out / NAME).write_bytes(whole)

    monkeypatch.setattr(command.time, "sleep", go_on)
    with locked(out):
        shown = mrcz("status", out, "--watch", "--json")
    first, last = (json.loads(line) for line in shown.out.splitlines())
    assert shown.code == 0
    assert (first["running"], last["running"]) == ("running", "finished")


def test_watching_draws_again_what_a_person_reads(out: Path, mrcz: Command) -> None:
    shown = mrcz("status", out, "--watch")
    assert shown.code == 0 and shown.out.startswith("finished\n") and shown.out.endswith("\n\n")

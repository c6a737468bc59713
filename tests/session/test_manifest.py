"""MANIFEST is what `sha256sum -c` checks, after every run, stop and resume; and lost outputs are noticed."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.session.log import Log, last_outputs, last_results, read_messages
from mrcz_dask.session.manifest import NAME, Manifest, add, damage, lost
from mrcz_dask.session.manifest import listed as outputs_in
from mrcz_dask.values import messages
from mrcz_dask.values.params import KomaParams, Settings, WriteParams
from mrcz_dask.values.records import StackResult, Written

RESULT = {"name": "a.mrc", "output": "a.mrcz", "bytes_in": 1, "bytes_out": 2, "hot": 0, "dead": 0}
MORE = {"usable": True, "score": None, "noise": {}, "caveats": [], "digest": "", "mtime_ns": 0, "key": ""}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("manifest"), np.random.default_rng(0)
    for k in range(3):
        mrcz_dask.write(folder / f"s{k}.mrc", random.poisson(2, (4, 32, 40)).astype(np.int16))
    (folder / "s1.mrc.mdoc").write_text("PixelSpacing = 1.5\n[FrameSet = 0]\nPixelSpacing = 1.5\n")
    return folder


def run(session: Path, out: Path, **write: Any) -> Outcome:
    settings = Settings(koma=KomaParams(radius=1), write=WriteParams(**write))
    return carry_out(make_plan(session, out, settings), SerialClient())


def checked(out: Path) -> int:
    """How many files sha256sum finds right; all of them."""
    if not shutil.which("sha256sum"):
        pytest.skip("no sha256sum")
    shown = subprocess.run(
        ["sha256sum", "--strict", "-c", NAME], cwd=out, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return len(shown.stdout.splitlines())


def listed(out: Path) -> set[str]:
    head, *lines = (out / NAME).read_text().splitlines()
    assert head.startswith("# xxh3")
    return {line.split("  ", 1)[1] for line in lines}


@pytest.mark.parametrize(
    ("write", "beside"),
    [
        ({}, set()),
        ({"format": "mrcs", "dtype": "float32"}, {f"s{k}.mrcs.json" for k in range(3)}),
        ({"format": "zarr"}, {"s0.zarr/zarr.json"}),
        ({"write": "recompressed"}, {"session.zarr/corrections/s0/zarr.json"}),
        ({"write": "references"}, {"s2_mask.mrc", "session.zarr/outliers/s0/zarr.json"}),
    ],
)
def test_all_files_of_outputs_are_listed(
    session: Path, tmp_path: Path, write: dict[str, Any], beside: set[str]
) -> None:
    outputs = {one.output for one in run(session, tmp_path / "out", **write).results}
    assert checked(tmp_path / "out") >= 4  # and the .mdoc
    found = listed(tmp_path / "out")
    assert found >= beside and any(name.endswith(".mdoc") for name in found)
    assert all(any(name.split("/")[0] == output for name in found) for output in outputs)
    again = run(session, tmp_path / "out", **write)
    assert all(one.kept for one in again.results) and listed(tmp_path / "out") == found


def test_a_resumed_run_keeps_it_true(session: Path, tmp_path: Path) -> None:
    run(session, tmp_path / "out")
    before = (tmp_path / "out" / NAME).read_bytes()
    (tmp_path / "out" / "s1.mrcz").unlink()
    run(session, tmp_path / "out")
    assert (tmp_path / "out" / NAME).read_bytes() == before
    (tmp_path / "out" / NAME).unlink()
    run(session, tmp_path / "out")
    assert (tmp_path / "out" / NAME).read_bytes() == before


def test_an_output_that_is_due_is_not_listed_until_it_is_done(tmp_path: Path) -> None:
    old = StackResult.from_dict(RESULT | MORE | {"files": [["a.mrcz", "0" * 64]]})
    tell = Manifest(tmp_path, [old], messages.silent)
    tell(messages.RunFinished(1, 0))
    assert listed(tmp_path) == {"a.mrcz"}
    tell(messages.StackDue("a.mrc", "parameters changed"))
    assert not (tmp_path / NAME).exists()
    tell(messages.RunFinished(0, 0, "KeyboardInterrupt"))
    new = StackResult.from_dict(RESULT | MORE | {"files": [["a.tif", "1" * 64]]})
    tell(messages.StackDone(messages.CORRECTION, "a.mrc", 1, None, new))
    assert listed(tmp_path) == {"a.tif"}


def test_odd_names_are_written_as_sha256sum_reads_them(tmp_path: Path) -> None:
    name = "a\\b\nc  d.mrcz"
    (tmp_path / name).write_bytes(b"data")
    found = [[name, hashlib.sha256(b"data").hexdigest()]]
    tell = Manifest(tmp_path, [StackResult.from_dict(RESULT | MORE | {"files": found})], messages.silent)
    tell(messages.RunFinished(1, 0))
    assert checked(tmp_path) == 1


def test_a_folder_that_takes_none_is_a_warning(tmp_path: Path) -> None:
    heard: list[messages.Message] = []
    (tmp_path / NAME).mkdir()
    Manifest(tmp_path, [], heard.append)(messages.RunFinished(0, 0))
    assert len(heard) == 1 and NAME in str(heard[0])


def test_outputs_of_an_older_log_are_hashed(session: Path, tmp_path: Path) -> None:
    run(session, tmp_path / "out")
    log = tmp_path / "out" / "events.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        (line.get("found") or {}).pop("files", None)
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "out" / NAME).unlink()
    assert all(one.kept for one in run(session, tmp_path / "out").results)
    assert checked(tmp_path / "out") == 4


def test_what_became_of_outputs(session: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(session, out, format="mrcs", dtype="float32")
    results = last_results(read_messages(out), StackResult)
    assert lost(out, results.values(), read=True) == {}
    (out / "s0.mrcs.json").unlink()
    shutil.copy(out / "s1.mrcs", out / "s2.mrcs")
    (out / "s1.mrcs").write_bytes(b"short")
    quick, whole = (lost(out, results.values(), read=read) for read in (False, True))
    assert set(quick) == {"s0.mrcs", "s1.mrcs"} and set(whole) == {"s0.mrcs", "s1.mrcs", "s2.mrcs"}
    assert "s0.mrcs.json is gone" in whole["s0.mrcs"] and "digest" in whole["s2.mrcs"]


def test_outputs_of_two_commands_in_one_folder_are_listed(tmp_path: Path) -> None:
    counted = Written("b.mrc", "b.mrcz", 1, "", (("b.mrcz", "1" * 64),))
    corrected = StackResult.from_dict(RESULT | MORE | {"files": [["a.mrcz", "0" * 64]]})
    log = Log(tmp_path, messages.silent)
    log(messages.StackDone(messages.COUNTED, "b.mrc", 1, None, counted))
    log(messages.StackDone(messages.CORRECTION, "a.mrc", 1, None, corrected))
    Manifest(tmp_path, last_outputs(read_messages(tmp_path)), messages.silent)(messages.RunFinished(1, 0))
    assert listed(tmp_path) == {"a.mrcz", "b.mrcz"}
    assert damage(tmp_path, last_outputs(read_messages(tmp_path))) == ""


def test_outputs_of_a_command_without_a_log_stay_listed(session: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "other.mrcz").write_bytes(b"data")
    add(out, [("other.mrcz", hashlib.sha256(b"data").hexdigest())], messages.silent)
    run(session, out)
    assert checked(out) == 5 and "other.mrcz" in listed(out)
    run(session, out)
    assert checked(out) == 5


def test_a_manifest_of_another_program_stays(session: Path, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("include README\n")
    heard: list[messages.Message] = []
    carry_out(make_plan(session, tmp_path, Settings()), SerialClient(), heard.append)
    assert (tmp_path / NAME).read_text() == "include README\n"
    assert sum(NAME in str(one) for one in heard if isinstance(one, messages.Warned)) == 1


@pytest.mark.parametrize("name", ["../a.mrcz", "/etc/passwd", "b/../../a.mrcz"])
def test_names_outside_of_the_folder_are_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / NAME).write_text(f"{'0' * 64}  {name}\n")
    assert outputs_in(tmp_path, []) == [] and "damaged" in damage(tmp_path, [])
    log = Log(tmp_path, messages.silent)
    for values in ({"output": name}, {"files": [[name, "0" * 64]]}):
        found = StackResult.from_dict(RESULT | MORE | values)
        log(messages.StackDone(messages.CORRECTION, "a.mrc", 1, None, found))
    assert last_outputs(read_messages(tmp_path)) == []


def test_a_manifest_that_is_not_that_of_the_log_is_named(tmp_path: Path) -> None:
    corrected = StackResult.from_dict(RESULT | MORE | {"files": [["a.mrcz", "0" * 64]]})
    assert "does not list a.mrcz" in damage(tmp_path, [corrected])
    (tmp_path / NAME).write_text("include README\n")
    assert damage(tmp_path, []) == "" and "is damaged" in damage(tmp_path, [corrected])

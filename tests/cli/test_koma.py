import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session import output_folder
from mrcz_dask.session.simulation import write_session

SERIAL = ("--workers", 0)


def first(folder: Path) -> Path:
    return sorted(folder.glob("*.mrcz"))[0]


def test_the_main_job_typed_inside_the_session(night: Path) -> None:
    koma = [sys.executable, "-m", "mrcz_dask.cli.app", "koma", "--radius", "2", "--workers", "1"]
    done = subprocess.run([*koma, "--no-report"], cwd=night, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert len(list((night / "koma").glob("*.mrcz"))) == 5
    assert "dashboard http://127.0.0.1" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "Warning" not in done.stderr and "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    rows = [line for line in lines if line.startswith("FoilHole")]
    assert len(rows) == 5 and all(" kB" in row for row in rows)
    assert "5 stacks done, 0 not done" in done.stdout
    assert "correlated noise, held out" in done.stdout


def test_json_holds_what_the_table_says(night: Path, mrcz: Any) -> None:
    shown = mrcz("koma", night, "--radius", 2, *SERIAL, "--json")
    assert shown.code == 0
    said = json.loads(shown.out)
    assert len(said["results"]) == 5
    keys = {"name", "output", "bytes_in", "bytes_out", "hot", "dead", "noise", "caveats", "digest", "kept"}
    assert keys <= set(said["results"][0])
    assert set(said["results"][0]["noise"]) >= {"raw", "filtered", "corrected", "corrected_in_sample"}
    assert said["failures"] == said["rejected"] == said["skipped"] == []
    assert said["settings"]["koma"]["radius"] == 2
    assert said["verdict"] in mrcz("koma", night, "--radius", 2, *SERIAL).out


def test_profile_says_where_the_time_went(night: Path, mrcz: Any) -> None:
    shown = mrcz("koma", night, "--radius", 2, *SERIAL, "--profile")
    assert shown.code == 0
    lines = shown.out.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("phase"))
    rows = [line.split()[0] for line in lines[start + 1 : start + 11]]
    assert rows[:7] == ["decode", "sum", "fit", "window", "apply", "encode", "disk"]
    assert {"waiting", "all"} <= set(rows)
    assert "codec floor (decode, decode, encode, disk):" in shown.out and "times the floor" in shown.out
    assert str(night / "koma" / "profile.json") in shown.out
    assert "no report of Dask" in shown.out
    again = mrcz("koma", night, "--radius", 2, *SERIAL, "--profile", "--json")
    assert len(json.loads(again.out)["results"]) == 5
    assert "no stack was read" in mrcz("koma", night, "--radius", 2, *SERIAL, "--profile").out


def test_without_profile_nothing_is_said_of_times(night: Path, mrcz: Any) -> None:
    shown = mrcz("koma", night, "--radius", 2, *SERIAL)
    assert "codec floor" not in shown.out
    assert not (night / "koma" / "profile.json").exists()


def test_run_again(night: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, "--radius", 2, *SERIAL).code == 0
    again = mrcz("koma", night, "--radius", 2, *SERIAL)
    assert again.code == 0
    assert "5 kept from before" in again.out
    other = mrcz("koma", night, "--radius", 1, *SERIAL)
    assert other.code == 2
    assert "--overwrite" in other.err
    assert mrcz("koma", night, "--radius", 1, *SERIAL, "--overwrite").code == 0


def test_some_stacks_cannot_be_done(night: Path, mrcz: Any) -> None:
    bad = first(night)
    bad.write_bytes(bad.read_bytes()[:9000])
    (night / "text.mrcz").write_text("this is no stack")
    shown = mrcz("koma", night, "--radius", 2, *SERIAL)
    assert shown.code == 3
    assert bad.name in shown.out and "text.mrcz" in shown.out
    assert "4 stacks done, 2 not done" in shown.out
    assert mrcz("koma", night, "--radius", 2, "--dry-run").code == 3


def test_a_stack_that_is_damaged_inside_is_named_with_its_frame(night: Path, mrcz: Any) -> None:
    bad = first(night)
    data = bytearray(bad.read_bytes())
    data[5000] ^= 255
    bad.write_bytes(data)
    shown = mrcz("koma", night, "--radius", 2, *SERIAL)
    assert shown.code == 3
    line = next(one for one in shown.out.splitlines() if one.startswith("not done"))
    assert bad.name in line and "frame" in line
    assert not (night / "koma" / bad.name).exists()


class TestNothingAtAll:
    def test_an_empty_folder(self, tmp_path: Path, mrcz: Any) -> None:
        shown = mrcz("koma", tmp_path)
        assert shown.code == 2
        assert "no stacks" in shown.err and str(tmp_path) in shown.err
        assert list(tmp_path.iterdir()) == []

    def test_no_folder(self, tmp_path: Path, mrcz: Any) -> None:
        shown = mrcz("koma", tmp_path / "nowhere")
        assert shown.code == 2
        assert "not there" in shown.err

    def test_only_bad_files(self, tmp_path: Path, mrcz: Any) -> None:
        (tmp_path / "a.mrcz").write_bytes(b"\0" * 5000)
        shown = mrcz("koma", tmp_path)
        assert shown.code == 1
        assert "a.mrcz" in shown.err

    def test_stacks_that_all_fail(self, tmp_path: Path, mrcz: Any) -> None:
        mrcz_dask.write(tmp_path / "a.mrcz", np.full((3, 32, 32), np.nan, np.float32))
        shown = mrcz("koma", tmp_path, *SERIAL)
        assert shown.code == 1
        assert "a.mrcz" in shown.out and "finite" in shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--radius", "0"], "radius"),
        (["--radius", "x"], "radius"),
        (["--codec", "nonsense"], "codec"),
        (["--codec", "zstd:77"], "level"),
        (["--codec", "keep"], "keep"),
        (["--step", "0.3"], "power of two"),
        (["--write", "everything"], "write"),
        (["--dtype", "int8"], "dtype"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:9"], "give one of them"),
        (["--memory", "4GB", "--scheduler", "tcp://127.0.0.1:9"], "give one of them"),
        (["--memory", "much"], "such as 4GB"),
        (["--no-such-option"], "no-such-option"),
    ],
)
def test_wrong_usage_is_2_before_any_work(night: Path, mrcz: Any, arguments: list[str], said: str) -> None:
    shown = mrcz("koma", night, *arguments)
    assert shown.code == 2
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not (night / "koma").exists()


class TestOutputFolders:
    def test_a_file_in_the_way(self, night: Path, tmp_path: Path, mrcz: Any) -> None:
        (tmp_path / "file").write_text("")
        shown = mrcz("koma", night, "-o", tmp_path / "file")
        assert shown.code == 2
        assert "is a file; expected a folder" in shown.err

    def test_a_folder_that_cannot_be_written(
        self, night: Path, tmp_path: Path, mrcz: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
        shown = mrcz("koma", night, "-o", tmp_path / "out")
        assert shown.code == 1
        assert "permissions" in shown.err

    def test_too_little_space(self, night: Path, mrcz: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(output_folder.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
        shown = mrcz("koma", night)
        assert shown.code == 1
        assert "1 kB free" in shown.err
        assert not (night / "koma").exists()

    def test_the_session_itself(self, night: Path, mrcz: Any) -> None:
        before = {p: p.read_bytes() for p in night.iterdir() if p.is_file()}
        shown = mrcz("koma", night, "-o", night)
        assert shown.code == 2
        assert {p: p.read_bytes() for p in night.iterdir() if p.is_file()} == before

    def test_a_link_to_the_session(self, night: Path, tmp_path: Path, mrcz: Any) -> None:
        (tmp_path / "link").symlink_to(night)
        assert mrcz("koma", night, "-o", tmp_path / "link", "--overwrite").code == 2

    @pytest.mark.parametrize("write", ["normalized", "recompressed", "references"])
    def test_a_disk_that_is_full_half_way(self, night: Path, tmp_path: Path, mrcz: Any, write: str) -> None:
        command = ("koma", night, "--radius", 2, *SERIAL, "--write", write)
        assert mrcz(*command, "-o", tmp_path / "compiled").code == 0  # else that fails to be kept
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
        try:
            shown = mrcz(*command)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert shown.code == 1
        assert "Traceback" not in shown.err
        assert "free some space" in shown.out
        assert {p.name for p in (night / "koma").iterdir()} <= {
            "session.zarr",
            "events.jsonl",
            "MANIFEST",
            ".koma.lock",
        }


def test_a_dry_run_writes_nothing_and_says_all(night: Path, mrcz: Any) -> None:
    before = sorted(night.rglob("*"))
    shown = mrcz("koma", night, "--radius", 1, "--dry-run")
    assert shown.code == 0
    assert sorted(night.rglob("*")) == before
    positions = [shown.out.index(p.name) for p in night.glob("*.mrcz")]
    assert len(positions) == 5
    assert "mdoc" in shown.out and "2026-10-14" in shown.out
    assert "1: 0, 2" in shown.out
    assert "memory: about" in shown.out and str(night / "koma") in shown.out
    assert re.search(r"kind of values, in \d+ frames of \S+: counts", shown.err)
    said = json.loads(mrcz("koma", night, "--radius", 1, "--dry-run", "--json").out)
    assert [s["window"] for s in said["stacks"]] == [[1, 2], [0, 2], [1, 3], [2, 4], [2, 3]]
    assert {s["time_from"] for s in said["stacks"]} == {"mdoc"}
    assert said["stacks"] == sorted(said["stacks"], key=lambda s: s["time"])
    positions = [shown.out.index(stack["name"]) for stack in said["stacks"]]
    assert positions == sorted(positions)
    assert said["bytes_out"] > 0 and said["memory_per_task"] > 0
    assert said["crew"]["tasks_per_worker"] == 1 and said["crew"]["workers"] >= 1


def test_memory_sizes_the_workers(night: Path, mrcz: Any) -> None:
    shown = mrcz("koma", night, "--dry-run", "--workers", 1, "--threads", 2, "--memory", "2GB")
    assert shown.code == 0
    assert "workers: 1, each of at most 2 GB; threads: 2 each" in shown.out
    too_little = mrcz("koma", night, "--memory", "10MB")
    assert too_little.code == 1
    assert "a stack needs" in too_little.err and "use --memory 0." in too_little.err
    assert not (night / "koma").exists()


def test_float16_is_warned_about(night: Path, mrcz: Any) -> None:
    shown = mrcz("koma", night, "--radius", 2, "--dtype", "float16", *SERIAL)
    assert shown.code == 0
    assert "python-mrcz" in shown.err


def test_keep_copies_the_chunks(night: Path, mrcz: Any) -> None:
    from mrcz_dask.formats.mrc.reader import StackReader

    options = ("--radius", 2, "--write", "recompressed", "--codec", "keep", *SERIAL)
    assert mrcz("koma", night, *options).code == 0
    for path in night.glob("*.mrcz"):
        with StackReader(path) as a, StackReader(night / "koma" / path.name) as b:
            assert [bytes(a.stored_chunk(k)) for k in range(6)] == [
                bytes(b.stored_chunk(k)) for k in range(6)
            ]


def test_include_and_exclude(night: Path, mrcz: Any) -> None:
    names = sorted(p.name for p in night.glob("*.mrcz"))
    shown = mrcz("koma", night, "--exclude", names[0], "--dry-run", "--json")
    said = json.loads(shown.out)
    assert sorted(s["name"] for s in said["stacks"]) == names[1:]
    assert [s["name"] for s in said["skipped"]] == [names[0]]
    said = json.loads(mrcz("koma", night, "--include", names[2], "--dry-run", "--json").out)
    assert [s["name"] for s in said["stacks"]] == [names[2]]


def test_a_scheduler_that_does_not_answer(night: Path, mrcz: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrcz_dask.engine.clusters.CONNECT_SECONDS", 1)
    shown = mrcz("koma", night, "--scheduler", "tcp://127.0.0.1:9")
    assert shown.code == 1
    assert "tcp://127.0.0.1:9" in shown.err


def test_parameters_of_normalized_pixels_go_with_no_other_way_to_write(night, mrcz):
    shown = mrcz("koma", night, "--write", "recompressed", "--dtype", "float32")
    assert shown.code == 2
    assert "--dtype: only for normalized pixels" in shown.err


def test_an_address_that_is_none_is_wrong_usage(night, mrcz):
    shown = mrcz("koma", night, "--scheduler", "nonsense")
    assert shown.code == 2
    assert "tcp://host:8786" in shown.err


def test_a_list_that_is_not_there_excludes_nothing_silently(night, mrcz):
    shown = mrcz("koma", night, "--exclude", "nolist.txt", "--dry-run")
    assert shown.code == 2
    assert "no such list" in shown.err


def test_an_output_that_was_cut_off_is_made_again_and_the_others_are_kept(night, mrcz):
    assert mrcz("koma", night, "--radius", 2, "--workers", 0).code == 0
    output = sorted((night / "koma").glob("*.mrcz"))[0]
    output.write_bytes(output.read_bytes()[:-2000])

    shown = mrcz("koma", night, "--radius", 2, "--workers", 0)

    assert shown.code == 0
    assert "once more: output damaged" in shown.err
    assert "4 kept from before" in shown.out
    assert mrcz("verify", output).code == 0


def test_gain_dark_and_defects(night: Path, tmp_path: Path, mrcz: Any) -> None:
    """Told at the beginning, recorded in the footer, refused where they do not fit."""
    shape = mrcz_dask.read(next(night.glob("*.mrcz")), 0).shape
    gain = np.random.default_rng(1).normal(1, 0.03, shape).astype(np.float32)
    mrcz_dask.write(tmp_path / "gain.mrc", gain)
    mrcz_dask.write(tmp_path / "turned.mrc", np.ascontiguousarray(gain.T))
    (tmp_path / "defects.txt").write_text("5 6 2 3\n")
    options = ("--gain", tmp_path / "gain.mrc", "--gain-gamma", 1.1, "--defects", tmp_path / "defects.txt")
    command = ("koma", night, "--workers", 0, "--radius", 2, *options, "-o", tmp_path / "out")
    worse = mrcz(*command)
    assert worse.code == 2 and "--gain-force" in worse.err and not (tmp_path / "out").exists()
    done = mrcz(*command, "--gain-force")
    assert done.code == 0, done.out + done.err
    assert "warning: gain.mrc: compared with 5 stacks, this gain adds pattern" in done.err
    assert "gain: gain.mrc, same size as the frames, multiplied, --gain-rotate 0 --gain-flip 0" in done.err
    assert "defects: defects.txt, 6 pixels" in done.err
    path = next((tmp_path / "out").glob("*.mrcz"))
    step = next(s for s in (mrcz_dask.read_footer(path) or {})["provenance"] if s["name"] == "gain")
    assert step["results"]["gamma"] == 1.1
    refused = mrcz("koma", night, "--workers", 0, "--gain", tmp_path / "turned.mrc", "-o", tmp_path / "other")
    assert refused.code == 2
    assert "the gain is" in refused.err and not (tmp_path / "other").exists()
    missing = mrcz("koma", night, "--workers", 0, "--gain", tmp_path / "none.mrc", "-o", tmp_path / "other")
    assert missing.code == 2 and "there is no such file" in missing.err
    assert not (tmp_path / "other").exists()
    planned = mrcz(*command, "--gain-force", "--dry-run")
    assert "gain: gain.mrc" in planned.out and "adds pattern" in planned.out


def test_formats(night: Path, tmp_path: Path, mrcz: Any) -> None:
    done = mrcz("koma", night, "--workers", 0, "--radius", 2, "--format", "tiff", "-o", tmp_path / "out")
    assert done.code == 0, done.out + done.err
    assert len(list((tmp_path / "out").glob("*.tif"))) == len(list((tmp_path / "out").glob("*.tif.json"))) > 0
    for wrong in (["--format", "tiff", "--codec", "zstd:1"], ["--format", "mrcs", "--dtype", "float16"]):
        assert mrcz("koma", night, "--workers", 0, *wrong, "-o", tmp_path / "no").code == 2
    options = (*SERIAL, "--radius", 2, "--format", "mrcs", "--dtype", "int16")
    warned = mrcz("koma", night, *options, "-o", tmp_path / "i")
    assert "steps for counts" in warned.err


def test_the_radius_that_the_session_asks_for(night: Path, tmp_path: Path, mrcz: Any) -> None:
    done = mrcz("koma", night, *SERIAL, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    (radius,) = re.findall(r"radius (\d+): ", done.err)
    assert len(list((tmp_path / "out").glob("*.mrcz"))) == 5
    again = mrcz("koma", night, *SERIAL, "--radius", "auto", "-o", tmp_path / "out", "--json")
    assert f"radius {radius}: as in the run before" in again.err
    assert json.loads(again.out)["settings"]["koma"]["radius"] == int(radius)
    shown = mrcz("koma", night, "-o", tmp_path / "new", "--dry-run")
    for text in (shown.out, done.out):
        table = text[text.index("on disk: a movie, the session") :].splitlines()
        names = [line.split(":")[0].split(" (")[0].strip() for line in table[1:6]]
        expected = ["input", "this run", "whole counts", "float32 in MRC", "a refined gain"]
        assert names == expected and "an epoch" in table[5]
    assert "the run finds the radius first; shown is 12" in shown.err
    for wrong in (["--radius", "far"], ["--radius", "0"], ["--radius", "auto", "--follow"]):
        refused = mrcz("koma", night, *SERIAL, *wrong, "-o", tmp_path / "no")
        assert refused.code == 2 and "--radius" in refused.err + "--radius" * ("0" in wrong)


def test_a_run_of_whole_counts_shows_their_size_once(night: Path, mrcz: Any) -> None:
    shown = mrcz("koma", night, "--dtype", "counts", "--form", "divide", "--dry-run")
    assert shown.code == 0 and "this run" in shown.out and "whole counts" not in shown.out


def test_one_stack_alone_says_what_would_help(night: Path, tmp_path: Path, mrcz: Any) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(first(night), tmp_path / "one")
    shown = mrcz("koma", tmp_path / "one", *SERIAL, "--radius", 2)
    assert shown.code == 0 and "add movies of the same camera and mode" in " ".join(shown.out.split())
    assert shown.out.rstrip().endswith("it takes two good stacks.")


def test_breaks_are_asked_for_in_hours(night: Path, mrcz: Any) -> None:
    shown = mrcz(
        "koma", night, "--radius", 1, "--break-after", "90m", "--breaks", "none", "--dry-run", "--json"
    )
    koma = json.loads(shown.out)["settings"]["koma"]
    assert (koma["breaks"], koma["break_after"]) == ("none", 1.5)
    plain = json.loads(mrcz("koma", night, "--radius", 1, "--dry-run", "--json").out)["settings"]["koma"]
    assert (plain["breaks"], plain["break_dose"], plain["break_after"]) == ("auto", 0.2, None)


def test_a_break_is_told(tmp_path: Path, mrcz: Any) -> None:
    params = named("mature", shape=(64, 80), frames=2, stacks=12, dose=20, seed=5, new_gain=(6,))
    write_session(tmp_path / "night", params)
    shown = mrcz("koma", tmp_path / "night", "--radius", 2, *SERIAL)
    assert shown.code == 0
    (told,) = [line for line in shown.err.splitlines() if "the session breaks" in line]
    assert "a new pattern" in told and told.endswith("are not used to correct each other.")

import json
from pathlib import Path
from typing import Any

import pytest
import zarr

import mrcz_dask
from mrcz_dask.formats.mrc.writer import write

SMALL = ("--workers", 0, "--fraction", 4)


def test_count_prints_what_it_did(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path, mrcz: Any
) -> None:
    shown = mrcz("count", *raw_stacks, "-o", tmp_path, "--calibration", calibration, "--events", *SMALL)
    assert shown.code == 0, shown.err
    assert "raw_000.mrcz" in shown.out and "2 stacks counted, 0 not" in shown.out
    assert mrcz_dask.read(tmp_path / "raw_000.mrcz").shape == (10, 96, 112)
    again = mrcz(
        "count", *raw_stacks, "-o", tmp_path, "--calibration", calibration, "--events", *SMALL, "--json"
    )
    said = json.loads(again.out)
    assert [one["kept"] for one in said["results"]] == [True, True]
    made = mrcz("events", "to-stack", tmp_path / "raw_000.events.zarr", "-o", tmp_path / "b", "--fraction", 4)
    assert made.code == 0
    assert (tmp_path / "b" / "raw_000.mrcz").read_bytes() == (tmp_path / "raw_000.mrcz").read_bytes()


def test_a_bad_stack_gives_3_and_its_reason(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path, mrcz: Any
) -> None:
    (tmp_path / "bad.mrcz").write_bytes(b"no stack")
    stacks = [raw_stacks[0], tmp_path / "bad.mrcz"]
    shown = mrcz("count", *stacks, "-o", tmp_path / "out", "--calibration", calibration, *SMALL)
    assert shown.code == 3 and "1 stacks counted, 1 not" in shown.out
    assert f"not done: {tmp_path / 'bad.mrcz'}: " in shown.out
    assert mrcz("count", tmp_path / "bad.mrcz", "-o", tmp_path / "out", *SMALL).code == 1


def test_event_lists_are_verified(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path, mrcz: Any
) -> None:
    mrcz("count", raw_stacks[0], "-o", tmp_path, "--calibration", calibration, "--events", *SMALL)
    shown = mrcz("verify", tmp_path)
    assert shown.code == 0 and shown.out.count(": sound") == 2
    assert "events" not in mrcz("info", tmp_path).out
    zarr.open_array(tmp_path / "raw_000.events.zarr", path="x", mode="r+")[3] = 5
    shown = mrcz("verify", tmp_path)
    assert shown.code == 3 and "digest does not match" in shown.out


def test_a_dry_run_writes_nothing(raw_stacks: list[Path], tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("count", raw_stacks[0].parent, "-o", tmp_path / "out", "--dry-run", "--upsampling", 4)
    assert shown.code == 0 and "384 x 448" in shown.out and not (tmp_path / "out").exists()
    said = json.loads(mrcz("count", raw_stacks[0], "-o", tmp_path / "out", "--dry-run", "--json").out)
    assert said["find"]["method"] == "fitted" and said["stacks"][0]["shape"] == [40, 96, 112]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to count"),
        (("--listen", "tcp://127.0.0.1:*"), "--calibration"),
        (("x.mrcz", "--sigma", 1), "sigma"),
        (("x.mrcz", "--clusters", "components"), "clusters"),
        (("x.mrcz", "--fraction", 0), "fraction"),
        (("x.mrcz", "--sample", 3), "sample"),
        (("x.mrcz", "--codec", "odd"), "codec"),
        (("x.mrcz", "--gain-rotate", 1), "--gain"),
    ],
)
def test_wrong_usage(arguments: tuple[object, ...], said: str, tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("count", *arguments, "-o", tmp_path / "out")
    assert shown.code == 2 and said in shown.err and not (tmp_path / "out").exists()


def test_event_lists_that_are_none(tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("events", "to-stack", tmp_path / "no.events.zarr", "-o", tmp_path / "out")
    assert shown.code == 2 and "no event list" in shown.err


def test_counted_stacks_go_straight_into_koma(
    calibration: Path, raw_stacks: list[Path], tmp_path: Path, mrcz: Any
) -> None:
    frames = mrcz_dask.read(raw_stacks[0])
    session = tmp_path / "raw"
    session.mkdir()
    for k in range(5):
        meta = {"acquisition_time": f"2026-10-14T19:0{9 - k}:00"}
        write(session / f"shot_{k}.mrcz", frames[8 * k : 8 * k + 8], meta=meta, pixel_size=1.2)
    options = ("--workers", 0, "--fraction", 2, "--events", "--calibration", calibration)
    assert mrcz("count", session, "-o", tmp_path / "counted", *options).code == 0
    shown = mrcz("koma", tmp_path / "counted", "--radius", 2, "--workers", 0, "--json")
    assert shown.code == 0, shown.err
    said = json.loads(shown.out)
    assert len(said["results"]) == 5 and not said["rejected"] and not said["warnings"]
    assert [one["name"] for one in said["results"]] == [f"shot_{k}.mrcz" for k in (4, 3, 2, 1, 0)]
    assert {one["name"] for one in said["skipped"]} == set()


def test_raw_stacks_are_simulated_with_their_truth(tmp_path: Path, mrcz: Any) -> None:
    size = ("--frames", 3, "--shape", "32,48", "--stacks", 2, "--dark-frames", 2)
    assert mrcz("simulate-raw", tmp_path / "a", *size).code == 0
    said = json.loads(mrcz("simulate-raw", tmp_path / "b", *size, "--json").out)
    assert said["stacks"] == ["raw_000.mrcz", "raw_001.mrcz"]
    assert (tmp_path / "a" / "raw_001.mrcz").read_bytes() == (tmp_path / "b" / "raw_001.mrcz").read_bytes()
    assert (tmp_path / "a" / "truth.zarr" / "raw_001" / "charge").is_dir()
    assert mrcz_dask.read(tmp_path / "a" / "dark.mrcz").shape == (2, 32, 48)
    assert mrcz("simulate-raw", tmp_path / "c", "--dtype", "uint8", *size).code == 0
    assert mrcz("simulate-raw", tmp_path / "a", *size).code == 2


def test_event_lists_that_would_give_wrong_stacks(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path, mrcz: Any
) -> None:
    made = mrcz("count", *raw_stacks, "-o", tmp_path / "a", "--calibration", calibration, "--events", *SMALL)
    lists = sorted((tmp_path / "a").glob("*.events.zarr"))
    assert made.code == 0 and len(lists) == 2
    (tmp_path / "b").mkdir()
    other = lists[1].rename(tmp_path / "b" / lists[0].name)

    both = mrcz("events", "to-stack", lists[0], other, "-o", tmp_path / "c", "--overwrite")
    assert both.code == 3 and "is there already" in both.err and both.out.count(".mrcz") == 1

    (lists[0] / "y" / "c" / "0").unlink()  # Zarr reads zeros
    shown = mrcz("events", "to-stack", lists[0], "-o", tmp_path / "d")
    assert shown.code == 1 and "y/c/0 is gone" in shown.err
    assert not list((tmp_path / "d").glob("*.mrcz"))


def test_jobs_of_a_queue_system(raw_stacks: list[Path], tmp_path: Path, mrcz: Any) -> None:
    command = ("count", *raw_stacks, "-o", tmp_path / "out", "--dry-run")
    options = ("--cluster", "slurm", "--jobs", "1:4", "--walltime", "90m", "--queue", "night")
    shown = mrcz(*command, *options)
    assert shown.code == 0 and "slurm" in shown.out, shown.err
    said = json.loads(mrcz(*command, *options, "--json").out)
    assert said["queue"]["system"] == "slurm" and said["queue"]["jobs"] == "1:4"
    local = mrcz(*command, "--workers", 2).out
    assert "memory: about" in local and "workers: 2, " in local
    (tmp_path / "cluster.toml").write_text('system = "pbs"\ncores = 2\n')
    said = json.loads(mrcz(*command, "--queue-file", tmp_path / "cluster.toml", "--json").out)
    assert (said["queue"]["system"], said["queue"]["cores"]) == ("pbs", 2)
    assert mrcz(*command, "--jobs", 2).code == 2
    assert mrcz(*command, "--cluster", "slurm", "--workers", 2).code == 2

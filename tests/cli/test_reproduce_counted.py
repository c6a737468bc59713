"""Counted stacks and event lists are made again from their raw frames, and compared."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mrcz_dask

LARGEST = """
def largest(frame, camera):
    return camera.find(frame, position="maximum")
"""


@pytest.fixture
def counted(raw_stacks: list[Path], calibration: Path, tmp_path: Path, mrcz: Any) -> Path:
    """A folder of raw frames, with counted stacks and event lists in a folder below."""
    for path in raw_stacks:
        shutil.copy2(path, tmp_path)
    shutil.copytree(calibration, tmp_path / "counted" / "calibration.zarr")
    options = ("--events", "--fraction", 7, "--upsampling", 2, "--codec", "zstd:3", "--workers", 0)
    made = mrcz("count", *sorted(tmp_path.glob("*.mrcz")), "-o", tmp_path / "counted", *options)
    assert made.code == 0, made.err
    return tmp_path / "counted"


@pytest.mark.parametrize("name", ["raw_000.mrcz", "raw_001.mrcz", "raw_000.events.zarr"])
def test_every_byte_is_the_same(counted: Path, mrcz: Any, name: str) -> None:
    shown = mrcz("reproduce", counted / name)
    assert shown.code == 0, shown.err
    assert "every byte the same" in shown.out
    said = json.loads(mrcz("reproduce", counted / name, "--json").out)
    assert said["same"] is True and said["version"] == mrcz_dask.__version__


def test_a_copy_of_the_frames_elsewhere(counted: Path, tmp_path: Path, mrcz: Any) -> None:
    elsewhere = tmp_path / "archive"
    elsewhere.mkdir()
    (tmp_path / "raw_000.mrcz").rename(elsewhere / "raw_000.mrcz")
    for name in ("raw_000.mrcz", "raw_000.events.zarr"):
        shown = mrcz("reproduce", counted / name)
        assert shown.code == 1 and "--session" in shown.err
        assert mrcz("reproduce", counted / name, "--session", elsewhere).code == 0


def test_stacks_of_event_lists_too(counted: Path, tmp_path: Path, mrcz: Any) -> None:
    out = tmp_path / "again"
    assert mrcz("events", "to-stack", counted / "raw_000.events.zarr", "-o", out, "--fraction", 5).code == 0
    shown = mrcz("reproduce", out / "raw_000.mrcz")
    assert shown.code == 1 and "--calibration" in shown.err
    assert mrcz("reproduce", out / "raw_000.mrcz", "--calibration", counted).code == 0


def test_frames_that_are_others_are_named(counted: Path, tmp_path: Path, mrcz: Any) -> None:
    frames = mrcz_dask.read(tmp_path / "raw_000.mrcz")
    frames[3, 4, 5] += 1
    mrcz_dask.write(tmp_path / "raw_000.mrcz", frames)
    shown = mrcz("reproduce", counted / "raw_000.mrcz")
    assert shown.code == 1 and "it is not the input that was used" in shown.err


def test_a_stack_that_was_changed_differs(counted: Path, mrcz: Any) -> None:
    path = counted / "raw_000.mrcz"
    footer = mrcz_dask.read_footer(path) or {}
    stored = mrcz_dask.read(path)
    stored[2] += 1
    mrcz_dask.write(path, stored, pixels=footer["pixels"], provenance=footer["provenance"])
    shown = mrcz("reproduce", path)
    assert shown.code == 3 and "not the same" in shown.out and "[2]" in shown.out


def test_a_function_of_ones_own(raw_stacks: list[Path], calibration: Path, tmp_path: Path, mrcz: Any) -> None:
    (tmp_path / "largest.py").write_text(LARGEST)
    function = f"{tmp_path / 'largest.py'}:largest"
    shutil.copy2(raw_stacks[0], tmp_path)
    own = ("--calibration", calibration, "--detector", function)
    command = ("count", tmp_path / "raw_000.mrcz", "-o", tmp_path / "c", "--workers", 0, "--events", *own)
    assert mrcz(*command).code == 0
    for name in ("raw_000.mrcz", "raw_000.events.zarr"):
        shown = mrcz("reproduce", tmp_path / "c" / name, "--calibration", calibration)
        assert shown.code == 1 and "largest.py:largest" in shown.err
        assert mrcz("reproduce", tmp_path / "c" / name, *own).code == 0


def test_how_frames_were_read_is_kept(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path, mrcz: Any
) -> None:
    shutil.copy2(raw_stacks[0], tmp_path)
    command = ("count", tmp_path / "raw_000.mrcz", "-o", tmp_path / "c", "--calibration", calibration)
    assert mrcz(*command, "--workers", 0, "--mode0", "unsigned").code == 0
    step = mrcz_dask.read_footer(tmp_path / "c" / "raw_000.mrcz")["provenance"][0]
    assert step["parameters"]["input"]["mode0"] == "unsigned"
    assert mrcz("reproduce", tmp_path / "c" / "raw_000.mrcz", "--calibration", calibration).code == 0
    again = mrcz(*command, "--workers", 0)
    assert again.code == 1 and "mode0" in again.err


def test_verify_deep_makes_counted_stacks_and_event_lists_again(
    counted: Path, tmp_path: Path, mrcz: Any
) -> None:
    shown = mrcz("verify", "--deep", counted)
    assert shown.code == 0 and shown.out.count(": sound") == 5, shown.out
    path = counted / "raw_001.mrcz"
    footer, stored = mrcz_dask.read_footer(path) or {}, mrcz_dask.read(path)
    stored[2] += 1
    mrcz_dask.write(path, stored, pixels=footer["pixels"], provenance=footer["provenance"])
    shown = mrcz("verify", "--deep", path, counted / "raw_000.events.zarr")
    assert shown.code == 3 and "its inputs give something else" in shown.out and "[2]" in shown.out
    frames = mrcz_dask.read(tmp_path / "raw_000.mrcz")
    frames[3, 4, 5] += 1
    mrcz_dask.write(tmp_path / "raw_000.mrcz", frames)
    shown = mrcz("verify", "--deep", counted / "raw_000.mrcz", counted / "raw_000.events.zarr")
    assert shown.code == 3 and shown.out.count("it is not the input that was used") == 2, shown.out


def test_a_damaged_calibration_is_named(counted: Path, mrcz: Any) -> None:
    (counted / "calibration.zarr/dark/c/0/0").unlink()
    shown = mrcz("verify", counted)
    assert shown.code == 3 and "calibration.zarr: damaged" in shown.out and shown.out.count(": sound") == 4

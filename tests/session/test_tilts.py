"""Frame stacks of a tilt series get their times from the .mdoc of the whole series."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.session.discovery import discover

PM = ("02:47:33 PM", "02:49:33 PM", "02:45:33 PM")


def series(path: Path, frames: str, clocks: tuple[str, ...] = PM, *, day: str = "06-Mar-20") -> None:
    """Write the .mdoc of a tilt series whose frames are called frames_0.tif, ..."""
    tilts = (
        f"[ZValue = {k}]\nTiltAngle = {3 * k}\nPixelSpacing = 1.5\n"
        f"SubFramePath = X:\\night\\{frames}_{k}.tif\nDateTime = {day}  {clock}\n"
        for k, clock in enumerate(clocks)
    )
    path.write_text("PixelSpacing = 2\n\n[T = SerialEM]\n\n" + "\n".join(tilts))


def movies(folder: Path, stem: str, number: int = 3) -> None:
    folder.mkdir(exist_ok=True)
    for k in range(number):
        mrcz_dask.write(folder / f"{stem}_{k}.mrcz", np.ones((4, 8, 8), np.uint8))


@pytest.mark.parametrize("where", ["", ".", ".."])
def test_times_of_frame_stacks(where: str, tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    movies(tmp_path / "night" / "frames", "TS_01")
    series(tmp_path / "night" / "frames" / where / "TS_01.st.mdoc", "frames\\TS_01")
    found = discover(tmp_path / "night" / ("frames" if where == ".." else ""), recursive=True)
    assert [Path(s.name).name for s in found.stacks] == ["TS_01_2.mrcz", "TS_01_0.mrcz", "TS_01_1.mrcz"]
    assert found.stacks[0].acquired.time == datetime(2020, 3, 6, 14, 45, 33)
    assert {(s.acquired.source, s.pixel_size) for s in found.stacks} == {("mdoc", 1.5)}
    assert not found.warnings


def test_the_stack_of_the_tilt_series_is_no_movie(tmp_path: Path) -> None:
    movies(tmp_path, "TS_01")
    mrcz_dask.write(tmp_path / "TS_01.mrc", np.ones((3, 8, 8), np.int16))
    series(tmp_path / "TS_01.mrc.mdoc", "TS_01")
    found = discover(tmp_path)
    assert len(found.stacks) == 3
    assert [s.acquired.source for s in found.stacks] == ["mdoc"] * 3
    (one,) = found.skipped
    assert one.path.name == "TS_01.mrc" and "a tilt series, no movie" in one.reason


def test_frames_of_one_name_in_two_series(tmp_path: Path) -> None:
    for k in (1, 2):
        movies(tmp_path / f"T{k}", "f", 2)
        series(tmp_path / f"T{k}.mdoc", f"T{k}\\f", ("10:00:00", "10:01:00"), day=f"0{k}-Mar-20")
    times = {s.name: s.acquired.time for s in discover(tmp_path, recursive=True).stacks}
    assert times["T1/f_0.mrcz"].day == 1 and times["T2/f_1.mrcz"] == datetime(2020, 3, 2, 10, 1)
    movies(tmp_path, "f", 1)
    found = discover(tmp_path)
    assert found.stacks[0].acquired.source == "mtime"
    assert "give different times for it" in "".join(found.warnings)


@pytest.mark.parametrize("half", ["μ.μ.", "下午", "UTC"])
def test_a_half_of_the_day_in_another_language_is_not_passed_over(half: str, tmp_path: Path) -> None:
    movies(tmp_path, "a", 1)
    (tmp_path / "a_0.mrcz.mdoc").write_text(
        f"[FrameSet = 0]\nDateTime = 06-Mar-20  02:47:33 {half}\n", "utf-8"
    )
    found = discover(tmp_path)
    assert found.stacks[0].acquired.source == "mtime"
    assert half in found.warnings[0] and "not understood" in found.warnings[0]


@pytest.mark.parametrize("own", [True, False])
def test_a_time_that_is_not_understood_is_said(own: bool, tmp_path: Path) -> None:
    movies(tmp_path, "a", 2)
    if own:
        (tmp_path / "a_0.mrcz.mdoc").write_text("[FrameSet = 0]\nDateTime = 14. Mai 2020 noon\n")
    else:
        series(tmp_path / "a.mdoc", "a", ("noon", "midnight"), day="14. Mai 2020")
    said = "\n".join(discover(tmp_path).warnings)
    assert "DateTime is '14. Mai 2020" in said and "noon', which is not understood" in said


def test_sources_that_disagree_are_named_with_the_one_that_decided(tmp_path: Path) -> None:
    for k in range(4):
        path = tmp_path / f"s_20261014_19060{k}.mrc"
        mrcz_dask.write(path, np.ones((4, 8, 8), np.uint8), footer=False)
        label = f"Created by mrcfile.py    2026-11-21 07:52:0{9 - k}".ljust(80).encode()
        header = bytearray(path.read_bytes())
        header[220:224] = (1).to_bytes(4, "little")
        header[224:304] = label
        path.write_bytes(header)
    found = discover(tmp_path)
    assert [s.acquired.source for s in found.stacks] == ["name"] * 4
    assert [s.name for s in found.stacks] == sorted(s.name for s in found.stacks)
    (said,) = found.warnings
    assert "the name and in the header disagree for 4 of 4" in said and "those in the name decide" in said

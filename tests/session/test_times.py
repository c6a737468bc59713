import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.text.mdoc import parse_mdoc
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.entries import Acquired
from mrcz_dask.session.times import acquisition_time, time_in_labels, time_in_meta, time_in_name

TIME = datetime(2026, 10, 14, 19, 6, 33)
LATER = datetime(2026, 11, 21, 8)
SERIALEM = "SerialEM: Digitized on a K3                             14-Oct-26  19:06:33"
MRCFILE = "Created by mrcfile.py                                       2026-11-21 07:52:54"


@pytest.mark.parametrize(
    "name",
    [
        "FoilHole_7066420_Data_7065010_7065011_20261014_190633_fractions.mrc",
        "FoilHole_20240101_Data_20250101_20250202_20261014_190633_Fractions.mrc",
        "FoilHole_7066420_Data_20250101_123456_20261014_190633_fractions.mrc",
        "grid2_square_1_Oct14_19.06.33.mrc",
        "Oct14_19.06.33.mrcz",
        "stack_0001_Oct14_19_06_33.tif",
        "Oct14_19_06_33_X+1Y-1-0.tif",
        "grid_14Oct26_19.06.33.mrcz",
        "grid_14-Oct-2026_19-06-33.mrcz",
        "2026-10-14T19:06:33.mrcz",
        "2026-10-14_19-06-33_movie.mrcz",
        "movie_2026-10-14_19.06.33.mrcz",
        "movie_2026_10_14_19_06_33.mrcz",
        "movie20261014190633.mrcz",
    ],
)
def test_times_in_names(name: str) -> None:
    assert time_in_name(name, LATER) == TIME


def test_old_epu_names_give_the_minute() -> None:
    name = "FoilHole_24383955_Data_24389762_24389763_20181208_0033-19398.mrc"
    assert time_in_name(name, LATER) == datetime(2018, 12, 8, 0, 33)
    for end in ("_frames.mrc", "_Fractions.tiff", ".mrc", "_frames_n0.mrc"):
        name = f"FoilHole_20172801_Data_20162345_20161234_20161110_0812{end}"
        assert time_in_name(name, LATER) == datetime(2016, 11, 10, 8, 12)
    assert time_in_name("x_20161110_0812_frames.mrc", LATER) == datetime(2016, 11, 10, 8, 12)


def test_the_running_number_of_epu_orders_stacks_of_a_minute() -> None:
    names = ["FoilHole_10_Data_2_20200306_1447-33714.mrc", "FoilHole_9_Data_2_20200306_1447-33715.mrc"]
    times = [acquisition_time(name, LATER).time for name in names]
    assert times[0] < times[1] < datetime(2020, 3, 6, 14, 47, 1)


@pytest.mark.parametrize(
    "name",
    [
        "FoilHole_105978_Data_2311.mrcz",
        "FoilHole_20261014_Data_190633.mrcz",
        "FoilHole_20261014_Data_20261015_20261016_fractions.mrcz",
        "FoilHole_24383955_Data_24389762_24389763_20181399_993300.mrc",
        "20170629_00021_frameImage.mrcz",
        "stack_0001.mrcz",
        "Xyz14_19.06.33.mrc",
        "26oct14a_00012gr_00003sq.mrc",
        "grid_20230115_0012.mrc",
    ],
)
def test_numbers_are_no_times(name: str) -> None:
    assert time_in_name(name, LATER) is None


@given(st.integers(0, 10**8 - 1), st.integers(0, 10**8 - 1))
def test_a_foil_hole_is_never_a_time(hole: int, data: int) -> None:
    assert time_in_name(f"FoilHole_{hole:06}_Data_{data:06}.mrcz", LATER) is None


def test_the_year_of_serialem_names_is_the_last_that_can_be() -> None:
    assert time_in_name("a_Dec31_23.59.59.mrc", datetime(2027, 1, 1, 8)) == datetime(2026, 12, 31, 23, 59, 59)
    assert time_in_name("a_Jan01_00.00.01.mrc", datetime(2027, 1, 1, 8)) == datetime(2027, 1, 1, 0, 0, 1)
    assert time_in_name("a_Feb29_00.00.01.mrc", datetime(2027, 1, 1, 8)) == datetime(2024, 2, 29, 0, 0, 1)


def test_the_earliest_label_is_nearest_to_the_acquisition() -> None:
    assert time_in_labels([MRCFILE, SERIALEM]) == TIME
    assert time_in_labels(["MRCZ0.6.0", ""]) is None


@pytest.mark.parametrize(
    "meta",
    [
        {"DateTime": "14-Oct-26  19:06:33"},
        {"Timestamp": "2026-10-14T19:06:33"},
        {"Acquisition time": "2026-10-14 19:06:33", "DateTime": "2026-11-21 07:52:54"},
        {"time": "2026-10-14T19:06:33"},
        {"ExposureTime": 6.0, "microscope": {"AcquisitionDateTime": "2026-10-14T19:06:33"}},
        {"General": {"date": "2026-10-14", "time": "19:06:33", "title": "x"}},
        {"frame": {"DateTime": "2026-11-21 07:52:54"}, "DateTime": "2026-10-14 19:06:33"},
    ],
)
def test_times_in_metadata(meta: dict[str, object]) -> None:
    assert time_in_meta(meta) == TIME


def test_what_is_no_time_of_acquisition() -> None:
    assert time_in_meta({"ExposureTime": "2026-10-14 19:06:33", "time": 6.0, "date": "14 October"}) is None


def test_metadata_nested_without_end() -> None:
    meta: dict[str, object] = {}
    meta["again"] = meta
    assert time_in_meta(meta) is None


def test_sources_in_their_order() -> None:
    mdoc = parse_mdoc("[FrameSet = 0]\nDateTime = 14-Oct-26  19:06:33")
    name, named = "a_20261014_200000.mrcz", datetime(2026, 10, 14, 20)
    label = datetime(2026, 11, 21, 7, 52, 54)
    others = (("name", named), ("header", label))
    assert acquisition_time(name, LATER, mdoc=mdoc, labels=[MRCFILE]) == Acquired(TIME, "mdoc", others)
    taken = acquisition_time(name, LATER, mdoc=parse_mdoc(""), labels=[SERIALEM])
    assert taken == Acquired(named, "name", (("header", TIME),))
    meta = {"DateTime": "2026-10-14 19:06:33"}
    assert acquisition_time(name, LATER, labels=[MRCFILE], meta=meta) == Acquired(TIME, "header", others)
    tiff = {"datetime": "2026-11-21 07:52:54", "input": {"format": "TIFF"}}
    assert acquisition_time(name, LATER, meta=tiff) == Acquired(named, "name", (("header", label),))
    assert acquisition_time("a.tif", LATER, meta=tiff) == Acquired(label, "header")
    assert acquisition_time(name, LATER) == Acquired(datetime(2026, 10, 14, 20), "name")
    assert acquisition_time("a.mrcz", LATER) == Acquired(LATER, "mtime")
    assert str(Acquired(TIME, "mdoc")) == "2026-10-14 19:06:33 (mdoc)"


@pytest.mark.parametrize(
    ("about", "taken"), [("ab", ["mdoc", "mdoc"]), ("xy", ["mdoc", "mdoc"]), ("ba", []), ("bb", ["mdoc"])]
)
def test_an_mdoc_about_another_movie_of_the_folder_is_not_used(
    tmp_path: Path, about: str, taken: list[str]
) -> None:
    for name, movie in zip("ab", about, strict=True):
        write(tmp_path / f"{name}.mrc", np.zeros((2, 4, 4), np.int16))
        text = f"[FrameSet = 0]\nSubFramePath = X:\\{movie}.tif\nDateTime = 29-Nov-26  21:04:11\n"
        (tmp_path / f"{name}.tif.mdoc").write_text(text)
    found = discover(tmp_path)
    sources = [entry.acquired.source for entry in found.stacks]
    assert [source for source in sources if source == "mdoc"] == taken
    assert sum("has another .mdoc" in text for text in found.warnings) == 2 - len(taken)


@pytest.mark.parametrize("seconds", [0, -(10**9), 4 * 10**9, 2**33])
def test_files_of_any_time_are_taken(seconds: int, tmp_path: Path) -> None:
    """As after a jump of the clock: 1970, 1938, 2096, 2242."""
    for k in range(2):
        write(tmp_path / f"s{k}.mrc", np.full((3, 8, 8), k, np.int16))
        os.utime(tmp_path / f"s{k}.mrc", (seconds + k, seconds + k))
    assert [stack.name for stack in discover(tmp_path).stacks] == ["s0.mrc", "s1.mrc"]

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.text.mdoc import find_time, moment

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
TIME = datetime(2026, 10, 14, 19, 6, 33)


@pytest.mark.parametrize(
    "text",
    [
        "14-Oct-26  19:06:33",
        "14-Oct-2026  19:06:33",
        "14-OCT-26 19:06:33",
        "14-Oct-26  07:06:33 PM",
        "14-Oct-2026  7:06:33pm",
        "14-Oct-26  07:06:33 p.m.",
        "2026-10-14 07:06:33 PM",
        "14-Oct-2026  7:06:33 p. m.",
        "2026-Oct-14 19:06:33",
        "2026-10-14 19:06:33",
        "2026-10-14T19:06:33",
        "2026/10/14 19:06:33",
        "SerialEM: Digitized on a K3                             14-Oct-26  19:06:33    ",
        "Created by mrcfile.py                                       2026-10-14 19:06:33 ",
        "NEWSTACK: Images copied, transformed                    14-Oct-26  19:06:33",
        "31-Feb-26  19:06:33, then 14-Oct-26  19:06:33",
    ],
)
def test_forms_that_programs_write(text: str) -> None:
    assert find_time(text) == TIME


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MRCZ0.6.0",
        "14-Xyz-26  19:06:33",
        "2026-13-14 19:06:33",
        "14-Oct-26",
        "19:06:33",
        "0000-01-01 00:00:00",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert find_time(text) is None


def test_noon_and_midnight() -> None:
    hours = ("12:06:33 AM", "1:06:33 AM", "12:06:33 PM", "19:06:33 PM")
    assert [find_time(f"14-Oct-26  {hour}") for hour in hours] == [
        TIME.replace(hour=h) for h in (0, 1, 12, 19)
    ]
    assert find_time("14-Oct-26  13:06:33 AM") is None


def test_days_and_hours_of_one_digit() -> None:
    assert find_time("4-Oct-26  9:06:33") == datetime(2026, 10, 4, 9, 6, 33)


def test_fractions_of_a_second_are_kept() -> None:
    assert find_time("2026-10-14T19:06:33.25") == datetime(2026, 10, 14, 19, 6, 33, 250_000)


def test_a_zone_becomes_local_time() -> None:
    aware = datetime.fromisoformat("2026-10-14T19:06:33+02:00")
    assert find_time("2026-10-14T19:06:33+02:00") == aware.astimezone().replace(tzinfo=None)
    assert find_time("2026-10-14T19:06:33Z") == find_time("2026-10-14T19:06:33+0000")


@given(st.datetimes(datetime(1970, 1, 1), datetime(2069, 12, 31)))
def test_serialem_and_iso_come_back(time: datetime) -> None:
    time = time.replace(microsecond=0)
    assert find_time(time.isoformat(" ")) == time
    assert find_time(f"{time.day}-{MONTHS[time.month - 1]}-{time.year % 100:02}  {time.time()}") == time


def test_the_century_and_the_month() -> None:
    texts = [f"4-Oct-{year}  9:06:33" for year in ("26", "69", "70", "99", "2026")]
    assert [find_time(text).year for text in texts] == [2026, 2069, 1970, 1999, 2026]  # type: ignore[union-attr]
    times = [moment("2026", month, "4", "9", "6") for month in ("jan", "DEC", "07")]
    assert [time.month for time in times if time] == [1, 12, 7]
    assert moment("2026", "xyz", "4", "9", "6") is None

"""What is said of a session, in words."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.monitor.snapshot import clock, facts, headline, snapshot
from mrcz_dask.monitor.state import SessionState
from mrcz_dask.session.log import Moment
from mrcz_dask.values import messages
from mrcz_dask.values.texts import duration

from .conftest import BEGAN, Made


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.26, "0.3 s"),
        (9.7, "10 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (754, "12 min"),
        (3 * 3600 + 125, "3 h 2 min"),
        (72 * 3600, "3.0 days"),
    ],
)
def test_durations_as_people_write_them(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 1e7))
def test_durations_have_no_sixty(seconds: float) -> None:
    assert "60" not in duration(seconds).replace("60 s", "", seconds < 60).split()


def test_moments_are_in_utc() -> None:
    assert clock(None) == "-"
    there = BEGAN.astimezone(tz=UTC).replace(tzinfo=None)
    assert clock(BEGAN) == f"{there:%Y-%m-%d %H:%M:%S} UTC"


def test_what_is_not_done_is_listed_the_last_first(made: Made) -> None:
    state = SessionState()
    told: list[messages.Message] = [made.started(), made.found(0), made.found(1), made.found(2)]
    told += [messages.StackLeftOut("odd.mrc", "no header", rejected=True)]
    told += [messages.StackLeftOut("sum.mrc", "one frame", rejected=False)]
    for k, one in enumerate([*told, made.failed(1, "cut off"), made.failed(0, "no disk"), made.summed(2)]):
        state.take(one, BEGAN + timedelta(seconds=k))
    found = snapshot(state, BEGAN)
    assert [(t.name, t.reason) for t in found.not_done] == [
        ("0.mrc", "no disk"),
        ("1.mrc", "cut off"),
        ("odd.mrc", "no header"),
    ]
    assert found.left_out_files == (("sum.mrc", "one frame"),)
    said = {fact.key: fact.text for fact in facts(found)}
    assert said["failed"] == "2 failed, 1 file refused" and said["left_out"] == "1 file"
    assert said["waiting"] == "1 summed"


def test_a_real_run_as_plain_values(moments: list[Moment]) -> None:
    found = snapshot(SessionState.of(moments), datetime.now(UTC))
    values = json.loads(json.dumps(found.to_dict()))
    assert values["stacks"]["done"] == 6 and len(values["not_done"]) == 1
    assert headline(found) == "finished"


def test_rates_are_compared_with_the_microscope(made: Made) -> None:
    state = SessionState()
    state.take(made.started(), made.at(0).now)
    for k in range(20):
        state.take(made.found(k), made.now)
    for k in range(20):
        state.take(made.summed(k), made.at(k / 10).now)
    said = {fact.key: fact.text for fact in facts(snapshot(state, made.now))}
    assert said["rate"] == "600 stacks/min, 60 kB/min"
    assert said["recorded"] == "1 stacks/min (this phase: 600 times that)"

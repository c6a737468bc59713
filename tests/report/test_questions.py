"""Every question one by one: good, look and act, each by a session that is quiet but for one thing."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.outliers.population import OutlierPlaces, Turnover
from mrcz_dask.report.data import LeftOut, SessionData
from mrcz_dask.report.judging import LEVELS, QUESTIONS, Level, Question
from mrcz_dask.report.questions import answers, light
from mrcz_dask.values.records import QUIET, Break

from .conftest import session_data, with_masks

BY_KEY = {question.key: question for question in QUESTIONS}
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "report.md"


def masks(change: Callable[[int], dict[str, Any]]) -> SessionData:
    return with_masks(session_data(), change)


def noise(before: str, after: str, step: float) -> SessionData:
    def change(k: int) -> dict[str, Any]:
        kinds = {"raw": 4e-3, "filtered": 4e-3, "corrected": 1e-3}
        return {"noise": kinds | {before: 4e-3, after: 4e-3 + step + 1e-4 * (-1) ** k}}

    return session_data(40, change)


def quiet(count: int) -> SessionData:
    return session_data(40, lambda k: {"caveats": (f"{QUIET}: it is",) if k <= count else ()})


def contrast(count: int) -> SessionData:
    return session_data(40, lambda k: {"usable": k > count, "score": 0.2 if k <= count else 0.01})


def births(net: int) -> SessionData:
    return session_data(61, lambda k: {"turnover": Turnover(100 + net, 100, 0, 0) if k > 1 else Turnover()})


def lines(count: int) -> SessionData:
    columns = np.full(200, 2.0)
    columns[:count] = 100
    found = OutlierPlaces(np.full((4, 4), 9.0), columns, np.full(200, 2.0), np.full(4, 5.0), 5.0)
    session = session_data()
    return replace(session, health=replace(session.health, hot=found))


def rejected(count: int) -> SessionData:
    return session_data(left_out=tuple(LeftOut(f"x{k}", "broken", True) for k in range(count)))


def broken(count: int) -> SessionData:
    found = tuple(Break(f"{k}.mrc", "a new gain reference") for k in range(5, 5 + count))
    return session_data(40, lambda k: {"breaks": found})


def lost(beside: int) -> SessionData:
    def change(k: int) -> dict[str, Any]:
        four = tuple(1e-4 * (1 + 0.1 * (-1) ** k) for _ in range(4))
        scales = dict.fromkeys(("pattern", "error", "lasting", "removed"), four)
        movement = {"explained": 0.0, "power": 1.0, "variance": 1.0}
        return {"evidence": scales | {"noise": 0.04, "movement": movement, "same_specimen": int(k <= beside)}}

    return session_data(40, change)


CASES: dict[str, dict[Level, SessionData]] = {
    "outlier_share": {
        "good": session_data(),
        "look": masks(lambda k: {"n_hot": 20_000 if k > 30 else 5000}),
        "act": masks(lambda k: {"n_hot": 80_000}),
    },
    "hot_growth": {
        "good": masks(lambda k: {"n_hot": 5000 + 10 * k}),
        "look": masks(lambda k: {"n_hot": 100 * k}),
    },
    "specimen_lost": {"good": lost(0), "act": lost(4)},
    "too_quiet": {"good": quiet(0), "act": quiet(1)},
    "births_per_hour": {"good": births(0), "look": births(10)},
    "standing_out": {"good": lines(0), "look": lines(2), "act": lines(21)},
    "filter_raised_noise": {
        "good": noise("raw", "filtered", -1e-3),
        "look": noise("raw", "filtered", 5e-5),
        "act": noise("raw", "filtered", 1e-3),
    },
    "correction_raised_noise": {
        "good": noise("filtered", "corrected", -1e-3),
        "look": noise("filtered", "corrected", 5e-5),
        "act": noise("filtered", "corrected", 1e-3),
    },
    "high_contrast": {"good": contrast(2), "look": contrast(6), "act": contrast(16)},
    "dose_drift": {
        "good": session_data(),
        "look": masks(lambda k: {"dose": 1.5 if k < 20 else 1.1}),
        "act": masks(lambda k: {"dose": 1.5 if k < 21 else 0.5}),
    },
    "breaks": {"good": session_data(), "look": broken(1)},
    "unsound_masks": {
        "good": session_data(),
        "look": masks(lambda k: {"status": "implausible" if k == 3 else "ok"}),
        "act": masks(lambda k: {"status": "degenerate" if k < 9 else "ok"}),
    },
    "misfit": {
        "good": session_data(),
        "look": masks(lambda k: {"misfit": 0.03}),
        "act": masks(lambda k: {"misfit": 0.2}),
    },
    "gain": {
        "good": session_data(),
        "look": masks(lambda k: {"spread": 0.12}),
        "act": masks(lambda k: {"spread": 0.4}),
    },
    "not_done": {"good": session_data(), "look": rejected(1), "act": rejected(9)},
    "unended": {"good": session_data(), "act": session_data(running="lost")},
    "disagreement": {"good": session_data(), "act": session_data(40, lambda k: {"agrees": k != 7})},
}


def test_every_question_has_a_case_for_each_of_its_levels() -> None:
    for question in QUESTIONS:
        levels = {"good"} | {
            name for name, v in (("look", question.look), ("act", question.act)) if v is not None
        }
        assert set(CASES[question.key]) == levels, question.key
    assert len(BY_KEY) == len(QUESTIONS) == len(CASES)


@pytest.mark.parametrize(("key", "level"), [(key, level) for key, found in CASES.items() for level in found])
def test_an_answer_says_what_its_number_says(key: str, level: Level) -> None:
    found = BY_KEY[key].judge(CASES[key][level])
    assert found.level == level, (found.value, found.question.limits)


@pytest.mark.parametrize(("key", "level"), [(key, level) for key, found in CASES.items() for level in found])
def test_the_others_are_not_worse_for_it(key: str, level: Level) -> None:
    """A session that is quiet but for one thing is as bad as that one thing, or what comes with it."""
    alike = {"hot_growth": {"outlier_share"}, "outlier_share": {"hot_growth"}}
    found = answers(CASES[key][level])
    every = [answer for some in found.values() for answer in some]
    assert {f.question.key for f in every if f.level in ("look", "act")} <= {key} | alike.get(key, set())
    ours, other = BY_KEY[key].about, "run" if BY_KEY[key].about == "camera" else "camera"
    assert LEVELS.index(light(found[ours])) >= LEVELS.index(level) or level == "good"
    assert light(found[other]) == "good"  # type: ignore[index]  # a bad camera is no bad run


@given(st.floats(allow_nan=False), st.floats(0, 1e6), st.floats(0, 1e6))
def test_thresholds_are_not_part_of_what_is_above_them(value: float, one: float, other: float) -> None:
    look, act = sorted((one, other))
    found = Question("any", "?", "", look, act, "", lambda data: value).judge(session_data(1)).level
    assert found == ("act" if value > act else "look" if value > look else "good")


def test_what_is_not_known_is_not_judged() -> None:
    empty = session_data(
        1, lambda k: {"mask": None, "noise": {}, "usable": None, "score": None, "agrees": None}
    )
    found = answers(empty)
    assert (light(found["run"]), light(found["camera"])) == ("good", "unknown")
    assert {f.level for f in found["run"]} == {"good", "unknown"}
    assert Question("any", "?", "", 0, 1, "", lambda data: math.nan).judge(empty).level == "unknown"


def test_births_need_times() -> None:
    untimed = session_data(61, lambda k: {"acquired_from": "mtime"})
    for short in (untimed, session_data(60)):  # less than an hour
        found = BY_KEY["births_per_hour"].judge(short)
        assert found.value is None and found.words == "this needs times over an hour"


def test_a_rate_is_judged_with_its_error() -> None:
    def change(k: int) -> dict[str, Any]:
        return {"turnover": Turnover(100 + 100 * (k % 2), 140, 0, 0) if k > 1 else Turnover()}

    found = BY_KEY["births_per_hour"].judge(session_data(61, change))
    assert found.value is not None and found.error is not None
    assert found.value > 200 > found.value - 2 * found.error and found.level == "good"
    assert f"± {found.error:.0f} per hour" in found.question.written(found.value, found.error)


def test_births_per_hour_are_what_is_added_to_each_million_pixels() -> None:
    assert BY_KEY["births_per_hour"].judge(births(10)).value == pytest.approx(600)


def test_the_worst_comes_first(quiet: SessionData) -> None:
    session = replace(rejected(9), error="x")
    found = answers(session)["run"]
    assert light(found) == "act" == found[0].level
    assert [LEVELS.index(f.level) for f in found] == sorted(
        (LEVELS.index(f.level) for f in found), reverse=True
    )
    assert {light(some) for some in answers(quiet).values()} == {"good"}


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("%", 0.1234, "12.3 %"),
        ("per hour", 2236.4, "2236 per hour"),
        ("", 0.0027, "0.0027"),
        ("standard errors", -25.72, "yes, R fell"),
        ("standard errors", 3.0, "no, R rose"),
        ("standard errors", 1.5, "no change beyond chance"),
        ("", None, "-"),
    ],
)
def test_numbers_as_people_read_them(unit: str, value: float | None, text: str) -> None:
    assert Question("any", "?", unit, None, None, "", lambda data: None).written(value) == text


def test_the_documentation_has_every_question_with_its_thresholds() -> None:
    rows = dict(
        re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert rows == {question.key: question.limits for question in QUESTIONS}

"""Figures as data: each column has the numbers of the session, and captions say them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mrcz_dask.report.data import KINDS, FigureData, SessionData
from mrcz_dask.report.figures import over_stacks
from mrcz_dask.values.records import Break

from .conftest import session_data, with_masks


def made(data: SessionData) -> dict[str, FigureData]:
    return {one.key: one for one in over_stacks(data)}


def test_columns_are_those_of_the_stacks(data: SessionData) -> None:
    found = made(data)
    masks = [m for _, m in data.masks]
    for key, columns in {
        "timeline": {"hot": "n_hot", "dead": "n_dead", "status": "status"},
        "thresholds": {n: n for n in ("t_dark", "t_hot", "misfit", "mu", "sigma")},
        "dose": {"dose": "dose"},
    }.items():
        for column, name in columns.items():
            assert list(found[key].columns[column]) == [getattr(m, name) for m in masks]
    for kind in KINDS:
        assert found["noise"].columns[kind] == [s.noise[kind] for s in data.stacks]
    assert found["contrast"].columns["score"] == [s.score for s in data.stacks]
    assert found["turnover"].columns["hot_births"] == [s.turnover.hot_births for s in data.stacks[1:]]
    explained = [b.explained for s in data.stacks for b in s.bands]
    assert found["bands"].columns["explained"] == explained
    assert found["speed"].columns["stacks"] == [n for _, _, n in data.runs[-1].marks]


def test_outliers_are_in_per_cent_over_the_dose() -> None:
    cut = (Break("3.mrc", "a new gain reference"),)
    changed = with_masks(session_data(4, lambda k: {"breaks": cut}), lambda k: {"n_hot": 1000 * k, "dose": k})
    found = made(changed)["timeline"]
    assert found.columns["hot_percent"] == [0.1, 0.2, 0.3, 0.4]
    assert found.columns["dead_percent"] == [0.001] * 4
    # twenty frames of 1, 2, 3, 4 counts, at the middle of each stack
    assert found.columns["cumulative_dose"] == [10, 40, 90, 160]
    assert found.notes["along"] == "cumulative_dose"
    assert found.notes["breaks"] == {"stack 3: a new gain reference": 90}


def test_places_hold_every_outlier(data: SessionData) -> None:
    columns = made(data)["places"].columns
    hot = sum(v for kind, v in zip(columns["kind"], columns["pixels"], strict=True) if kind == "hot")
    assert hot == pytest.approx(np.mean([m.n_hot for _, m in data.masks]))
    lines = made(data)["lines"].columns
    for what in ("column", "row"):
        total = sum(v for w, v in zip(lines["what"], lines["hot"], strict=True) if w == what)
        assert total == pytest.approx(hot)


def test_columns_of_a_figure_have_one_length(data: SessionData) -> None:
    for one in over_stacks(data):
        assert len({len(values) for values in one.columns.values()}) == 1, one.key


def test_every_figure_says_what_to_look_for(data: SessionData) -> None:
    found = made(data)
    assert len(found) == 13
    for one in found.values():
        assert len(one.caption) > 60 and one.caption.rstrip().endswith(".") and one.title in one.alt
    assert found["timeline"].paper == "Fig. 7a"


def test_what_nothing_is_known_of_is_left_out() -> None:
    def nothing(k: int) -> dict[str, Any]:
        return {"mask": None, "noise": {}, "bands": (), "score": None}

    bare = session_data(3, nothing)
    assert set(made(bare)) == {"turnover", "survival", "speed"}
    assert made(replace(bare, stacks=(), runs=())).keys() == {"survival"}


def test_without_times_stacks_are_numbered() -> None:
    untimed = session_data(4, lambda k: {"acquired_from": "mtime"})
    assert made(untimed)["dose"].notes["along"] == "stack"
    assert made(session_data(4))["dose"].notes["along"] == "hours"


def test_breaks_are_where_the_first_stack_after_them_is() -> None:
    cut = (Break("3.mrc", "a new gain reference"),)
    notes = made(session_data(5, lambda k: {"breaks": cut}))["dose"].notes
    assert notes["breaks"] == {"stack 3: a new gain reference": pytest.approx(2 / 60)}

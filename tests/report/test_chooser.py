"""The data of the page's script: a stack each, with the numbers of its histogram."""

import json
from dataclasses import replace

import pytest

from mrcz_dask.report.data import SessionData
from mrcz_dask.report.drawing import threshold_at
from mrcz_dask.report.page import MOST_BINS, chooser
from mrcz_dask.report.pictures import histogram

from .conftest import session_data


def values(data: SessionData) -> list[dict]:  # type: ignore[type-arg]
    text = chooser(data).partition('id="looks">')[2].removesuffix("</script>")
    return list(json.loads(text))


def test_every_stack_of_the_sample_is_there(data: SessionData) -> None:
    found = values(data)
    assert [one["name"] for one in found] == [s.name for s in data.stacks]
    assert "all of them" in chooser(data)


def test_numbers_are_those_of_the_histogram(data: SessionData) -> None:
    for one, stack in zip(values(data), data.stacks, strict=True):
        made = histogram(stack, data.samples[stack.number], "any")
        assert len(one["histogram"]["edge"]) <= MOST_BINS
        for name, given in one["histogram"].items():
            assert given == pytest.approx(list(made.columns[name]), rel=1e-4, abs=1e-30)
        assert one["hot_at"] == threshold_at(made, "t_hot")


def test_a_threshold_is_between_the_edges_around_it(data: SessionData) -> None:
    made = histogram(data.stacks[0], data.samples[1], "any")
    at, limit = threshold_at(made, "t_hot"), made.notes["t_hot"]
    assert at is not None
    below = max(e for z, e in zip(made.columns["z"], made.columns["edge"], strict=True) if z <= limit)
    assert below <= at <= below + 1
    assert threshold_at(replace(made, notes={**made.notes, "t_hot": None}), "t_hot") is None
    assert threshold_at(replace(made, notes={**made.notes, "t_hot": 99.0}), "t_hot") is None


def test_marks_are_the_outliers(data: SessionData) -> None:
    one, look = values(data)[0], data.samples[1]
    assert look.weight is not None
    assert one["patch"]["size"] == list(look.weight.shape)
    assert len(one["patch"]["marks"]) == int((look.weight < 128).sum())


def test_a_sample_says_that_it_is_one(data: SessionData) -> None:
    assert "2 of 9" in chooser(replace(data, samples={k: data.samples[k] for k in (1, 5)}))
    assert chooser(session_data(3)) == ""

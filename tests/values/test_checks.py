"""Checks that parameter classes share."""

import math

import pytest

from mrcz_dask.values.checks import one_of, raise_all, whole, within
from mrcz_dask.values.errors import ParameterError


def test_one_of_names_value_and_choice():
    assert list(one_of("rule", "fdr", ("fdr", "paper"))) == []
    assert list(one_of("rule", "x", ("fdr", "paper"))) == ["rule is 'x'; expected one of 'fdr', 'paper'"]


@pytest.mark.parametrize("value", [0, 1, 0.5])
def test_within_takes_the_closed_range(value):
    assert list(within("k", value, 0, 1)) == []


@pytest.mark.parametrize("value", [-1e-9, 1.1, math.nan, math.inf, "2", None, [1]])
def test_within_names_what_is_outside_or_no_number(value):
    assert list(within("k", value, 0, 1, unit=" px")) == [f"k is {value!r} px; expected [0, 1] px"]


def test_within_with_an_open_end():
    assert list(within("k", 0, 0, 1, open_low=True)) == ["k is 0; expected (0, 1]"]


@pytest.mark.parametrize("value", [1.5, "2", None, math.nan, True])
def test_whole_wants_an_integer(value):
    assert list(whole("radius", value, 1, 9)) == [f"radius is {value!r}; expected a whole number in [1, 9]"]


def test_whole_takes_integers_in_range():
    assert list(whole("radius", 9, 1, 9)) == []
    assert list(whole("radius", 10, 1, 9, unit=" px")) == [
        "radius is 10 px; expected a whole number in [1, 9] px"
    ]


def test_all_problems_come_in_one_error():
    with pytest.raises(ParameterError, match=r"^owner: a is wrong; b is wrong$"):
        raise_all("owner", iter(["a is wrong", "b is wrong"]))


def test_no_problem_raises_nothing():
    raise_all("owner", iter([]))

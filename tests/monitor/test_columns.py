"""What is drawn of a stack."""

from math import isnan

import numpy as np

from mrcz_dask.monitor.listener import LANES, NOISE_FLOOR, NUMBERS, TEXTS, columns, row
from mrcz_dask.monitor.state import SessionState

from .conftest import BEGAN, Made


def test_what_is_not_known_is_not_a_number(made: Made) -> None:
    state = SessionState.of([(BEGAN, made.found(4))])
    found = row(state.stacks["4.mrc"])
    assert set(found) == {*TEXTS, *NUMBERS}
    assert LANES[int(found["lane"])] == "found"
    assert all(isnan(found[name]) for name in NUMBERS if name != "lane")


def test_noise_below_zero_is_drawn_at_the_floor_and_told_as_it_is(made: Made) -> None:
    state = SessionState.of([(BEGAN, made.found(4)), (BEGAN, made.summed(4)), (BEGAN, made.done(4))])
    found = row(state.stacks["4.mrc"])
    assert (found["raw"], found["corrected"]) == (1e-2, NOISE_FLOOR)
    assert found["noise"] == "raw 1.00e-02, filtered 3.00e-03, corrected -1.00e-04"
    assert (found["hot"], found["dead"], found["t_hot"], found["dose"]) == (14, 4, 3.5, 1.5)


def test_high_contrast_has_a_lane_beside_the_state(made: Made) -> None:
    state = SessionState.of([(BEGAN, made.found(4)), (BEGAN, made.done(4, usable=False))])
    found = row(state.stacks["4.mrc"])
    assert LANES[int(found["contrast"])] == "high contrast" and LANES[int(found["lane"])] == "done"
    assert found["hot"] == 14


def test_rows_become_columns(made: Made) -> None:
    state = SessionState.of([(BEGAN, made.found(k)) for k in range(3)])
    found = columns([row(one) for one in state.stacks.values()])
    assert found["name"] == ["0.mrc", "1.mrc", "2.mrc"]
    assert np.array_equal(found["number"], [1, 2, 3])
    assert columns([], 7)["number"].size == 0
    assert {len(column) for column in columns([]).values()} == {0}

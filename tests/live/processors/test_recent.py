import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.live.view import SCALARS, Rate, Recent, Result


@given(st.lists(st.integers(0, 5), max_size=30))
def test_whoever_asks_from_where_it_was_misses_nothing(steps: list[int]) -> None:
    recent, place, seen, added = Recent(), 0, [], 0
    for many in steps:
        for _ in range(many):
            recent.add(Result(added, 0.0, {"a": 1.0}))
            added += 1
        place, new = recent.since(place)
        seen += [one.number for one in new]
    assert seen == list(range(added)) and place == added


def test_old_ones_go() -> None:
    recent = Recent()
    for k in range(SCALARS + 10):
        recent.add(Result(k, 0.0, {"a": 1.0}))
    end, kept = recent.since(0)
    assert end == SCALARS + 10 and kept[0].number == 10
    images = Recent()
    for k in range(20):
        images.add(Result(k, 0.0, {"a": np.zeros((2000, 2000), np.float32)}))
    assert [one.number for one in images.since(0)[1]] == [16, 17, 18, 19]


def test_a_place_beyond_the_end_begins_again() -> None:
    recent = Recent()
    for k in range(5):
        recent.add(Result(k, 0.0, {}))
    recent.clear()
    recent.add(Result(9, 0.0, {}))
    assert [one.number for one in recent.since(5)[1]] == [9]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    now = 0.0
    rate = Rate(lambda: now)
    for _ in range(100):
        now += 0.1
        rate.count()
    assert abs(rate.per_second() - 10) < 0.5
    now += 60
    assert rate.per_second() == 0

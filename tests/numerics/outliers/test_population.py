"""Births, deaths and lifetimes, against masks compared one by one and against the simulator's truth."""

from itertools import pairwise
from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mrcz_dask.numerics.outliers.population import LAGS, Census, Survival, Turnover, lifetime, positions
from mrcz_dask.numerics.simulate import SimulationParams, simulate_session

Masks = list[np.ndarray]


def packed(hot: np.ndarray, dead: np.ndarray | None = None) -> np.ndarray:
    dead = np.zeros_like(hot) if dead is None else dead
    return np.stack([np.packbits(hot, axis=1), np.packbits(dead, axis=1)])


def census(masks: Masks) -> Census:
    made = Census(masks[0].shape)
    for mask in masks:
        made.add(packed(mask))
    return made


shapes = st.tuples(st.integers(1, 12), st.integers(1, 20))
sequences = shapes.flatmap(lambda shape: st.lists(arrays(bool, shape), min_size=1, max_size=6))


@given(shapes.flatmap(lambda shape: arrays(bool, shape)))
def test_positions_are_those_of_the_bits(mask: np.ndarray) -> None:
    y, x = positions(np.packbits(mask, axis=1))
    assert np.array_equal(np.stack([y, x]), np.stack(np.nonzero(mask)))


@given(sequences)
def test_births_and_deaths_are_those_of_the_masks(masks: Masks) -> None:
    found = census(masks).turnover
    assert found[0] == Turnover()
    for (before, now), one in zip(pairwise(masks), found[1:], strict=True):
        assert one.hot_births == np.count_nonzero(now & ~before)
        assert one.hot_deaths == np.count_nonzero(before & ~now)
        assert (one.dead_births, one.dead_deaths) == (0, 0)


@given(sequences)
def test_births_less_deaths_is_the_growth(masks: Masks) -> None:
    found = census(masks).turnover[1:]
    growth = sum((one.hot_births or 0) - (one.hot_deaths or 0) for one in found)
    assert growth == int(masks[-1].sum()) - int(masks[0].sum())


@given(sequences)
def test_places_hold_every_outlier(masks: Masks) -> None:
    found = census(masks).places(0)
    assert found is not None
    mean = sum(int(m.sum()) for m in masks) / len(masks)
    for part in (found.cells, found.columns, found.rows):
        assert np.isclose(part.sum(), mean)
    assert np.allclose(found.columns, np.mean(masks, axis=0).sum(axis=0))


def test_a_stack_without_a_mask_counts_as_time() -> None:
    mask = np.zeros((8, 8), bool)
    other = mask.copy()
    other[2, 3] = True
    made = Census((8, 8))
    for one in (packed(mask), None, packed(other)):
        made.add(one)
    assert made.turnover[1] == Turnover()
    assert made.turnover[2] == Turnover(1, 0, 0, 0)


def test_no_mask_at_all() -> None:
    made = Census((8, 8))
    made.add(None)
    assert made.places(0) is None and made.survival() == () and lifetime(()) is None


@given(st.floats(1, 200), st.floats(0.2, 1))
def test_a_lifetime_is_found_again(stacks: float, seen: float) -> None:
    found = lifetime([Survival(lag, seen * exp(-lag / stacks), 1000) for lag in LAGS])
    if found is not None:
        assert found.stacks == pytest.approx(stacks) and found.seen == pytest.approx(seen)


def test_what_never_goes_lives_for_ever() -> None:
    mask = np.zeros((32, 32), bool)
    mask[4, 5:9] = True
    found = lifetime(census([mask] * 6).survival())
    assert found is not None and found.stacks == inf and found.seen == pytest.approx(1)


@pytest.mark.parametrize("persistence", [0.8, 0.95])
def test_births_deaths_and_lifetime_of_the_simulator(persistence: float) -> None:
    params = SimulationParams(
        shape=(256, 240), frames=1, stacks=24, hot=(0.01, 0.02), hot_persistence=persistence, seed=4
    )
    session = simulate_session(params)
    masks = [session.stack(k).truth.hot for k in range(params.stacks)]
    made = census(masks)
    for (before, now), one in zip(pairwise(masks), made.turnover[1:], strict=True):
        assert (one.hot_births, one.hot_deaths) == (int((now & ~before).sum()), int((before & ~now).sum()))
    found = lifetime(made.survival())
    assert found is not None
    assert found.stacks == pytest.approx(-1 / log(persistence), rel=0.05) and found.seen > 0.98


def test_pixels_that_are_not_seen_each_time_do_not_shorten_life() -> None:
    rng = np.random.default_rng(2)
    alive, masks = rng.random((200, 200)) < 0.02, []
    for _ in range(40):
        alive = (alive & (rng.random(alive.shape) < 0.9)) | (rng.random(alive.shape) < 0.002)
        masks.append(alive & (rng.random(alive.shape) < 0.6))
    found = lifetime(census(masks).survival())
    assert found is not None
    assert found.stacks == pytest.approx(-1 / log(0.9), rel=0.1) and found.seen == pytest.approx(0.6, rel=0.1)


def test_a_bad_column_row_and_corner_stand_out() -> None:
    rng = np.random.default_rng(3)
    even = rng.random((400, 480)) < 0.004
    assert census([even]).places(0).standing_out() == ()  # type: ignore[union-attr]
    column, row, corner = even.copy(), even.copy(), even.copy()
    column[50:200, 77] = True
    row[200, 100:300] = True
    corner[-45:, :55] |= rng.random((45, 55)) < 0.04
    for mask, what, place in ((column, "column", 77), (row, "row", 200), (corner, "corner", 2)):
        found = census([mask]).places(0)
        assert found is not None
        assert [(one.what, one.place) for one in found.standing_out()] == [(what, place)]


def test_only_the_last_masks_are_held() -> None:
    made = Census((8, 8))
    for _ in range(60):
        made.add(packed(np.ones((8, 8), bool)))
    assert len(made._recent) <= LAGS[-1] + 1

"""Control charts: what they find of changes, how rarely they are wrong, and what few sessions allow."""

from collections.abc import Callable

import numpy as np
import pytest

from mrcz_dask.numerics.session.control_chart import FEWEST, control_chart

Scatter = Callable[[np.random.Generator, int], np.ndarray]

LENGTH = 250


def wandering(rng: np.random.Generator, size: int) -> np.ndarray:
    """Half of what is believed to be the least scatter, 95 % of which lasts to the next session."""
    values = np.empty(size)
    values[0] = rng.standard_normal() / 2
    for k in range(1, size):
        values[k] = 0.95 * values[k - 1] + 0.5 * np.sqrt(1 - 0.95**2) * rng.standard_normal()
    return values


@pytest.mark.parametrize(
    ("scatter", "least", "most"),
    [
        pytest.param(lambda rng, size: rng.standard_normal(size), 0.01, 1.0, id="normal"),
        pytest.param(lambda rng, size: np.sqrt(rng.poisson(20, size) + 3 / 8), 0.5, 1.0, id="counts"),
        pytest.param(lambda rng, size: rng.standard_t(5, size), 0.01, 5.0, id="heavy tails"),
        pytest.param(wandering, 1.0, 3.0, id="wandering"),
    ],
)
def test_alarms_of_a_steady_camera_are_rare(scatter: Scatter, least: float, most: float) -> None:
    """`most` in 1000 sessions, both sides together."""
    sessions, alarms = 0, 0
    for seed in range(16):
        found = control_chart(scatter(np.random.default_rng(seed), LENGTH).tolist(), least)
        sessions, alarms = sessions + LENGTH, alarms + len(found.excursions)
    assert 1000 * alarms <= most * sessions


@pytest.mark.parametrize("seed", range(5))
def test_a_jump_is_found_at_once(seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(60)
    values[40:] += 12
    found = control_chart(values.tolist(), 0.1).excursions
    assert [(one.first, one.last, one.rises, one.sudden) for one in found] == [
        (40, 40 + FEWEST - 1, True, True)
    ]
    assert abs(found[0].usual) < 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sign", [1, -1])
def test_slow_growth_is_found(seed: int, sign: int) -> None:
    """A fifth of the scatter a session, after twenty quiet ones."""
    values = np.random.default_rng(seed).standard_normal(60)
    values[20:] += sign * 0.2 * np.arange(40)
    first = control_chart(values.tolist(), 0.1).excursions[0]
    assert 22 <= first.first <= 45 and first.rises == (sign > 0)


def test_growth_from_the_first_session_on_is_found() -> None:
    values = np.random.default_rng(1).standard_normal(60) + 0.3 * np.arange(60)
    assert control_chart(values.tolist(), 0.1).excursions[0].first < 30


def test_one_odd_session_is_not_learned_from() -> None:
    values = np.random.default_rng(2).standard_normal(30)
    values[12] = 40
    found = control_chart(values.tolist(), 0.1)
    assert [(one.first, one.last) for one in found.excursions] == [(12, 12)]
    assert abs((found.usual[13] or 0) - (found.usual[12] or 0)) == 0


def test_few_sessions_have_no_alarm() -> None:
    found = control_chart([0.0, 1.0, 1000.0, 2.0, 5000.0], 0.1)
    assert found.excursions == () and set(found.usual) == {None}
    assert control_chart([], 0.1).excursions == ()


def test_what_is_not_known_is_left_out() -> None:
    values = np.random.default_rng(3).standard_normal(40)
    gaps = [v for value in values.tolist() for v in (value, None)]
    found = control_chart(gaps, 0.1)
    assert found.usual[0::2] == control_chart(values.tolist(), 0.1).usual and len(found.usual) == 80


def test_a_new_start_forgets_what_was_before() -> None:
    values = [0.0, 0.1, -0.1, 0.0, 0.2, 0.1, 50.0, 50.1, 49.9, 50.0, 50.2, 50.1, 50.0]
    assert control_chart(values, 0.1).excursions
    assert control_chart(values, 0.1, starts=[6]).excursions == ()


def test_equal_numbers_scatter_by_the_least() -> None:
    assert control_chart([5.0] * 20 + [5.4], 0.1).excursions == ()
    assert control_chart([5.0] * 20 + [6.5], 0.1).excursions


def test_what_is_not_known_well_is_no_alarm() -> None:
    """A short session, whose number has an error of its own."""
    values = [*np.random.default_rng(4).standard_normal(40).tolist(), 12.0]
    assert control_chart(values, 0.1).excursions
    assert control_chart(values, 0.1, errors=[0.1] * 40 + [6.0]).excursions == ()

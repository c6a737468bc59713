"""Decays are found where they are, their errors are right, and what is not there is said."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.noise.decay import EXPONENTS, Decay, fit_decay
from mrcz_dask.values.errors import ParameterError

RADII = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]


@given(
    a=st.floats(1e-4, 10),
    b=st.floats(-3.5, -0.06),
    c=st.floats(-1, 1),
    scale=st.floats(0.1, 1000),
)
def test_an_exact_curve_is_found(a, b, c, scale):
    x = [scale * r for r in RADII]
    truth = Decay(a * scale**-b, b, c * a)
    fit = fit_decay(x, [truth.at(v) for v in x])

    assert fit.curve is not None and fit.errors is not None
    assert fit.curve.b == pytest.approx(b, abs=1e-5)
    for v in x:
        assert fit.curve.at(v) == pytest.approx(truth.at(v), abs=1e-7 * a)
    assert fit.words == () or abs(c) * a < 1e-6


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0.01, 100))
def test_units_of_y_change_nothing_but_a_and_c(seed, factor):
    y = 0.01 * np.array(RADII) ** -1.0 + 0.002 + np.random.default_rng(seed).normal(0, 1e-4, len(RADII))
    one, other = fit_decay(RADII, y), fit_decay(RADII, factor * y)

    assert one.curve is not None and other.curve is not None
    assert other.curve.b == pytest.approx(one.curve.b, rel=1e-5)
    assert other.curve.a == pytest.approx(factor * one.curve.a, rel=1e-5)


def grouped(rng, curve, groups=8, shared=1e-4, own=1e-4):
    """R of some stacks: each has noise of its own that its points share."""
    y = np.array([curve(v) for v in RADII]) + rng.normal(0, shared, (groups, 1))
    y = y + rng.normal(0, own, (groups, len(RADII)))
    return RADII * groups, y.ravel(), [g for g in range(groups) for _ in RADII]


def test_errors_are_the_spread_of_repetitions():
    """Points of a stack share its noise: errors from single points would miss it."""
    rng = np.random.default_rng(0)
    z = []
    for _ in range(150):
        fit = fit_decay(*grouped(rng, lambda x: 0.01 / x + 0.0016, groups=12))
        assert fit.curve is not None and fit.errors is not None
        found = np.array([fit.curve.a, fit.curve.b, fit.curve.c])
        z.append((found - [0.01, -1, 0.0016]) / fit.errors)

    assert ((np.std(z, axis=0) > 0.8) & (np.std(z, axis=0) < 1.4)).all()


def test_no_decay_is_not_fitted():
    rng = np.random.default_rng(1)
    fits = [fit_decay(*grouped(rng, lambda x: 0.002)) for _ in range(60)]

    assert sum(fit.curve is not None for fit in fits) <= 2
    flat = next(fit for fit in fits if fit.curve is None)
    assert "does not fall beyond chance" in flat.words[0]
    assert abs(flat.constant[0] - 0.002) < 5 * flat.constant[1]
    assert str(flat).startswith("constant 0.002")


def test_a_rise_is_no_decay():
    fit = fit_decay(*grouped(np.random.default_rng(2), lambda x: 0.01 * math.log(x)), axis="radius")

    assert fit.curve is None and "from the smallest radius to the largest it rises" in fit.words[0]


def test_few_points_are_said():
    fit = fit_decay([1, 2, 3, 3], [3, 2, 1, 1], axis="dose")

    assert fit.curve is None and fit.fall is None
    assert fit.words == ("3 different values of dose: three parameters need at least 4",)


def test_few_groups_are_said():
    x, y, groups = grouped(np.random.default_rng(3), lambda x: 0.01 / x, groups=2)

    fit = fit_decay(x, y, groups)

    assert fit.curve is not None and "only 2 stacks" in fit.words[0]


def test_a_short_range_does_not_tell_a_from_c():
    rng = np.random.default_rng(4)
    x = np.tile(np.linspace(10, 14, 9), 6)
    y = 0.03 * x**-0.29 + 0.03 + rng.normal(0, 1e-4, x.size)

    fit = fit_decay(x, y, np.repeat(range(6), 9).tolist())

    assert fit.curve is not None
    assert any("cannot be told apart" in w or "a and c alone mean nothing" in w for w in fit.words)


def test_a_logarithm_is_called_one():
    x, y, groups = grouped(np.random.default_rng(5), lambda x: 0.5 - 0.1 * math.log2(x))

    fit = fit_decay(x, y, groups, "dose")

    assert fit.curve is not None and fit.curve.b == EXPONENTS[1]
    assert len(fit.words) == 1 and "like a logarithm, by 0.1 whenever dose doubles" in fit.words[0]


def test_a_step_is_called_one():
    fit = fit_decay(*grouped(np.random.default_rng(6), lambda x: 0.1 if x == 1 else 0.0))

    assert fit.curve is not None and "within the first x" in fit.words[0]


def test_plain_values():
    fit = fit_decay(*grouped(np.random.default_rng(7), lambda x: 0.01 / x + 0.002))
    told = fit.to_dict()

    assert told["curve"]["b"] == pytest.approx(-1, abs=0.1)
    assert told["errors"]["a"] == pytest.approx(math.sqrt(told["covariance"][0][0]))
    assert told["fall"][0] == pytest.approx(0.01, rel=0.1)
    assert " ± " in str(fit)


@pytest.mark.parametrize(
    ("x", "y", "groups"),
    [
        ([], [], None),
        ([1, 2], [1], None),
        ([0, 1], [1, 1], None),
        ([1, 2], [1, math.nan], None),
        ([1], [1], []),
    ],
)
def test_what_makes_no_points_is_an_error(x, y, groups):
    with pytest.raises(ParameterError, match="expected as many of both"):
        fit_decay(x, y, groups)

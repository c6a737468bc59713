from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from mrcz_dask.numerics.outliers.value_weights import Axis, fit_normal

EDGES = np.linspace(-8, 8, 257)


def cumulative(c: np.ndarray, total: int = 10**9) -> np.ndarray:
    return np.rint(c * total).astype(np.int64)


@settings(deadline=None)
@given(st.floats(-2, 2), st.floats(0.3, 1.2))
def test_a_normal_distribution_is_found_again(mu: float, sigma: float) -> None:
    found = fit_normal(EDGES, cumulative(special.ndtr((EDGES - mu) / sigma)), 10**9)
    assert found is not None
    assert (found.mu, found.sigma) == pytest.approx((mu, sigma), abs=1e-4)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.05])
@pytest.mark.parametrize("how", ["probit", "l1"])
def test_hot_pixels_move_the_fit_little(share: float, how: str) -> None:
    counts = cumulative(special.ndtr(EDGES) * (1 - share))
    found = fit_normal(EDGES, counts, 10**9, how)  # type: ignore[arg-type]
    assert found is not None
    tolerance = 1e-4 if how == "probit" else 2 * share
    assert (found.mu, found.sigma) == pytest.approx((0, 1), abs=tolerance)


@pytest.mark.parametrize("mean", [30, 100, 1000])
@pytest.mark.parametrize("how", ["probit", "l1"])
def test_clean_counts_give_a_slope_of_one(mean: int, how: str) -> None:
    axis = Axis.of(mean - 1 / 3, np.sqrt(mean), negative=False, counts=True)
    values = np.arange(mean * 3)
    found = fit_normal(axis.forward(values + 0.5), cumulative(stats.poisson.cdf(values, mean)), 10**9, how)  # type: ignore[arg-type]
    assert found is not None
    assert 1 / found.sigma == pytest.approx(1.0, abs=0.006)
    assert axis.backward(found.mu) == pytest.approx(mean, abs=0.3)


def test_too_few_points_give_nothing() -> None:
    assert fit_normal(np.array([0.5, 1.5]), np.array([0, 10]), 10) is None
    assert fit_normal(np.array([0.5, 1.5]), np.array([5, 10]), 10) is None


@settings(deadline=None)
@given(st.floats(0.5, 1e6), st.floats(0.1, 1e6), st.booleans())
def test_the_axis_goes_both_ways(middle: float, value: float, linear: bool) -> None:
    axis = Axis(middle, 1.0, linear, 2.0)
    assert axis.backward(float(axis.forward(np.array([value]))[0])) == pytest.approx(
        value, rel=1e-9, abs=1e-6
    )


def test_the_axis_follows_what_is_known_of_the_noise() -> None:
    assert Axis.of(100, 15, negative=False, counts=True) == Axis(100, 1.0, False, 15)
    assert Axis.of(100, 12, negative=False, counts=False).gain == 1.0
    assert Axis.of(100, 40, negative=False, counts=False).gain == 16.0
    assert Axis.of(0, 1, negative=False, counts=True).linear
    assert Axis.of(5, 1, negative=True, counts=False).linear

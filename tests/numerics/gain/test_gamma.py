from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.numerics.gain.gain import K2, GammaCurve
from mrcz_dask.numerics.gain.gamma import best_gamma, fit_curve, relief
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.values.errors import ParameterError

RATES = np.geomspace(0.25, 9, 10)
SHAPE = (512, 512)
RNG = np.random.default_rng(1)


@pytest.fixture(scope="module")
def camera() -> tuple[np.ndarray, np.ndarray]:
    """Etching, and the fixed columns, rows and pixels that do not depend on the dose rate."""
    fixed = named("standard", shape=SHAPE, gamma=0.0, seed=5)
    etched = named("standard", shape=SHAPE, gamma=1.0, cmos=0.0, pixel=0.0, seed=5)
    return simulate_session(etched).pattern(0).astype(float), simulate_session(fixed).pattern(0).astype(float)


@pytest.fixture(scope="module")
def gammas(camera: tuple[np.ndarray, np.ndarray]) -> list[float]:
    etching, fixed = camera
    flats = [RNG.poisson(60 * etching ** K2.at(rate) * fixed) for rate in RATES]
    return [best_gamma(flat, 1 / (etching * fixed)) for flat in flats]


def test_gamma_is_recovered_over_the_calibrated_rates(gammas: list[float]) -> None:
    assert gammas == pytest.approx([K2.at(rate) for rate in RATES], abs=0.03)


def test_the_curve_is_recovered(gammas: list[float]) -> None:
    curve = fit_curve(RATES.tolist(), gammas)
    at = np.geomspace(0.25, 9, 200)
    error = np.array([curve.at(x) - K2.at(x) for x in at])
    assert np.sqrt(np.mean(error**2)) < 0.015
    assert (curve.low, curve.high) == (0.25, pytest.approx(9))


@pytest.mark.parametrize("gamma", [0.0, 0.6, 1.0, 1.6])
def test_closed_form_is_the_minimum_of_eq_10(camera: tuple[np.ndarray, np.ndarray], gamma: float) -> None:
    gain = 1 / camera[0]
    flat = 1e6 * gain**-gamma
    found = best_gamma(flat, gain)
    assert found == pytest.approx(gamma, abs=0.005)

    def spread(g: float) -> float:
        flattened = flat * gain**g
        return float(flattened.std() / flattened.mean())

    assert spread(found) <= min(spread(found - 0.02), spread(found + 0.02))


@given(st.floats(0.01, 1000), st.floats(0.01, 1000))
def test_units_do_not_matter(one: float, other: float) -> None:
    gain = np.random.default_rng(2).uniform(0.9, 1.1, (64, 64))
    flat = 100 * gain**-1.3
    assert best_gamma(flat * one, gain * other, side=4) == pytest.approx(best_gamma(flat, gain, side=4))


def test_masked_pixels_do_not_matter(camera: tuple[np.ndarray, np.ndarray]) -> None:
    gain = (1 / camera[0])[:128, :128]
    flat = RNG.poisson(1e4 / gain).astype(float)
    good = RNG.random(gain.shape) > 0.05
    first = best_gamma(flat, gain, good)
    flat[~good], wild = 1e9, np.where(good, gain, np.nan)
    assert best_gamma(flat, wild, good) == first


def test_what_tells_nothing_is_refused() -> None:
    image = np.ones((64, 64))
    with pytest.raises(ParameterError, match="constant"):
        best_gamma(image, image)
    with pytest.raises(ParameterError, match="expected one shape"):
        best_gamma(image, np.ones((3, 3)))
    with pytest.raises(ParameterError, match="0 good"):
        best_gamma(image, image, np.zeros((64, 64), bool))


@settings(max_examples=25)
@given(st.floats(0.05, 1), st.floats(-3, -0.3), st.floats(-0.1, 0.1), st.floats(0.5, 2))
def test_the_fit_is_exact_without_noise(a1: float, b1: float, a2: float, a3: float) -> None:
    truth = GammaCurve(a1, b1, a2, a3)
    found = fit_curve(RATES.tolist(), [truth.at(rate) for rate in RATES])
    assert (found.a1, found.b1, found.a2, found.a3) == pytest.approx((a1, b1, a2, a3), rel=1e-6, abs=1e-8)
    assert [found.at(r) for r in RATES] == pytest.approx([truth.at(r) for r in RATES], abs=1e-9)


def test_too_few_rates_are_refused() -> None:
    for rates, gammas in (([1, 2, 3, 3], [1, 1, 1, 1]), ([1, 2, 3, -4], [1] * 4), ([1, 2, 3, 4], [1, 1, 1])):
        with pytest.raises(ParameterError, match="at least 4"):
            fit_curve(rates, gammas)


def test_the_relief_of_a_flat_is_that_of_its_squares() -> None:
    gain = np.repeat(np.repeat([[1.0, 2.0], [4.0, 0.5]], 8, axis=0), 8, axis=1)
    flat = 100 / gain**1.5
    assert np.abs(relief(flat, gain, 1.5, side=8)).max() < 1e-6
    mean = (flat * gain).mean()
    assert relief(flat, gain, 1.0, side=8) == pytest.approx((flat * gain)[::8, ::8] / mean - 1)
    good = np.ones(flat.shape, bool)
    good[:8, :8], good[9, 9], flat[9, 9], gain[9, 9] = False, False, 1e9, 0.0
    found = relief(flat, gain, 1.5, good, side=8)
    assert np.isnan(found[0, 0]) and np.abs(found.ravel()[1:]).max() < 1e-6
    assert relief(flat[:5, :20], gain[:5, :20], 1.5, side=8).shape == (1, 2)

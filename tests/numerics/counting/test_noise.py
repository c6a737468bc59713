"""Detectors and charges come back from their frames."""

import numpy as np
import pytest

from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.noise import (
    charge_spectrum,
    classes,
    dark_statistics,
    estimate_detector,
    zero_peak,
)
from mrcz_dask.numerics.counting.params import RawParams
from mrcz_dask.numerics.counting.simulate import RawStack
from mrcz_dask.values.errors import ParameterError


def frames_of(stack, n):
    return np.stack([stack.frame(k).values for k in range(n)])


def test_dark_frames():
    stack = RawStack(RawParams(shape=(64, 64), occupancy=0.0, xrays=0.0, noisy=0.02, seed=1))
    dark, noise = dark_statistics(frames_of(stack, 100))
    assert np.abs(dark - stack.offset).max() < 5 * 16 / 10
    np.testing.assert_allclose(np.median(noise[stack.noise < 5]), np.hypot(4, 12**-0.5), rtol=0.02)
    kind = classes(noise)
    np.testing.assert_array_equal(kind == 1, stack.noise > 5)


@pytest.mark.parametrize("occupancy", [0.005, 0.02])
def test_a_detector_from_its_own_electrons(occupancy):
    stack = RawStack(RawParams(shape=(128, 128), occupancy=occupancy, seed=2, noisy=0.005))
    found = estimate_detector(frames_of(stack, 128))
    quiet = stack.noise < 5
    off = (found.dark - stack.offset)[quiet] / 4
    assert abs(off.mean()) < 0.015
    assert off.std() < 1.6 / np.sqrt(128)
    assert found.unit == pytest.approx(4, rel=0.02)
    assert np.mean((found.noise[~quiet] / 16) < 0.7) < 0.05


def test_the_zero_peak_under_charge():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(3, 2, 200_000), 3 + rng.exponential(20, 10_000)])
    middle, scale = zero_peak(values, 2.5, 1.5)
    assert middle == pytest.approx(3, abs=0.1)
    assert scale == pytest.approx(2, rel=0.04)


def test_the_charge_spectrum():
    stack = RawStack(RawParams(occupancy=0.003, seed=3))
    finder = EventFinder(Detector(stack.offset, stack.noise))
    charge = np.concatenate([finder.find(stack.frame(k).values).charge for k in range(8)])
    found = charge_spectrum(charge / 4, 1.75)
    assert found.charge == pytest.approx(10, rel=0.05)
    assert found.width == pytest.approx(0.12, abs=0.03)


def test_too_little_to_go_by():
    with pytest.raises(ParameterError, match="dark frames"):
        dark_statistics(np.zeros((2, 4, 4)))
    with pytest.raises(ParameterError, match="at least 32"):
        estimate_detector(np.zeros((2, 4, 4)))
    with pytest.raises(ParameterError, match="at least 500"):
        charge_spectrum(np.ones(3), 1.0)

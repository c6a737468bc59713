"""The dose after correction is the true one."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.counting.coincidence import LossCurve, loss_curve
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.params import CountingParams, RawParams
from mrcz_dask.numerics.counting.simulate import RawStack

CURVE = LossCurve(1e-4, (-0.05, -3.0, -2.0, 50.0), 0.1)


@functools.cache
def measured():
    return loss_curve(CountingParams())


@pytest.mark.slow
@pytest.mark.parametrize("occupancy", [0.005, 0.01, 0.02, 0.05])
def test_dose_within_a_percent(occupancy):
    n = int(np.ceil(25_000 / (occupancy * 512**2)))
    stack = RawStack(RawParams(occupancy=occupancy, seed=21, frames=n))
    finder = EventFinder(
        Detector(stack.offset, stack.noise, np.where(stack.gain > 0, stack.gain, 1), stack.gain == 0)
    )
    frames = [stack.frame(k) for k in range(n)]
    counted = sum(finder.find(f.values).y.size for f in frames)
    there = sum(f.truth.y.size for f in frames)
    pixels = n * 512**2
    assert measured().true(counted / pixels) == pytest.approx(there / pixels, rel=0.01)
    assert counted < 0.97 * there


@given(occupancy=st.floats(1e-4, 0.099))
def test_the_curve_is_inverted(occupancy):
    assert CURVE.true(CURVE.counted(occupancy)) == pytest.approx(occupancy, rel=1e-6)


def test_beyond_the_curve():
    assert np.isnan(CURVE.true(0.9))
    assert CURVE.true(5e-5) == 0
    assert CURVE.loss(1e-6) == pytest.approx(0, abs=1e-5)
    assert CURVE.loss(0.05) == pytest.approx(1 - np.exp(-0.15 - 0.005 + 0.00625))

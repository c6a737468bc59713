"""Simulated raw frames: what was put in, in any order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.numerics.counting.params import RawParams
from mrcz_dask.numerics.counting.simulate import RawStack, add_clouds
from mrcz_dask.values.errors import ParameterError

CLEAN = {
    "noisy": 0.0,
    "dead": 0.0,
    "gain_spread": 0.0,
    "xrays": 0.0,
    "dark_current": 0.0,
    "offset_spread": 0.0,
}


@given(seed=st.integers(0, 2**64 - 1), order=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_frames_in_any_order(seed, order):
    params = RawParams(shape=(32, 40), frames=4, occupancy=0.02, seed=seed)
    forward = RawStack(params)
    expected = [forward.frame(k) for k in range(4)]
    other = RawStack(params)
    for k in order:
        found = other.frame(k)
        np.testing.assert_array_equal(found.values, expected[k].values)
        np.testing.assert_array_equal(found.truth.y, expected[k].truth.y)


@given(
    y=st.floats(6, 26),
    x=st.floats(6, 26),
    charge=st.floats(0.1, 1e4),
    sharing=st.sampled_from([0.3, 0.4, 0.7]),
)
@settings(max_examples=50, deadline=None)
def test_a_cloud_keeps_its_charge_and_center(y, x, charge, sharing):
    out = np.zeros((32, 32))
    add_clouds(np.array([y]), np.array([x]), np.array([charge]), sharing, out)
    np.testing.assert_allclose(out.sum(), charge, rtol=2e-6)
    middle = np.arange(32) + 0.5
    np.testing.assert_allclose((out.sum(axis=1) * middle).sum() / charge, y, atol=0.06)
    np.testing.assert_allclose((out.sum(axis=0) * middle).sum() / charge, x, atol=0.06)


def test_numbers_and_charges_are_those_asked_for():
    stack = RawStack(RawParams(shape=(256, 256), occupancy=0.05, frames=8, seed=1))
    truths = [stack.frame(k).truth for k in range(8)]
    n = sum(t.y.size for t in truths)
    assert n / (8 * 256**2) == pytest.approx(0.05, rel=4 / np.sqrt(n))
    charge = np.concatenate([t.charge for t in truths])
    number, edges = np.histogram(charge, np.arange(20, 80, 2.0))
    assert edges[np.argmax(number)] + 1 == pytest.approx(40, abs=3)
    assert charge.mean() == pytest.approx(40 * (1 + 0.12 * 1.2704), rel=0.01)  # a Moyal number's mean


def test_an_effect_switched_off_leaves_the_others():
    on, off = (RawStack(RawParams(shape=(64, 64), seed=3, xrays=x)).frame(0) for x in (0.001, 0.0))
    same = on.values == off.values
    assert 1 <= np.count_nonzero(~same) <= 12
    np.testing.assert_array_equal(on.truth.y, off.truth.y)


def test_values_stay_below_saturation():
    frame = RawStack(RawParams(shape=(64, 64), xrays=0.01, xray_charge=5000.0, saturation=900.0)).frame(0)
    assert frame.values.max() == 900
    assert frame.values.dtype == np.uint16


def test_whole_numbers_are_the_floats_rounded():
    whole, floats = (
        RawStack(RawParams(shape=(32, 32), dtype=d, saturation=250.0)).frame(0).values
        for d in ("uint8", "float32")
    )
    assert np.abs(whole - floats).max() <= 0.5001


@pytest.mark.parametrize(
    "wrong",
    [{"occupancy": -1}, {"dtype": "int64"}, {"shape": (4, 4)}, {"dtype": "uint8"}, {"noisy_factor": 0.5}],
)
def test_wrong_parameters_are_named(wrong):
    with pytest.raises(
        ParameterError, match=next(iter(wrong)) if "dtype" not in wrong else "dtype|saturation"
    ):
        RawParams(**wrong)

"""The response of pixels, and fits to clouds without noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.numerics.counting.fitting import (
    CHARGE,
    FIELDS,
    MARGIN,
    NODES,
    SHARE,
    SIGNIFICANCE,
    SLOPE,
    STEPS,
    TAPS,
    Frame,
    U,
    V,
    add_cloud,
    fit,
    patch,
    response_table,
    start,
)
from mrcz_dask.numerics.counting.simulate import add_clouds

TABLE = response_table(0.4)
SIDE = 9


def cloud(u, v, charge):
    out = np.zeros((SIDE, SIDE))
    add_clouds(np.array([4.5 + u]), np.array([4.5 + v]), np.array([charge]), 0.4, out)
    return np.pad(out, MARGIN).astype(np.float32)


def fitted(z, response, even, steps=6):
    own = np.zeros((1, FIELDS))
    start(patch(z, 4, 4), own, 0, TABLE)
    flags = np.full((SIDE, SIDE), even)
    fit(Frame(z, response, flags, flags), 4, 4, own, 0, steps, TABLE)
    return own[0]


def test_the_table_holds_shares_and_their_derivatives():
    share, slope = TABLE[:, SHARE : SHARE + TAPS], TABLE[:, SLOPE : SLOPE + TAPS]
    middle = NODES // 2
    np.testing.assert_allclose(share[middle].sum(), 1, atol=1e-6)
    np.testing.assert_allclose(share, share[::-1, ::-1], atol=1e-15)
    numeric = (share[2:] - share[:-2]) * STEPS / 2
    np.testing.assert_allclose(slope[1:-1], numeric, atol=2e-3)


@given(u=st.floats(-0.55, 0.55), v=st.floats(-0.55, 0.55), charge=st.floats(5, 100))
@settings(max_examples=60, deadline=None)
def test_a_cloud_without_noise_is_found_exactly(u, v, charge):
    response = np.pad(np.ones((SIDE, SIDE), np.float32), MARGIN)
    own = fitted(cloud(u, v, charge), response, True)
    np.testing.assert_allclose([own[U], own[V]], [u, v], atol=0.02)
    assert own[CHARGE] == pytest.approx(charge, rel=0.02)


@given(seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_both_ways_to_fit_agree(seed):
    rng = np.random.default_rng(seed)
    z = cloud(*(rng.random(2) - 0.5), 15.0) + rng.standard_normal((SIDE + 2 * MARGIN,) * 2).astype(np.float32)
    response = np.pad(np.ones((SIDE, SIDE), np.float32), MARGIN)
    np.testing.assert_allclose(
        fitted(z, response, True, 2), fitted(z, response, False, 2), rtol=1e-9, atol=1e-9
    )


def test_a_dead_pixel_is_left_out_of_the_fit():
    response = np.pad(np.ones((SIDE, SIDE), np.float32), MARGIN)
    response[MARGIN + 3, MARGIN + 4] = 0
    own = fitted(cloud(0.1, -0.2, 30.0) * response, response, False, 8)
    np.testing.assert_allclose(own[[U, V]], [0.1, -0.2], atol=0.02)
    assert own[CHARGE] == pytest.approx(30, rel=0.02)


def test_significance_is_the_root_of_twice_the_likelihood():
    z = cloud(0.25, 0.0, 12.0)
    own = fitted(z, np.pad(np.ones((SIDE, SIDE), np.float32), MARGIN), True)
    near = z[MARGIN + 3 : MARGIN + 6, MARGIN + 3 : MARGIN + 6].astype(float)
    assert own[SIGNIFICANCE] == pytest.approx(np.sqrt((near**2).sum()), rel=1e-3)


def test_a_cloud_that_is_taken_off_leaves_nothing():
    z = cloud(0.25, -0.5, 40.0)
    own = np.zeros((1, FIELDS))
    own[0, :3] = 40.0, 0.25, -0.5
    even = np.ones((SIDE, SIDE), bool)
    frame = Frame(z, np.pad(np.ones((SIDE, SIDE), np.float32), MARGIN), even, even)
    add_cloud(frame, 4, 4, own, 0, -1.0, TABLE)
    assert np.abs(z).max() < 0.02


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_no_electron(even, value):
    z = cloud(0.1, -0.2, 20.0)
    z[MARGIN + 4, MARGIN + 5] = value
    own = fitted(z, np.pad(np.ones((SIDE, SIDE), np.float32), MARGIN), even)
    assert np.isfinite(own[[U, V, CHARGE, SIGNIFICANCE]]).all()
    assert own[CHARGE] == own[SIGNIFICANCE] == 0

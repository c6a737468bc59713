"""Electrons fitted side by side: as one after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.numerics.counting.batches import NEAR, by_level
from mrcz_dask.numerics.counting.fitting import (
    CHARGE,
    FIELDS,
    MARGIN,
    SHARE,
    SIGNIFICANCE,
    SLOPE,
    TAPS,
    TERMS,
    Frame,
    U,
    V,
    fit,
    patch,
    response_table,
    share_polynomials,
    start,
)
from mrcz_dask.numerics.counting.lanes import BATCH, OWN_U, SIZE, START, first_places, gather, settle, step

SIDE = 9


def both(z):
    """What the lanes and `fitting` make of one electron in the middle."""
    work, table = np.zeros(SIZE, np.float32), response_table(0.4)
    gather(z, 4, 4, work, 0)
    first_places(work, 16, share_polynomials(0.4))
    step(work, 16, share_polynomials(0.4))
    step(work, 16, share_polynomials(0.4))
    settle(work, 16, share_polynomials(0.4))
    fields = work.reshape(-1, BATCH)[:, 0]
    own, even = np.zeros((1, FIELDS)), np.ones((SIDE, SIDE), bool)
    best = start(patch(z, 4, 4), own, 0, table)
    fit(Frame(z, np.ones_like(z), even, even), 4, 4, own, 0, 2, table)
    return fields[START], fields[OWN_U : OWN_U + 4], best, own[0, [U, V, CHARGE, SIGNIFICANCE]]


@pytest.mark.parametrize(("sharing", "atol"), [(0.2, 1e-3), (0.4, 1e-5), (0.8, 1e-6)])
def test_polynomials_are_the_table(sharing, atol):
    e, a, b, c, d, e1, a1, b1 = share_polynomials(sharing).astype(float)
    table = response_table(sharing)
    u = (np.arange(len(table)) - len(table) // 2) / 64
    t = u[:, None] ** (2 * np.arange(TERMS))
    shares = [t @ c - u * (t @ d), t @ a - u * (t @ b), t @ e, t @ a + u * (t @ b), t @ c + u * (t @ d)]
    np.testing.assert_allclose(np.transpose(shares), table[:, SHARE : SHARE + TAPS], atol=atol)
    slopes = [u * (t @ a1) - t @ b1, u * (t @ e1), u * (t @ a1) + t @ b1]
    near = np.abs(u) < 0.7  # a derivative is less sure at the ends
    np.testing.assert_allclose(
        np.transpose(slopes)[near], table[near, SLOPE + 1 : SLOPE + 4], atol=100 * atol
    )


@given(seed=st.integers(0, 2**32 - 1), charge=st.floats(8, 40))
@settings(max_examples=60, deadline=None)
def test_lanes_fit_as_fitting_does(seed, charge):
    rng = np.random.default_rng(seed)
    u, v = rng.random(2) - 0.5
    table = response_table(0.4)
    down, across = (table[round(64 * place) + len(table) // 2, SHARE : SHARE + TAPS] for place in (u, v))
    z = rng.standard_normal((SIDE + 2 * MARGIN,) * 2).astype(np.float32)
    z[MARGIN + 2 : MARGIN + 7, MARGIN + 2 : MARGIN + 7] += (charge * np.outer(down, across)).astype(
        np.float32
    )
    best, own, expected_best, expected = both(z)
    assert best == pytest.approx(expected_best, abs=1e-3)
    np.testing.assert_allclose(own[[0, 1]], expected[:2], atol=0.03)  # the table's places are 1/64 apart
    np.testing.assert_allclose(own[[2, 3]], expected[2:], rtol=0.03)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_no_level_holds_near_ones_and_those_before_come_before(seed, n):
    rng = np.random.default_rng(seed)
    cells = np.sort(rng.permutation(24 * 24)[:n])
    at, order = np.c_[cells // 24, cells % 24].astype(np.int32), np.empty(n, np.int64)
    ends = by_level(at, np.arange(n), 24, order)
    level = np.empty(n, int)
    level[order] = np.repeat(np.arange(len(ends)), np.diff(np.r_[0, ends]))
    far = np.abs(at[:, None] - at[None]).max(axis=2)
    for k in range(n):
        before = np.flatnonzero(far[k, :k] <= NEAR)
        assert (level[before] < level[k]).all()
    assert sorted(order) == list(range(n))

"""Scores of events that are known."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.truth import isolated, match, score_electrons

TRUTH = np.array([[5.0, 5.0], [5.0, 6.0], [20.0, 20.0], [40.0, 40.0]])


def test_a_known_case():
    events = np.array([[5.0, 5.1], [20.3, 20.0], [30.0, 30.0]])
    found = score_electrons([(TRUTH, events)])
    assert found.everyone == 0.5
    assert found.isolated == 0.5
    assert found.false == 0.25
    assert found.ratio == 0.75
    np.testing.assert_allclose(found.rms, np.sqrt(0.3**2 / 2))
    np.testing.assert_array_equal(isolated(TRUTH), [False, False, True, True])


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32))
def test_pairs_are_one_to_one(n, m, seed):
    rng = np.random.default_rng(seed)
    pairs = match(10 * rng.random((n, 2)), 10 * rng.random((m, 2)))
    assert len(set(pairs[:, 0])) == len(pairs) == len(set(pairs[:, 1]))


def test_nothing_there():
    assert np.isnan(score_electrons([(np.zeros((0, 2)), np.zeros((0, 2)))]).everyone)
    assert isolated(np.zeros((1, 2))).all()

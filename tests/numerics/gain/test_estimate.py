from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from mrcz_dask.numerics.gain.estimate import PatternSum
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.numerics.sums import StackSum, sum_stack
from mrcz_dask.values.errors import ParameterError, SessionError

SHAPE = (8, 9)
NONE = np.zeros(SHAPE, bool)


def total(values: np.ndarray, n: int = 10) -> StackSum:
    return StackSum(values.astype(np.int32), 0, n)


def test_the_error_is_that_of_counting() -> None:
    """The gain times the truth is 1 within the counting noise; specimens add little."""
    params = named("standard", shape=(96, 96), stacks=16, frames=20, dose=1.5, seed=1, hot=(0.002, 0.002))
    session, found = simulate_session(params), PatternSum((96, 96))
    for stack in session:
        one = sum_stack(stack.frames)
        mask = outlier_mask(one)
        found.add(one, mask.mask, mask.mean)
    pattern = found.pattern()
    truth = np.mean([session.pattern(i) for i in range(len(session))], axis=0)
    left = (pattern.gain() * truth)[pattern.good]
    assert pattern.counts == pytest.approx(16 * 20 * 1.5, rel=0.05)
    assert 0.9 < left.std() / left.mean() / pattern.counting_error < 1.3
    assert not pattern.good[session.dead].any()


def test_sums_without_noise_give_the_gain_exactly() -> None:
    truth = np.linspace(0.5, 1.5, 72).reshape(SHAPE)
    found = PatternSum(SHAPE)
    for dose in (1000, 3000):
        found.add(total(np.rint(truth * dose)), NONE, dose)
    pattern = found.pattern()
    assert pattern.response == pytest.approx(truth / truth.mean(), rel=1e-2)
    assert pattern.stacks == 2
    assert pattern.response.mean() == pytest.approx(1)
    assert (pattern.gain() * pattern.response) == pytest.approx(1, rel=1e-6)


def test_the_order_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    members = [(total(rng.poisson(5, SHAPE)), rng.random(SHAPE) < 0.1, mean) for mean in (4.9, 5.1, 5.3)]
    found = set()
    for order in permutations(members):
        made = PatternSum(SHAPE)
        for one in order:
            made.add(*one)
        found.add(made.pattern().gain().tobytes())
    assert len(found) == 1


def test_zeros_and_persistent_outliers_are_defects() -> None:
    found = PatternSum(SHAPE)
    values, mask = np.full(SHAPE, 100), NONE.copy()
    values[0, 0], values[0, 1], values[0, 2] = 0, 5, 30000
    mask[0, 2] = True
    for k in range(4):
        often = mask.copy()
        often[1, 1] = k < 3
        often[1, 2] = k < 1
        found.add(total(values), often, 100)
    pattern = found.pattern()
    bad = {(0, 0), (0, 1), (0, 2), (1, 1)}
    assert {tuple(at) for at in np.argwhere(~pattern.good).tolist()} == bad
    assert (pattern.gain() == 0).sum() == len(bad)
    assert pattern.gain()[1, 2] == 1


def test_what_adds_nothing() -> None:
    found = PatternSum(SHAPE)
    found.add(total(np.zeros(SHAPE)), NONE, 0.0)
    found.add(total(np.zeros(SHAPE)), NONE, float("nan"))
    with pytest.raises(SessionError, match="0 stacks"):
        found.pattern()
    with pytest.raises(ParameterError, match="for a pattern"):
        found.add(total(np.zeros((3, 3))), NONE, 1.0)

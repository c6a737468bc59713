"""Correlated noise against the definition over all pairs, its laws and its bias."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import norm

from mrcz_dask.numerics.noise.correlation import CorrelationSum, correlated_noise
from mrcz_dask.values.errors import ParameterError

SEEDS = st.integers(0, 2**32 - 1)


def over_all_pairs(stack):
    """Eq. 7 as printed: the mean of the off-diagonal Pearson correlations."""
    matrix = np.corrcoef(stack.reshape(len(stack), -1).astype(np.float64))
    return matrix[np.triu_indices(len(stack), 1)].mean()


@given(
    seed=SEEDS,
    n=st.integers(2, 9),
    shape=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    dtype=st.sampled_from(["uint8", "int16", "float32", "float64", ">i2"]),
    shared=st.floats(0, 30),
)
def test_equals_the_definition(seed, n, shape, dtype, shared):
    rng = np.random.default_rng(seed)
    stack = (rng.normal(100, 10, (n, *shape)) + shared * rng.normal(size=shape)).clip(0, 255).astype(dtype)
    assume(all(frame.min() < frame.max() for frame in stack))

    assert correlated_noise(stack) == pytest.approx(over_all_pairs(stack), abs=1e-6)


@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, -math.inf, "constant", "constant .1"], ids=lambda v: str(v)
)
def test_constant_and_non_finite_frames_are_left_out(bad):
    stack = np.random.default_rng(1).normal(5, 1, (6, 8, 9))
    if isinstance(bad, str):
        stack[[0, 3]] = 0.1 if bad.endswith(".1") else 7
    else:
        stack[[0, 3], 2, 2] = bad

    total = CorrelationSum()
    for frame in stack:
        total.add(frame)

    assert total.n == 4
    assert total.value() == pytest.approx(over_all_pairs(stack[[1, 2, 4, 5]]), abs=1e-6)


@pytest.mark.parametrize("good", [0, 1])
def test_not_a_number_for_fewer_than_two_frames(good):
    stack = np.zeros((4, 5, 5))
    stack[:good] = np.arange(25).reshape(5, 5)

    assert math.isnan(correlated_noise(stack))


def test_equal_frames_correlate_fully_and_opposite_ones_at_the_lower_bound():
    frame = np.arange(20.0).reshape(4, 5)

    assert correlated_noise(np.stack([frame] * 5)) == pytest.approx(1)
    assert correlated_noise(np.stack([frame, -frame])) == pytest.approx(-1)


@given(seed=SEEDS, scale=st.floats(0.1, 100), offset=st.floats(-100, 100))
def test_scale_and_offset_of_a_frame_change_nothing(seed, scale, offset):
    stack = np.random.default_rng(seed).normal(size=(4, 6, 6))
    moved = stack.copy()
    moved[1] = scale * moved[1] + offset

    assert correlated_noise(moved) == pytest.approx(correlated_noise(stack), abs=1e-6)


def test_frames_one_by_one_are_the_same_bits_as_an_array():
    stack = np.random.default_rng(3).poisson(2, (5, 7, 7)).astype(np.uint8)

    assert correlated_noise(iter(stack)) == correlated_noise(stack)


def test_an_image_is_no_stack():
    with pytest.raises(ParameterError, match=r"\(4, 5\); expected three axes"):
        correlated_noise(np.zeros((4, 5)))


def test_a_fixed_pattern_gives_its_share_of_the_variance():
    rng = np.random.default_rng(4)
    pattern, n, dose = 1 + rng.normal(0, 0.2, (256, 256)), 20, 4.0
    stack = rng.poisson(dose * pattern, (n, 256, 256))

    expected = dose**2 * 0.04 / (dose + dose**2 * 0.04)
    assert abs(correlated_noise(stack) - expected) < 5 * expected * np.sqrt(2 / 256**2) + 5e-3 * expected


def masked_change_of_r(rng, n, threshold, held_out):
    """R of pure noise in which the pixels whose sum over the mask's frames is beyond t became the mean."""
    stack = rng.normal(size=(2 * n, 200, 200))
    seen, scored = stack[:n], stack[n:] if held_out else stack[:n]
    mask = seen.sum(axis=0) > threshold * math.sqrt(n)
    return correlated_noise(np.where(mask, 0, scored)) - correlated_noise(scored)


def test_a_mask_lowers_r_on_its_own_frames_and_not_on_others():
    n, t, repeats = 16, 2.5, 6
    rng = np.random.default_rng(5)
    seen = [masked_change_of_r(rng, n, t, held_out=False) for _ in range(repeats)]
    unseen = [masked_change_of_r(rng, n, t, held_out=True) for _ in range(repeats)]

    # The formula leaves out that single frames lose the share Q(t) of their variance: 12 % of it at 2.5.
    assert np.mean(seen) == pytest.approx(-(t * norm.pdf(t) + norm.sf(t)) / (n - 1), rel=0.2)
    # R of one stack of 200 x 200 pixels scatters by sqrt(2) / (200 n), its change by sqrt(2 Q) of that.
    error = math.sqrt(2) / (200 * n) * math.sqrt(2 * norm.sf(t) / repeats)
    assert abs(np.mean(unseen)) < 5 * error
    assert np.mean(seen) < -20 * error

"""R with its error: the same R as the definition, and errors that are the spread of second recordings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.noise.correlation import correlated_noise
from mrcz_dask.numerics.noise.error import BlockedCorrelation, Correlation
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.values.errors import ParameterError

SEEDS = st.integers(0, 2**32 - 1)
SHAPE = (128, 144)


def scored(frames) -> Correlation:
    total = BlockedCorrelation(frames.shape[1:])
    for frame in frames:
        total.add(frame)
    return total.result()


@given(
    seed=SEEDS,
    n=st.integers(2, 9),
    shape=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    dtype=st.sampled_from(["uint8", "int16", "float16", "float32", ">i2"]),
    shared=st.floats(0, 30),
)
def test_the_value_is_that_of_the_definition(seed, n, shape, dtype, shared):
    rng = np.random.default_rng(seed)
    stack = (rng.normal(100, 10, (n, *shape)) + shared * rng.normal(size=shape)).clip(0, 255).astype(dtype)

    found = scored(stack)

    assert found.value == pytest.approx(correlated_noise(stack), abs=1e-6)
    assert found.n == n
    assert math.isnan(found.error) == (n < 4 or found.halves.size < 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "constant"])
def test_frames_that_are_constant_or_not_finite_are_left_out(bad):
    stack = np.random.default_rng(1).normal(5, 1, (7, 24, 24))
    kept = stack[[1, 2, 4, 5, 6]].copy()
    if bad == "constant":
        stack[[0, 3]] = 7
    else:
        stack[[0, 3], 2, 2] = bad

    found, expected = scored(stack), scored(kept)

    assert (found.n, found.value, found.error) == (5, expected.value, expected.error)


@pytest.mark.parametrize("good", [0, 1])
def test_fewer_than_two_frames_say_nothing(good):
    stack = np.zeros((3, 16, 16))
    stack[:good] = np.arange(256).reshape(16, 16)

    assert math.isnan(scored(stack).value) and math.isnan(scored(stack).error)


def test_a_frame_of_another_shape_is_an_error():
    with pytest.raises(ParameterError, match=r"\(4, 5\); expected \(4, 4\)"):
        BlockedCorrelation((4, 4)).add(np.zeros((4, 5)))


def fixed_parts():
    rng = np.random.default_rng(1)
    yield "nothing", np.full(SHAPE, 3.0)
    yield "white pattern", 3 * (1 + 0.1 * rng.normal(size=SHAPE))
    yield "columns", 3 * (1 + 0.05 * rng.normal(size=(1, SHAPE[1]))) * np.ones((SHAPE[0], 1))
    yield "illumination", np.linspace(1, 6, SHAPE[1])[None] * np.ones((SHAPE[0], 1))
    hot = np.full(SHAPE, 3.0)
    hot.flat[rng.integers(0, hot.size, 400)] += 6
    yield "hot pixels", hot


@pytest.mark.parametrize("mean", [m for _, m in fixed_parts()], ids=[name for name, _ in fixed_parts()])
@pytest.mark.parametrize("n", [7, 16])
def test_errors_over_standard_errors_have_unit_spread(mean, n):
    """Second recordings of the same: their R scatters by as much as each of them says."""
    rng = np.random.default_rng(n)
    found = [scored(rng.poisson(mean, (n, *SHAPE)).astype(np.uint8)) for _ in range(80)]
    values, errors = np.array([[one.value, one.error] for one in found]).T

    z = (values - values.mean()) / errors

    assert 0.7 < z.std(ddof=1) < 1.3  # 80 of them know their spread to 8 %
    assert errors.std() < 0.2 * errors.mean()


def test_independent_frames_have_r_0_within_the_error():
    rng = np.random.default_rng(3)
    z = [(r := scored(rng.poisson(2, (12, *SHAPE)))).value / r.error for _ in range(60)]

    assert abs(np.mean(z)) < 3 / math.sqrt(60)
    assert 0.7 < np.std(z) < 1.3


def test_noise_of_neighboring_pixels_may_be_correlated():
    """A detector's point spread makes it so; errors from single pixels would be too small."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(80):
        frames = rng.normal(size=(9, *SHAPE))
        found.append(scored(frames + 0.5 * np.roll(frames, 1, 1) + 0.5 * np.roll(frames, 1, 2)))
    z = [one.value / one.error for one in found]

    assert 0.7 < np.std(z) < 1.3
    alone = math.sqrt(2 / (9 * 8 * math.prod(SHAPE)))
    assert np.mean([one.error for one in found]) > 1.2 * alone


def test_the_error_of_a_difference_is_that_of_the_difference():
    rng = np.random.default_rng(5)
    pattern = 0.1 * rng.normal(size=SHAPE)
    off, apart = 0.3 * pattern.astype(np.float32), []
    for _ in range(80):
        frames = (3 + pattern + rng.normal(size=(10, *SHAPE))).astype(np.float32)
        apart.append(scored(frames - off).less(scored(frames)))
    values, errors = np.array(apart).T

    assert 0.7 < values.std(ddof=1) / math.sqrt((errors**2).mean()) < 1.3
    assert errors.mean() < 0.5 * scored(frames).error
    same = scored(frames).less(scored(frames))
    assert same == (0, 0)


def test_scores_of_other_frames_have_no_difference():
    frames = np.random.default_rng(6).normal(size=(6, 32, 32))

    with pytest.raises(ParameterError, match="scores of 6 frames in 16 blocks and of 5"):
        scored(frames).less(scored(frames[:5]))


def test_a_recording_with_pattern_hot_pixels_and_a_drifting_specimen():
    """The same expected counts, frame by frame, recorded again and again."""
    params = named("standard", shape=(128, 128), frames=16, stacks=2, seed=4, hot=(0.0, 0.0))
    one = simulate_session(params).stack(1)
    rng = np.random.default_rng(7)
    specimen = 0.2 * rng.normal(size=(160, 160))
    moving = np.stack([np.roll(specimen, k, 1)[:128, :128] for k in range(16)])
    expected = (one.truth.expected_sum / 16 * (1 + moving)).clip(0)

    found = [scored(rng.poisson(expected).astype(np.uint8)) for _ in range(60)]
    values, errors = np.array([[r.value, r.error] for r in found]).T

    assert 0.7 < values.std(ddof=1) / math.sqrt((errors**2).mean()) < 1.3

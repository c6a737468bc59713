from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import special, stats

from mrcz_dask.numerics.outliers.filling import POINT_SPREAD, Replacement, fill_values, poisson
from mrcz_dask.numerics.outliers.weights import near_another
from mrcz_dask.values.errors import OutlierError

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20))


def plain(
    image: NDArray[np.float32], mask: NDArray[np.bool_], near: NDArray[np.bool_], y: int, x: int
) -> float:
    """The definition, one pixel at a time."""
    for radius in (2, 4, 8):
        kernel = POINT_SPREAD if radius == 2 and not near[y, x] else np.ones((2 * radius + 1,) * 2)
        total = weight = 0.0
        for j in range(max(0, y - radius), min(image.shape[0], y + radius + 1)):
            for i in range(max(0, x - radius), min(image.shape[1], x + radius + 1)):
                share = kernel[j - y + radius, i - x + radius] * (not mask[j, i]) * ((j, i) != (y, x))
                total, weight = total + share * image[j, i], weight + share
        if weight:
            return total / weight
    return float(image[~mask].mean(dtype=np.float64))


@settings(max_examples=30, deadline=None)
@given(MASKS, st.randoms(use_true_random=False))
def test_fills_are_as_defined(mask: NDArray[np.bool_], random: np.random.Generator) -> None:
    image = np.random.default_rng(random.randint(0, 99)).normal(5, 1, mask.shape).astype(np.float32)  # type: ignore[attr-defined]
    mask.flat[0] = False
    near = near_another(mask, 2)
    filled = fill_values(image, mask, near)
    assert filled.dtype == np.float32 and np.array_equal(filled[~mask], image[~mask])
    for y, x in np.argwhere(mask):
        assert filled[y, x] == pytest.approx(plain(image, mask, near, y, x), rel=1e-6)


@settings(deadline=None)
@given(MASKS)
def test_an_even_image_stays_even(mask: NDArray[np.bool_]) -> None:
    mask.flat[-1] = False
    image = np.where(mask, np.nan, 3).astype(np.float32)
    assert np.allclose(fill_values(image, mask, near_another(mask, 2)), 3)


def test_pixels_that_are_asked_for_need_not_be_outliers() -> None:
    image = np.arange(49, dtype=np.float32).reshape(7, 7) ** 2
    mask = np.zeros((7, 7), bool)
    mask[3, 4] = True
    where = mask.copy()
    where[3, 3] = True
    filled = fill_values(image, mask, np.zeros_like(mask), where=where)
    assert filled[3, 3] == pytest.approx(plain(image, mask, np.zeros_like(mask), 3, 3))
    assert np.array_equal(filled != image, where)


def test_the_point_spread_is_normalized_and_symmetric() -> None:
    kernel = POINT_SPREAD
    assert kernel.sum() == pytest.approx(1) and kernel[2, 2] == 0
    assert kernel[2, 1] == pytest.approx(0.173 / 1.336)
    assert np.array_equal(kernel, kernel.T) and np.array_equal(kernel, kernel[::-1, ::-1])


def test_nothing_to_fill_from_is_an_error() -> None:
    mask = np.ones((4, 4), bool)
    with pytest.raises(OutlierError, match="every pixel"):
        fill_values(np.ones((4, 4), np.float32), mask, mask)


SHAPE = (40, 50)


def replacement(weight, fill, key=7):
    return Replacement.make(np.full(SHAPE, weight, np.uint8), np.full(SHAPE, fill, np.float32), key)


@given(
    mean=st.one_of(st.floats(1e-6, 50), st.floats(50, 1e4)),
    u=st.floats(2**-53, 1 - 2**-53, exclude_min=False),
)
def test_quantiles_are_those_of_scipy(mean, u):
    assert poisson(np.array([mean]), np.array([u]))[0] == stats.poisson.ppf(u, mean)


def test_quantiles_change_at_the_steps_of_the_distribution():
    mean = np.full(12, 2.5)
    steps = stats.poisson.cdf(np.arange(12), 2.5)

    assert poisson(mean, steps * (1 - 1e-12)).tolist() == list(range(12))
    assert poisson(mean, steps * (1 + 1e-12)).tolist() == list(range(1, 13))


@given(mean=st.floats(0.01, 100), k=st.integers(0, 30))
def test_a_quantile_is_the_smallest_count_that_reaches_it(mean, k):
    reached = special.pdtr(k, mean)

    if 0 < reached < 1:
        assert special.pdtr(poisson(np.array([mean]), np.array([reached])), mean)[0] == reached


@pytest.mark.parametrize("mean", [0.0, -1.0, 5e-324, 1e-300])
def test_no_mean_no_counts(mean):
    assert poisson(np.full(3, mean), np.array([1e-9, 0.5, 1 - 1e-9])).tolist() == [0, 0, 0]


def test_good_pixels_stay():
    frame = np.random.default_rng(1).poisson(9, SHAPE).astype(np.uint8)

    assert (replacement(255, 3.0).apply(frame, 0) == frame).all()


@pytest.mark.parametrize("weight", [0, 1, 64, 128, 254])
def test_a_pixel_is_kept_with_the_probability_of_its_weight(weight):
    frame = np.full(SHAPE, 200, np.uint8)
    one = replacement(weight, 1.0)

    kept = np.mean([one.apply(frame, k) == 200 for k in range(20)])

    p, n = weight / 255, 20 * frame.size
    assert abs(kept - p) <= 5 * np.sqrt(p * (1 - p) / n)


def test_what_replaces_is_poisson_round_the_fill():
    frame = np.full(SHAPE, 200, np.uint8)
    one = replacement(0, 2.5)

    drawn = np.stack([one.apply(frame, k) for k in range(20)])

    expected = drawn.size * stats.poisson.pmf(np.arange(9), 2.5)
    found = np.bincount(drawn.ravel(), minlength=9)[:9]
    assert ((found - expected) ** 2 / expected).sum() < 9 + 5 * np.sqrt(2 * 9)


def test_keeping_and_drawing_are_independent():
    """Were both from one number, what is drawn would be cut to a part of the distribution."""
    frame = np.full(SHAPE, 200, np.uint8)
    one = replacement(200, 4.0)

    drawn = np.concatenate([f[f < 200] for f in (one.apply(frame, k) for k in range(20))])

    assert abs(drawn.mean() - 4) < 5 * 2 / np.sqrt(drawn.size)


@pytest.mark.parametrize(
    ("dtype", "largest"), [("uint8", 255), ("int8", 127), (">i2", 32767), ("uint16", 65535)]
)
def test_draws_stay_within_the_type(dtype, largest):
    frame = np.zeros(SHAPE, dtype)

    out = replacement(0, 1e6).apply(frame, 0)

    assert out.dtype == frame.dtype
    assert (out == largest).all()


def test_a_negative_fill_draws_nothing():
    assert (replacement(0, -3.0).apply(np.full(SHAPE, 9, np.int16), 0) == 0).all()


def test_the_frame_that_came_in_is_not_touched():
    frame = np.full(SHAPE, 9, np.uint8)

    replacement(0, 3.0).apply(frame, 0)

    assert (frame == 9).all()


def test_draws_depend_on_key_frame_and_pixel_alone():
    frame = np.full(SHAPE, 200, np.uint8)
    everywhere = replacement(0, 3.0).apply(frame, 4)
    weight = np.full(SHAPE, 255, np.uint8)
    weight[7, 9] = 0

    alone = Replacement.make(weight, np.full(SHAPE, 3.0, np.float32), 7).apply(frame, 4)

    assert alone[7, 9] == everywhere[7, 9]
    assert (replacement(0, 3.0).apply(frame, 4) == everywhere).all()
    assert (replacement(0, 3.0).apply(frame, 5) != everywhere).any()
    assert (replacement(0, 3.0, key=8).apply(frame, 4) != everywhere).any()

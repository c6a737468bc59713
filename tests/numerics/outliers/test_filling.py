from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mrcz_dask.numerics.outliers.filling import POINT_SPREAD, fill_values
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


def test_the_point_spread_is_normalised_and_symmetric() -> None:
    kernel = POINT_SPREAD
    assert kernel.sum() == pytest.approx(1) and kernel[2, 2] == 0
    assert kernel[2, 1] == pytest.approx(0.173 / 1.336)
    assert np.array_equal(kernel, kernel.T) and np.array_equal(kernel, kernel[::-1, ::-1])


def test_nothing_to_fill_from_is_an_error() -> None:
    mask = np.ones((4, 4), bool)
    with pytest.raises(OutlierError, match="every pixel"):
        fill_values(np.ones((4, 4), np.float32), mask, mask)

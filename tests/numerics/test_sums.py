from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mrcz_dask.numerics.sums import FrameSum, common_exponent, sum_stack
from mrcz_dask.values.errors import DtypeError, ParameterError

INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64]
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)


def integer_stacks(dtype: type) -> st.SearchStrategy[NDArray[Any]]:
    least, most = max(int(np.iinfo(dtype).min), -(2**60)), min(int(np.iinfo(dtype).max), 2**60)
    return hnp.arrays(dtype, SHAPES, elements=st.integers(least, most))


INTEGER_STACKS = st.sampled_from(INTEGERS).flatmap(integer_stacks)
FLOAT_STACKS = hnp.arrays(np.float32, SHAPES, elements=st.floats(-1e6, 1e6, width=32))


@settings(deadline=None)
@given(INTEGER_STACKS)
def test_integers_are_summed_exactly(stack: NDArray[Any]) -> None:
    found = sum_stack(stack)
    assert found.values.dtype.kind == "i"
    assert found.exponent == 0 and found.n == len(stack) and found.nonfinite is None
    assert np.array_equal(found.values.astype(object), stack.astype(object).sum(axis=0))


@settings(deadline=None)
@given(st.one_of(INTEGER_STACKS, FLOAT_STACKS), st.randoms(use_true_random=False))
def test_order_changes_nothing(stack: NDArray[Any], random: Any) -> None:
    order = list(range(len(stack)))
    random.shuffle(order)
    one, other = sum_stack(stack), sum_stack([stack[i] for i in order])
    assert one.values.dtype == other.values.dtype and one.exponent == other.exponent
    assert np.array_equal(one.values, other.values)


@settings(deadline=None)
@given(FLOAT_STACKS)
def test_floats_are_rounded_once_to_a_power_of_two(stack: NDArray[np.float32]) -> None:
    found = sum_stack(stack)
    step = 2.0**-found.exponent
    assert np.abs(found.total() - stack.astype(np.float64).sum(axis=0)).max() <= len(stack) * step / 2 + 1e-12
    largest = len(stack) * float(np.abs(stack).max())
    assert found.exponent == 0 or largest < step * 2**40 * (1 + 2e-12)
    assert found.exponent in (0, 1) or largest > step * 2**39


@settings(deadline=None)
@given(FLOAT_STACKS, st.integers(-20, 20))
def test_a_power_of_two_only_moves_the_exponent(stack: NDArray[np.float32], power: int) -> None:
    stack = np.round(stack * 8) / 8 + np.float32(0.125)
    one, other = sum_stack(stack), sum_stack(np.ldexp(stack, power).astype(np.float32))
    assert np.array_equal(one.total() * 2.0**power, other.total())


@settings(deadline=None)
@given(
    hnp.arrays(np.int16, SHAPES, elements=st.integers(-2000, 2000)), st.sampled_from([np.float16, np.float32])
)
def test_floats_that_hold_integers_are_counts(stack: NDArray[np.int16], dtype: type) -> None:
    one, other = sum_stack(stack), sum_stack(stack.astype(dtype))
    assert other.is_counts and np.array_equal(one.values, other.values)


def test_the_type_is_the_narrowest_that_cannot_overflow() -> None:
    frame = np.full((2, 2), 255, np.uint8)
    assert sum_stack([frame] * 128).values.dtype == np.int16
    assert sum_stack([frame] * 129).values.dtype == np.int32
    assert sum_stack([frame.astype(np.uint32)]).values.dtype == np.int64


def test_non_finite_pixels_of_any_frame_are_marked() -> None:
    stack = np.ones((3, 2, 2), np.float32)
    stack[1, 0, 1], stack[2, 1, 0] = np.nan, -np.inf
    found = sum_stack(stack)
    assert found.nonfinite is not None
    assert found.nonfinite.tolist() == [[False, True], [True, False]]
    assert found.total()[0, 0] == 3


def test_an_image_is_one_frame_and_bands_do_not_show() -> None:
    image = np.random.default_rng(0).normal(3, 1, (300, 1001)).astype(np.float32)
    image[299, 1000] = np.nan
    found = sum_stack(image)
    assert found.n == 1 and found.shape == image.shape
    assert found.nonfinite is not None and found.nonfinite.sum() == 1
    assert np.allclose(found.total()[:299], image[:299], rtol=0, atol=1e-9)


def test_a_sum_of_non_integers_never_looks_like_counts() -> None:
    assert common_exponent([np.array([[2.0**40 - 0.5]])]) == 1
    assert common_exponent([np.array([[2.0**43]])]) == 0
    assert common_exponent([np.array([[2.0**60]])]) < 0


@pytest.mark.parametrize("dtype", [np.complex64, np.bool_])
def test_types_that_are_no_counts_are_refused(dtype: type) -> None:
    with pytest.raises(DtypeError, match="cast"):
        sum_stack(np.ones((2, 2), dtype))


def test_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ParameterError, match="no frames"):
        sum_stack([])
    with pytest.raises(ParameterError, match="expected"):
        sum_stack(np.ones(5))
    with pytest.raises(ParameterError, match="one shape"):
        sum_stack([np.ones((2, 2), np.int8), np.ones((2, 3), np.int8)])
    with pytest.raises(ParameterError, match="one shape"):
        sum_stack([np.ones((2, 2), np.int8), np.ones((2, 2), np.int16)])
    with pytest.raises(ParameterError, match="exponent"):
        FrameSum((2, 2), np.float32)
    with pytest.raises(DtypeError, match="2\\*\\*63"):
        sum_stack(np.full((2, 1, 1), 2**62, np.int64))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_an_array_that_is_not_numpys_gives_the_same_sum(dtype):
    stack = np.random.default_rng(0).poisson(3, (5, 8, 9)).astype(dtype)

    class Lazy:
        shape = stack.shape

        def __getitem__(self, k):
            return stack[k]

    assert (sum_stack(Lazy()).values == sum_stack(stack).values).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_no_frame_of_an_iterator_is_lost(dtype: str) -> None:
    stack = np.random.default_rng(0).poisson(3, (5, 8, 9)).astype(dtype)
    assert (sum_stack(frame for frame in stack).values == sum_stack(stack).values).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", ">i2", "float32"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_even_and_odd_frames_together_are_all_frames(dtype: str, n: int) -> None:
    stack = np.random.default_rng(3).integers(0, 100, (n, 5, 7)).astype(dtype)
    if dtype == "float32":
        stack[0, 1, 2] = np.nan
    exponent = common_exponent(stack) if dtype == "float32" else None
    parts = [FrameSum((5, 7), dtype, exponent) for _ in range(2)]
    for k, frame in enumerate(stack):
        parts[k % 2].add(frame)

    found, expected = parts[0].result_with(parts[1]), sum_stack(stack)

    assert found.values.dtype == expected.values.dtype
    assert (found.values == expected.values).all()
    assert (found.n, found.exponent) == (expected.n, expected.exponent)
    if dtype == "float32":
        assert found.nonfinite is not None
        assert found.nonfinite.sum() == 1


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_the_moments_of_a_frame_come_with_its_sum(dtype: str) -> None:
    info = np.iinfo(dtype)
    frame = np.random.default_rng(4).integers(info.min, info.max, (200, 301), endpoint=True).astype(dtype)

    found = FrameSum(frame.shape, dtype).add(frame)

    exact = frame.astype(object)
    assert found == (exact.min(), exact.max(), exact.sum(), (exact**2).sum())
    assert FrameSum(frame.shape, "int32").add(frame.astype(np.int32)) is None


@pytest.mark.parametrize("absurd", [1e20, -1e20, 3e38, -3e38, 1e15, np.inf])
@pytest.mark.parametrize("whole", [True, False])
def test_a_value_that_cannot_be_a_count_takes_nothing_from_the_others(absurd: float, whole: bool) -> None:
    stack = np.random.default_rng(5).poisson(1.0, (8, 48, 56)).astype(np.float32)
    stack *= 1 if whole else np.float32(0.9)
    expected = sum_stack(stack)
    stack[2, 20, 30] = absurd
    found = sum_stack(stack)
    assert found.exponent == expected.exponent
    assert found.nonfinite is not None and np.argwhere(found.nonfinite).tolist() == [[20, 30]]
    assert (found.values == expected.values)[~found.nonfinite].all()


def test_a_frame_of_absurd_values_leaves_no_pixel_and_the_step_of_the_others() -> None:
    stack = np.random.default_rng(5).poisson(1.0, (8, 48, 56)).astype(np.float32) / 3
    exponent = common_exponent(stack)
    stack[4] = 1e25
    assert common_exponent(stack) == exponent
    bad = sum_stack(stack).nonfinite
    assert bad is not None and bad.all()


def test_a_denormal_does_not_turn_counts_into_fractions() -> None:
    stack = np.random.default_rng(5).poisson(1.0, (8, 48, 56)).astype(np.float32)
    stack[2, 20, 30] = 1e-40
    assert sum_stack(stack).is_counts
    assert sum_stack(stack * np.float32(1e-40)).exponent == 0

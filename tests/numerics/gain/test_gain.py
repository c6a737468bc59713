from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mrcz_dask.numerics.gain.gain import (
    K2,
    Gain,
    GammaCurve,
    as_multiplier,
    fit_dark,
    fit_gain,
    fit_mask,
    size_factor,
)
from mrcz_dask.values.errors import ParameterError

SHAPE = (12, 17)
RNG = np.random.default_rng(0)
KINDS = ["u1", "i1", "i2", ">u2", "u2", "i4", "f2", "f4", ">f4", "f8"]


def some_gain() -> np.ndarray:
    return RNG.uniform(0.5, 2, SHAPE).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_dark", [False, True])
def test_the_kernel_is_its_numpy_twin(kind: str, with_dark: bool) -> None:
    frame = RNG.integers(0, 100, SHAPE).astype(kind)
    image, dark = some_gain(), RNG.normal(0, 1, SHAPE).astype(np.float32)
    gain = Gain.of(image, dark=dark if with_dark else None)
    twin = frame.astype(np.float32)
    twin = (twin - dark if with_dark else twin) * image
    assert np.array_equal(gain.apply(frame), twin)
    out = np.empty(SHAPE, np.float32)
    assert gain.apply(frame, out) is out
    assert np.array_equal(out, twin)


@given(arrays(np.float32, (3, 4), elements=st.floats(width=32)))
def test_gain_one_and_dark_zero_change_no_bit(frame: np.ndarray) -> None:
    plain = Gain.of(np.ones((3, 4)), dark=np.zeros((3, 4)))
    for gain in (plain, plain.at(1.0), plain.at(1.3), Gain.of(np.ones((3, 4)))):
        found = gain.apply(frame)
        assert np.array_equal(found, frame, equal_nan=True)
        assert np.array_equal(np.signbit(found), np.signbit(frame)) or np.isnan(frame).any()


def test_what_is_no_gain_is_a_defect() -> None:
    image, dark = some_gain(), np.zeros(SHAPE, np.float32)
    image[0, :4] = 0, -1, np.nan, np.inf
    dark[1, 0] = np.nan
    listed = np.zeros(SHAPE, bool)
    listed[2, 2] = True
    gain = Gain.of(image, dark=dark, defects=[listed])
    expected = np.zeros(SHAPE, bool)
    expected[0, :4] = expected[1, 0] = expected[2, 2] = True
    assert np.array_equal(gain.bad, expected)
    assert (gain.image[expected] == 1).all()
    assert np.isfinite(gain.apply(np.ones(SHAPE, np.uint8))).all()
    assert np.isnan(image[0, 2])  # what was given is left alone


@given(st.floats(0, 3))
def test_the_power_is_taken_in_double(gamma: float) -> None:
    gain = Gain.of(some_gain())
    assert np.array_equal(gain.at(gamma).image, (gain.image.astype(np.float64) ** gamma).astype(np.float32))
    assert gain.at(1) is gain


def test_a_power_that_leaves_float32_is_refused() -> None:
    gain = Gain.of(np.full(SHAPE, 1e-30, np.float32))
    for gamma in (2.0, math.nan):
        with pytest.raises(ParameterError, match="gamma"):
            gain.at(gamma)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ParameterError, match="12 x 17"):
        Gain.of(some_gain(), dark=np.zeros((3, 3)))
    with pytest.raises(ParameterError, match="3 x 3"):
        Gain.of(some_gain()).apply(np.zeros((3, 3)))
    with pytest.raises(ParameterError, match="expected one shape"):
        Gain(some_gain(), np.zeros((3, 3), bool))


def test_a_flat_field_is_divided_by_over_its_mean() -> None:
    flat = some_gain() * 1000
    flat[0, 0] = 0
    multiplier = as_multiplier(flat, divide=True)
    assert multiplier[0, 0] == 0
    corrected = (flat * multiplier)[flat > 0]
    assert corrected == pytest.approx(flat[flat > 0].mean(), rel=1e-5)
    assert np.array_equal(as_multiplier(flat), flat)


@given(st.floats(0.01, 100))
def test_eq_11_is_clamped_to_the_calibrated_rates(rate: float) -> None:
    clamped = min(max(rate, 0.25), 9.0)
    assert K2.at(rate) == pytest.approx(0.12 * clamped**-1.04 - 0.0336 * clamped + 1.04)


def test_the_papers_gamma() -> None:
    assert K2.at(1.0) == pytest.approx(0.12 - 0.0336 + 1.04)
    with pytest.raises(ParameterError, match="dose rate"):
        K2.at(0.0)
    with pytest.raises(ParameterError, match="gamma curve"):
        GammaCurve(math.nan, 0, 0, 0)


@pytest.mark.parametrize("factor", [2, 4])
def test_super_resolution_frames_and_sums_of_them_agree(factor: int) -> None:
    """What a large gain and dark do to large frames, block sums of them do to sums of frames."""
    large = (SHAPE[0] * factor, SHAPE[1] * factor)
    response = RNG.uniform(0.8, 1.2, large)
    dark = RNG.uniform(0, 1, large).astype(np.float32)
    blocks = (SHAPE[0], factor, SHAPE[1], factor)
    summed = (response * 100 + dark).reshape(blocks).sum(axis=(1, 3))
    gain = Gain.of(fit_gain((1 / response).astype(np.float32), SHAPE), dark=fit_dark(dark, SHAPE))
    assert gain.apply(summed) == pytest.approx(100 * factor**2, rel=1e-5)
    assert fit_dark(fit_dark(dark, SHAPE), large).sum() == pytest.approx(dark.sum(), rel=1e-5)


@pytest.mark.parametrize("factor", [2, 4])
def test_a_small_gain_is_repeated(factor: int) -> None:
    image = some_gain()
    image[0, 0] = 0
    large = (SHAPE[0] * factor, SHAPE[1] * factor)
    repeated = fit_gain(image, large)
    assert np.array_equal(repeated, np.kron(image, np.ones((factor, factor), np.float32)))
    assert fit_gain(repeated, SHAPE) == pytest.approx(image, rel=1e-6)
    mask = image == 0
    assert np.array_equal(fit_mask(fit_mask(mask, large), SHAPE), mask)
    one = np.zeros(large, bool)
    one[1, 1] = True
    assert np.array_equal(np.argwhere(fit_mask(one, SHAPE)), [[0, 0]])


def test_a_defect_in_a_block_is_a_defect() -> None:
    image = np.ones((4, 4), np.float32)
    image[0, 1] = 0
    assert fit_gain(image, (2, 2))[0].tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(17, 12), (24, 17), (36, 51), (12, 34)])
def test_other_sizes_are_refused_by_both_shapes(shape: tuple[int, int]) -> None:
    assert size_factor(SHAPE, shape) is None
    for fit, image in ((fit_gain, some_gain()), (fit_dark, some_gain()), (fit_mask, some_gain() > 1)):
        with pytest.raises(ParameterError, match=f"12 x 17.*{shape[0]} x {shape[1]}"):
            fit(image, shape)  # type: ignore[operator]

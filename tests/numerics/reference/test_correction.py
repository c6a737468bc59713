"""What is done to each frame, as the store keeps it: formula, steps, bounds, bad pixels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcz_dask.numerics.outliers.filling import fill_values
from mrcz_dask.numerics.outliers.weights import byte_weight, is_masked
from mrcz_dask.numerics.reference.correction import (
    FINENESS,
    INT16,
    make_correction,
    pattern_step,
)
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.values.errors import ParameterError

SHAPE = (12, 14)
FORMS = ("subtract", "subtract-raw", "divide")
FORM = st.sampled_from(FORMS)


def example(seed=1, form="subtract", std=0.05):
    rng = np.random.default_rng(seed)
    pattern = rng.normal(0, std, SHAPE).astype(np.float32)
    weight = np.full(SHAPE, 255, np.uint8)
    weight[2, 3], weight[2, 4], weight[8, 8], weight[0, 0] = 0, 100, 127, 200
    near = np.zeros(SHAPE, bool)
    near[2, 3:5] = True
    mean = rng.normal(3, 0.1, SHAPE)
    return make_correction(form, pattern, MeanImage(mean), weight, near), pattern, mean, weight, near


def taken_off(frame, pattern, form):
    return frame / np.maximum(0.1, 1 + pattern) if form == "divide" else frame - pattern


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "float32", "float64"])
def test_apply_is_the_formula_of_order_and_filling(form, dtype):
    correction, _, mean, weight, near = example(form=form)
    frame = np.random.default_rng(2).poisson(3, SHAPE).astype(dtype)
    pattern = correction.pattern * correction.step
    fill = fill_values(taken_off(mean, pattern, form), weight < 128, near, where=weight < 255)

    out = correction.ready().apply(frame)

    w = weight / 255
    assert out.dtype == np.float32
    assert out == pytest.approx(w * taken_off(frame.astype(float), pattern, form) + (1 - w) * fill, abs=2e-6)


@given(seed=st.integers(0, 999), scale=st.floats(1e-6, 1e6), form=FORM, heavy=st.booleans())
def test_the_pattern_in_steps_is_within_half_a_step(seed, scale, form, heavy):
    rng = np.random.default_rng(seed)
    pattern = (scale * (rng.standard_t(1.2, SHAPE) if heavy else rng.normal(size=SHAPE))).astype(np.float32)
    good = np.full(SHAPE, 255, np.uint8)

    correction = make_correction(form, pattern, MeanImage(np.ones(SHAPE)), good, good < 255)

    kept = correction.pattern.astype(np.float64) * correction.step
    assert np.abs(kept - pattern).max() <= correction.step / 2
    assert math.frexp(correction.step)[0] == 0.5


@given(seed=st.integers(0, 999), scale=st.floats(1e-6, 1e6))
def test_the_step_is_a_fine_fraction_of_the_pattern(seed, scale):
    pattern = np.random.default_rng(seed).normal(0, scale, SHAPE).astype(np.float32)

    fine = pattern.std(dtype=np.float64) / FINENESS
    assert fine / 2 < pattern_step(pattern)[0] <= fine


@given(
    pattern=hnp.arrays(
        np.float32, (3, 4), elements=st.floats(-(2**60), 2**60, width=32, allow_subnormal=False)
    )
)
def test_any_pattern_has_a_step_that_holds_it(pattern):
    step, _ = pattern_step(pattern)

    assert np.abs(np.rint(pattern / np.float32(step))).max() <= INT16


@pytest.mark.parametrize("largest", [500.0, 3e5])
def test_the_step_is_fine_against_the_noise_of_a_frame(largest):
    rng = np.random.default_rng(4)
    pattern = rng.normal(0, largest / 4, SHAPE).astype(np.float32)
    pattern[0, 0] = largest
    good = np.full(SHAPE, 255, np.uint8)
    made = make_correction("subtract", pattern, MeanImage(np.ones(SHAPE)), good, good < 255, noise=0.93)
    assert made.pattern.dtype == (np.int16 if largest < 1000 else np.int32)
    left = pattern + made.ready().apply(np.zeros(SHAPE))
    assert np.abs(left).max() <= 0.93 / 64 + largest * 2.0**-24


@pytest.mark.parametrize("value", [0.0, 0.3, -7.0])
def test_a_constant_pattern_can_be_kept(value):
    correction = make_correction(
        "subtract",
        np.full(SHAPE, value, np.float32),
        MeanImage(np.ones(SHAPE)),
        np.full(SHAPE, 255, np.uint8),
        np.zeros(SHAPE, bool),
    )

    assert correction.ready().apply(np.zeros(SHAPE)) == pytest.approx(np.full(SHAPE, -value), rel=1e-4)


def test_nothing_to_do_leaves_counts_as_they_are():
    good = np.full(SHAPE, 255, np.uint8)
    correction = make_correction("subtract", None, MeanImage(np.ones(SHAPE)), good, good < 255)
    frame = np.random.default_rng(3).poisson(3, SHAPE).astype(np.uint8)

    assert (correction.ready().apply(frame) == frame).all()


def test_the_divisor_has_a_floor():
    pattern = np.linspace(-3, 1, 168, dtype=np.float32).reshape(SHAPE)
    good = np.full(SHAPE, 255, np.uint8)
    ready = make_correction("divide", pattern, MeanImage(np.ones(SHAPE)), good, good < 255).ready()

    out = ready.apply(np.ones(SHAPE))

    assert out.max() == pytest.approx(10)
    assert (out > 0).all()
    assert (out[pattern < -0.91] == out.max()).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_pixels_of_no_weight_are_filled_whatever_they_hold(form, value):
    correction, _, _, weight, _ = example(form=form)
    frame = np.full(SHAPE, 3, np.float32)
    clean = correction.ready().apply(frame)
    frame[weight == 0] = value

    out = correction.ready().apply(frame)

    assert np.isfinite(out).all()
    assert out.tobytes() == clean.tobytes()


@given(
    form=FORM,
    seed=st.integers(0, 99),
    std=st.floats(1e-3, 3),
    ends=st.tuples(st.integers(-300, 300), st.integers(-300, 300)),
)
def test_largest_is_a_bound(form, seed, std, ends):
    low, high = sorted(ends)
    correction = example(seed, form, std)[0]
    rng = np.random.default_rng(seed)
    frames = [np.full(SHAPE, low), np.full(SHAPE, high), rng.integers(low, high + 1, SHAPE)]
    ready = correction.ready()

    bound = ready.largest(low, high)

    assert max(float(np.abs(ready.apply(f)).max()) for f in frames) <= bound * (1 + 1e-6)


def test_a_bound_is_not_wasteful():
    correction, pattern, *_ = example()

    assert correction.ready().largest(0, 9) == pytest.approx(9 + np.abs(pattern).max(), rel=1e-2)


@given(weight=st.floats(0, 1, width=32))
def test_weights_in_255ths_mask_the_same_pixels(weight):
    stored = byte_weight(np.array([[weight]], np.float32))

    assert is_masked(stored)[0, 0] == (np.float32(weight) < np.float32(0.5))
    assert abs(stored[0, 0] / 255 - weight) <= 0.5 / 255 + 1e-6


def test_weights_next_to_one_half():
    half = np.float32(0.5)
    weights = np.array([[np.nextafter(half, np.float32(0)), half, np.nextafter(half, np.float32(1))]])

    assert is_masked(byte_weight(weights)).tolist() == [[True, False, False]]


def test_the_fill_is_of_the_corrected_mean_and_the_same_in_each_frame():
    rng = np.random.default_rng(5)
    pattern = rng.normal(0, 1, SHAPE).astype(np.float32)
    weight = np.full(SHAPE, 255, np.uint8)
    weight[5, 5] = 0
    flat = np.full(SHAPE, 7.0)

    correction = make_correction("subtract", pattern, MeanImage(flat + pattern), weight, weight == 1)
    ready = correction.ready()

    assert ready.apply(rng.poisson(9, SHAPE))[5, 5] == pytest.approx(7, abs=2 * correction.step)
    assert ready.apply(rng.poisson(9, SHAPE))[5, 5] == ready.apply(np.zeros(SHAPE))[5, 5]


def test_corrected_twice_is_the_same_bits():
    frame = np.random.default_rng(6).poisson(3, SHAPE).astype(np.uint8)

    assert example()[0].ready().apply(frame).tobytes() == example()[0].ready().apply(frame.copy()).tobytes()


def scaled_example(seed=1):
    rng = np.random.default_rng(seed)
    factor = rng.uniform(0.5, 1.99, SHAPE).astype(np.float32)
    _, pattern, mean, weight, near = example(seed)
    return make_correction("subtract", pattern, MeanImage(mean), weight, near, factor), mean, weight, near


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_scale_comes_before_the_pattern_and_the_fill_after_both(dtype):
    correction, mean, weight, near = scaled_example()
    frame = np.random.default_rng(2).poisson(3, SHAPE).astype(dtype)
    pattern, factor = correction.pattern * correction.step, correction.factor()
    fill = fill_values(mean * factor - pattern, weight < 128, near, where=weight < 255)

    out = correction.ready().apply(frame)

    w = weight / 255
    expected = w * (frame.astype(float) * factor - pattern) + (1 - w) * fill
    assert out == pytest.approx(expected, abs=4e-6)
    assert abs(out).max() <= correction.ready().largest(frame.min(), frame.max())


def test_some_rows_of_a_scaled_correction_are_those_of_the_whole():
    correction, *_ = scaled_example(3)
    frame = np.random.default_rng(4).poisson(3, SHAPE).astype(np.uint8)
    rows = np.array([0, 2, 8])

    assert np.array_equal(
        correction.take_rows(rows).ready().apply(frame[rows]), correction.ready().apply(frame)[rows]
    )


def test_scaled_and_rounded_is_within_a_step_of_what_is_applied():
    ready = scaled_example(5)[0].ready()
    frame = np.random.default_rng(6).poisson(3, SHAPE).astype(np.uint8)

    steps, _ = ready.apply_rounded(frame, 2.0**-4, 7, 0)

    assert abs(steps * 2.0**-4 - ready.apply(frame)).max() < 2.0**-4


def test_divide_takes_no_scale():
    _, pattern, mean, weight, near = example()
    with pytest.raises(ParameterError, match="expected subtract"):
        make_correction("divide", pattern, MeanImage(mean), weight, near, np.ones(SHAPE, np.float32))


@given(factor=st.floats(0, 20), form=FORM)
def test_a_frame_of_another_dose_is_corrected_in_proportion(factor, form):
    ready = example(form=form)[0].ready()
    frame = np.random.default_rng(4).poisson(3, SHAPE).astype(np.float32)
    other = ready.at_dose(factor).apply(np.float32(factor) * frame)
    same = np.ones(SHAPE, bool) if form != "subtract-raw" else ready.correction.weight == 0
    assert other[same] == pytest.approx(factor * ready.apply(frame)[same], rel=1e-5, abs=1e-5)

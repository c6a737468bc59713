"""Stochastic rounding: exact where it can be, right on average elsewhere, never clipped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcz_dask.numerics.reference.correction import Correction
from mrcz_dask.numerics.reference.rounding import (
    INT16_LIMIT,
    fine_step,
    int16_steps,
    round_to_half,
    step_that_fits,
)
from mrcz_dask.values.errors import DtypeError

FRAMES = 400
STEP = 1 / 16
STEPS = st.integers(-20, 20).map(lambda k: 2.0**k)


def round_to_step(image, step, key, frame):
    """Rounding alone: a correction that corrects nothing."""
    nothing = np.zeros(image.shape, np.int16)
    whole = np.full(image.shape, 255, np.uint8)
    identity = Correction("subtract", nothing, 1.0, whole, np.zeros(0, np.float32))
    return identity.ready().apply_rounded(image, step, key, frame)[0]


def ramp(low, high, size=2000):
    return np.linspace(low, high, size, dtype=np.float32).reshape(20, -1)


def within_counted_error(mean, expected, variance):
    """Mean over frames against what is expected, pixel by pixel and over all pixels."""
    error = (mean - expected) / np.sqrt(np.maximum(variance, 1e-30) / FRAMES)
    return np.abs(error).max() < 7 and abs(error.mean()) < 5 / np.sqrt(error.size)


@pytest.mark.parametrize("image", [ramp(-3, 3), ramp(0.001, 0.01), ramp(900, 901)], ids=str)
def test_int16_is_right_on_average(image):
    scaled = image.astype(np.float64) / STEP
    part = scaled - np.floor(scaled)

    mean = np.mean([round_to_step(image, STEP, 7, k) for k in range(FRAMES)], axis=0, dtype=np.float64)

    part = np.clip(part, 1e-3, 1 - 1e-3)
    assert within_counted_error(mean, scaled, part * (1 - part))


@pytest.mark.parametrize("image", [ramp(0.1, 3.3), ramp(-3.3, -0.1), ramp(900, 901)], ids=str)
def test_float16_is_right_on_average(image):
    wide = image.astype(np.float64)
    quantum = np.ldexp(1.0, np.frexp(image)[1] - 11)
    part = np.clip(wide / quantum - np.floor(wide / quantum), 1e-3, 1 - 1e-3)

    rounded = [round_to_half(image, 7, k) for k in range(FRAMES)]

    assert rounded[0].dtype == np.float16
    mean = np.mean(rounded, axis=0, dtype=np.float64)
    assert within_counted_error(mean / quantum, wide / quantum, part * (1 - part))


def test_rounding_to_nearest_would_leave_a_pattern_and_this_does_not():
    pattern = np.where(np.arange(64)[:, None] % 2, np.float32(0.30), np.float32(0.32)).repeat(64, axis=1)
    frames = [round_to_step(pattern, 0.25, 3, k) for k in range(FRAMES)]

    rows = np.mean(frames, axis=(0, 2)) * 0.25
    assert np.ptp(np.rint(pattern / 0.25)) == 0
    assert abs((rows[1::2] - rows[::2]).mean() + 0.02) < 5 * 0.25 * 0.45 * np.sqrt(2 / (32 * 64 * FRAMES))


@given(
    units=hnp.arrays(np.int16, (3, 5), elements=st.integers(-INT16_LIMIT, INT16_LIMIT)),
    step=STEPS,
    key=st.integers(0, 2**64 - 1),
    frame=st.integers(0, 1000),
)
def test_multiples_of_the_step_are_exact(units, step, key, frame):
    image = units.astype(np.float32) * np.float32(step)

    assert (round_to_step(image, step, key, frame) == units).all()


@given(
    image=hnp.arrays(np.float16, (3, 5), elements=st.floats(-65504, 65504, width=16)),
    key=st.integers(0, 2**64 - 1),
)
def test_values_of_float16_are_exact(image, key):
    assert (round_to_half(image.astype(np.float32), key, 0) == image).all()


@given(image=hnp.arrays(np.float32, (3, 5), elements=st.floats(-65504, 65504, width=32)))
def test_float16_is_one_of_the_two_neighbors(image):
    rounded = round_to_half(image, 11, 0).astype(np.float64)

    quantum = np.maximum(np.ldexp(1.0, np.frexp(image)[1] - 11), 2.0**-24)
    assert (np.abs(rounded - image) <= quantum).all()


@pytest.mark.parametrize("value", [65504.5, 65520, 1e6, -1e6])
def test_what_float16_cannot_hold_is_an_error(value):
    image = np.array([[1, value]], np.float32)

    with pytest.raises(DtypeError, match=r"65504.*int16 or float32"):
        round_to_half(image, 0, 0)


@given(step=STEPS, largest=st.floats(0, 1e12), data=st.data())
def test_step_that_fits_never_clips(step, largest, data):
    fitting = step_that_fits(step, largest)
    value = np.float32(data.draw(st.floats(-largest, largest)))
    image = np.full((2, 8), value, np.float32)

    rounded = round_to_step(image, fitting, 1, 2).astype(np.float64)

    assert fitting >= step
    assert np.log2(fitting).is_integer()
    assert np.abs(rounded * fitting - image).max() <= fitting


@given(step=STEPS, largest=st.floats(0, 1e12))
def test_step_is_coarsened_no_more_than_needed(step, largest):
    fitting = step_that_fits(step, largest)

    assert fitting == step or largest / (fitting / 2) > INT16_LIMIT * (1 - 1e-9)


def test_same_key_and_frame_same_bits_others_not():
    image = ramp(0, 1)

    assert (round_to_step(image, STEP, 1, 2) == round_to_step(image.copy(), STEP, 1, 2)).all()
    assert (round_to_step(image, STEP, 1, 2) != round_to_step(image, STEP, 1, 3)).any()
    assert (round_to_step(image, STEP, 1, 2) != round_to_step(image, STEP, 2, 2)).any()


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(STEP, 1e6))
def test_int16_holds_what_it_says_it_holds(low, width, coarsest):
    high = low + width
    found = int16_steps(STEP, low, high, coarsest)
    if found is None:
        assert width > 2 * INT16_LIMIT * max(STEP, coarsest / 2)
    else:
        step, offset = found
        assert step <= coarsest and offset % step == 0
        assert np.abs((np.array([low, high]) - offset) / step).max() <= INT16_LIMIT + 0.5


def test_an_offset_is_taken_off_only_where_it_must_be():
    assert int16_steps(STEP, 0, 2000, 1) == (STEP, 0)
    assert int16_steps(STEP, 0, 5000, 1) == (0.25, 0)
    assert int16_steps(STEP, 65530, 65535, 0.25) == (STEP, 65532.5)
    assert int16_steps(STEP, -1e20, 1, 0.25) is None


@pytest.mark.parametrize(("noise", "step"), [(1, STEP), (0.25, STEP), (0.2, 2.0**-7), (1e-3, 2.0**-14)])
def test_the_usual_step_is_finer_where_the_noise_is_small(noise, step):
    assert fine_step(STEP, noise) == step

"""Compiled loops against NumPy twins: the same bits where nothing is summed, close where something is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.noise.correlation import CorrelationSum, noise_rows
from mrcz_dask.numerics.philox import Purpose, uniform16
from mrcz_dask.numerics.reference.correction import Correction

DTYPES = ["uint8", "int8", "uint16", "int16", "float32", "float16", ">i2", "int32"]
SHAPES = [(1, 1), (3, 5), (64, 64), (37, 300), (130, 129)]


def some_correction(shape, form, seed):
    draw = np.random.default_rng(seed)
    weight = np.where(draw.random(shape) < 0.1, draw.integers(0, 255, shape), 255).astype(np.uint8)
    pattern = draw.integers(-3000, 3000, shape).astype(np.int16)
    fill = draw.random(int((weight < 255).sum())).astype(np.float32)
    return Correction(form, pattern, 2.0**-11, weight, fill)


def corrected_twin(frame, c):
    """The filling's formula in float32, image by image."""
    pattern = c.pattern.astype(np.float32) * np.float32(c.step)
    plain = frame.astype(np.float32)
    if c.form == "divide":
        out = plain / np.maximum(np.float32(0.1), np.float32(1) + pattern)
    else:
        out = plain - pattern
    partial = c.weight < 255
    share = c.weight[partial].astype(np.float32) / np.float32(255)
    own = np.where(share > 0, out[partial], np.float32(0))
    out[partial] = share * own + (np.float32(1) - share) * c.fill
    return out


def rounded_twin(image, step, key, k):
    scaled = image * np.float32(1 / step)
    below = np.floor(scaled)
    bits = uniform16(image.size, key, Purpose.ROUNDING, k).reshape(image.shape)
    chance = (bits.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-16)
    return (below + (chance < scaled - below)).astype(np.int16)


def some_frame(shape, dtype, seed):
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize("form", ["subtract", "divide"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_correcting_and_rounding_have_the_bits_of_their_twins(shape, dtype, form):
    c, frame = some_correction(shape, form, 1), some_frame(shape, dtype, 2)
    ready = c.ready()

    assert ready.apply(frame).tobytes() == corrected_twin(frame, c).tobytes()
    found, sums = ready.apply_rounded(frame, 1 / 16, 0xFEDCBA9876543210, 7)
    exact = found.astype(np.int64)
    assert sums == (exact.min(), exact.max(), exact.sum(), (exact**2).sum())
    assert (found == rounded_twin(corrected_twin(frame, c), 1 / 16, 0xFEDCBA9876543210, 7)).all()


@given(key=st.integers(0, 2**64 - 1), k=st.integers(0, 2**31 - 1))
def test_random_bits_in_compiled_code_are_those_of_the_generator(key, k):
    image = np.full((90, 97), 0.5, np.float32)
    nothing = Correction(
        "subtract",
        np.zeros((90, 97), np.int16),
        1.0,
        np.full((90, 97), 255, np.uint8),
        np.zeros(0, np.float32),
    )

    found, _ = nothing.ready().apply_rounded(image, 1.0, key, k)

    assert (found == (uniform16(image.size, key, Purpose.ROUNDING, k) < 1 << 15).reshape(image.shape)).all()


@pytest.mark.parametrize("form", ["subtract", "divide"])
def test_rows_of_a_correction_correct_rows_of_a_frame(form):
    c, frame = some_correction((40, 30), form, 3), some_frame((40, 30), "uint8", 4)
    rows = np.array([0, 1, 7, 8, 20, 39])

    found = c.take_rows(rows).ready().apply(frame[rows])

    assert (found == c.ready().apply(frame)[rows]).all()


def test_a_large_image_is_scored_on_rows_spread_over_it():
    rows = noise_rows((3838, 3710))

    assert 1 << 20 < rows.size * 3710 <= 1 << 21
    assert rows[0] == 0
    assert rows[-1] > 3700
    assert (noise_rows((480, 464)) == np.arange(480)).all()


def test_noise_of_rows_is_that_of_these_rows():
    stack = np.random.default_rng(6).poisson(2, (5, 64, 64)).astype(np.uint8)
    half, whole = CorrelationSum(), CorrelationSum()
    for frame in stack:
        half.add(frame[::2])
        whole.add(np.ascontiguousarray(frame[::2]).astype(np.float64))

    assert half.value() == whole.value()

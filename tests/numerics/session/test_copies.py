"""Fingerprints of stacks, and which stacks they call copies."""

from __future__ import annotations

import numpy as np
import pytest

from mrcz_dask.numerics.session.fingerprint import Copies, Fingerprint, Fingerprinter, value_digest


def find_copies(prints):
    copies = Copies()
    for one in prints:
        copies.add(one)
    return [copies.of(j) for j in range(len(prints))]


def print_of(stack):
    made = Fingerprinter(stack.shape[1:])
    for frame in stack:
        made.add(frame)
    return Fingerprint.from_text(*made.result(stack.sum(axis=0)).to_text())


def poisson(seed, dose, shape, number=4, frames=8):
    r = np.random.default_rng(seed)
    response = np.abs(1 + 0.06 * r.standard_normal(shape))
    return [r.poisson(dose * response, (frames, *shape)) for _ in range(number)]


@pytest.mark.parametrize("shape", [(96, 112), (97, 113), (80, 80)])
@pytest.mark.parametrize("dose", [0.1, 1, 100])
def test_orientations_scales_and_sums_are_found_and_nothing_else(shape, dose):
    made = poisson(1, dose, shape)
    stack = made[1]
    ways = [stack[:, ::-1], stack[:, :, ::-1], stack[:, ::-1, ::-1]]
    if shape[0] == shape[1]:
        ways += [np.rot90(stack, k, (1, 2)) for k in (1, 3)] + [stack.swapaxes(1, 2)]
    ways = [*(1.7 * way for way in ways), 2.5 * stack.reshape(4, 2, *shape).sum(axis=1), stack[::-1] * 3.0]
    for way in ways:
        found = find_copies([print_of(np.ascontiguousarray(one)) for one in [*made, way]])
        assert found == [(), (4,), (), (), (1,)]


@pytest.mark.parametrize("number", [7, 41])
@pytest.mark.parametrize("pattern", [0.06, 0.2])
def test_a_tilt_series_is_found_whatever_its_scale(number, pattern):
    r = np.random.default_rng(2)
    response = np.abs(1 + pattern * r.standard_normal((96, 112)))
    made = [r.poisson(response, (8, *response.shape)) for _ in range(number + 5)]
    series = np.stack([one.sum(axis=0) for one in made[:number]])
    for scaled in (series / 8, series * np.float32(2.7) + 100, (series * 2.5).astype(np.int16)):
        assert find_copies([print_of(one) for one in [*made, scaled]])[-1] == tuple(range(number))
    found = find_copies([print_of(one) for one in [series / 8, *made]])
    assert found[0] == tuple(range(1, number + 1)) and not any(found[number + 1 :])


@pytest.mark.parametrize("dose", [0.1, 1, 20])
def test_a_part_that_is_scaled_is_found(dose):
    made = poisson(3, dose, (96, 112))
    for part in (made[1][:2] * 2.5, made[1][1::2] * 3):
        assert find_copies([print_of(one) for one in [*made, part]]) == [(), (4,), (), (), (1,)]


@pytest.mark.parametrize("frames", [2, 3, 8])
@pytest.mark.parametrize("dose", [0.02, 2, 200])
def test_stacks_of_one_pattern_and_specimen_are_no_copies(dose, frames):
    r = np.random.default_rng(3)
    response = np.abs(1 + 0.3 * r.standard_normal((64, 64)) + (r.random((64, 64)) < 0.01) * 50)
    made = [
        r.poisson(dose * response * r.uniform(0.5, 1.5, (frames, 1, 1)), (frames, 64, 64)) for _ in range(40)
    ]
    assert find_copies([print_of(one) for one in made]) == [()] * 40


def test_a_strong_pattern_without_noise_is_no_copy_by_its_grain():
    r = np.random.default_rng(0)
    pattern = r.uniform(50, 150, (64, 64))
    made = [np.stack([pattern * (1 + 0.1 * k) + 1e-3 * f for f in range(4)]) for k in range(4)]
    assert find_copies([print_of(one) for one in made]) == [()] * 4


def test_equal_frames_are_equal_whatever_their_type_and_border():
    frame = np.random.default_rng(0).poisson(3, (40, 50)).astype(np.uint8)
    digest = value_digest(frame)
    assert digest == value_digest(frame.astype(np.float64)) == value_digest(frame.astype(">i2"))
    assert digest == value_digest(np.pad(frame, ((2, 3), (0, 4))))
    assert digest != value_digest(frame + 1)
    assert value_digest(frame * 0 + 7) is None


@pytest.mark.parametrize(("dtype", "offset"), [(np.uint32, 4_200_000_000), (np.int32, -(2**31))])
def test_other_counts_on_a_large_offset_are_no_copies(dtype, offset):
    made = [(stack + offset).astype(dtype) for stack in poisson(1, 1, (96, 112))]
    assert find_copies([print_of(one) for one in [*made, made[1].astype(np.float64)]]) == [
        (),
        (4,),
        (),
        (),
        (1,),
    ]


def test_nothing_is_found_in_stacks_of_one_frame_or_of_few_pixels_but_equal_frames():
    r = np.random.default_rng(0)
    made = [r.poisson(1, (1, 5, 6)) for _ in range(3)]
    assert find_copies([print_of(one) for one in [*made, made[0]]]) == [(3,), (), (), (0,)]
    assert find_copies([Fingerprint.from_text("", "")] * 3) == [()] * 3

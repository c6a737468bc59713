"""Electrons found in raw frames: how many, how well, and laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.truth import false_rate, match, score_electrons, significance_for
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import (
    EventFinder,
    FrameEvents,
)
from mrcz_dask.numerics.counting.params import CountingParams, RawParams
from mrcz_dask.numerics.counting.simulate import RawStack, add_clouds
from mrcz_dask.values.errors import ParameterError

SIDE = 64
FLAT = Detector(np.full((SIDE, SIDE), 100.0), 4.0)


def known(stack):
    return Detector(stack.offset, stack.noise, np.where(stack.gain > 0, stack.gain, 1), stack.gain == 0)


def scored(params, counting, frames):
    stack = RawStack(params)
    finder = EventFinder(known(stack), counting)
    pairs = []
    for k in range(frames):
        values, truth = stack.frame(k)
        found = finder.find(values)
        pairs.append((np.c_[truth.y, truth.x], np.c_[found.y, found.x]))
    return score_electrons(pairs)


def scene(y, x, charge, seed=None):
    """Float32 frames of clouds of charge in read noises of 4 ADU."""
    out = np.zeros((SIDE, SIDE))
    add_clouds(np.asarray(y, float), np.asarray(x, float), np.asarray(charge, float) * 4, 0.4, out)
    noise = 0 if seed is None else 4 * np.random.default_rng(seed).standard_normal(out.shape)
    return (out + noise + 100).astype(np.float32)


def places(events: FrameEvents):
    return np.c_[events.y, events.x]


@pytest.mark.parametrize(("occupancy", "isolated", "everyone"), [(0.01, 0.94, 0.91), (0.02, 0.955, 0.895)])
def test_detection_false_events_and_impacts(occupancy, isolated, everyone):
    counting = CountingParams(sigma=significance_for(0.009, occupancy))
    found = scored(RawParams(occupancy=occupancy, seed=5), counting, 6)
    assert found.isolated > isolated
    assert found.everyone > everyone
    assert found.false < 0.0115  # 1 % and what some 25000 electrons scatter
    assert found.rms < 0.16
    # of what noise leaves visible, splitting finds more than ideal 3 x 3 maxima, one for each that hold any
    assert found.everyone / found.isolated > -np.expm1(-9 * occupancy) / (9 * occupancy)


def test_strong_electrons_are_all_found():
    params = RawParams(occupancy=0.01, seed=6, charge=20.0, xray_charge=900.0)
    found = scored(params, CountingParams(charge=20.0), 4)
    assert found.isolated > 0.997
    assert found.false < 0.02
    assert found.rms < 0.08


@pytest.mark.parametrize("position", ["centroid", "maximum"])
def test_other_positions_are_coarser(position):
    found = scored(RawParams(shape=(256, 256), occupancy=0.01, seed=5), CountingParams(position=position), 4)
    assert 0.2 < found.rms < 0.32
    assert found.isolated > 0.93


def test_noise_alone_gives_the_rate_that_is_said():
    for sigma in (3.7, 4.1):
        stack = RawStack(RawParams(occupancy=0.0, seed=8, xrays=0.0))
        finder = EventFinder(known(stack), CountingParams(sigma=sigma))
        number = sum(finder.find(stack.frame(k).values).y.size for k in range(8))
        expected = false_rate(sigma) * 8 * 512**2
        assert abs(number - expected) < 4 * np.sqrt(expected) + 0.15 * expected


@given(occupancy=st.floats(1e-4, 0.1), share=st.floats(1e-4, 0.1))
def test_significance_for_a_share(occupancy, share):
    sigma = significance_for(share, occupancy)
    assert false_rate(sigma) == pytest.approx(share * occupancy, rel=1e-6)


@given(dy=st.integers(-12, 12), dx=st.integers(-12, 12), seed=st.integers(0, 2**32 - 1), n=st.integers(1, 25))
@settings(max_examples=40, deadline=None)
def test_whole_pixels_move_events_by_whole_pixels(dy, dx, seed, n):
    rng = np.random.default_rng(seed)
    y, x = 22 + 20 * rng.random((2, n))
    frame = scene(y, x, 8 + 20 * rng.random(n), seed)
    inner = frame[18:46, 18:46]
    both = []
    for a, b in ((0, 0), (dy, dx)):
        image = np.full((SIDE, SIDE), np.float32(100))
        image[18 + a : 46 + a, 18 + b : 46 + b] = inner
        both.append(EventFinder(FLAT).find(image))
    np.testing.assert_allclose(places(both[0]) + np.array([dy, dx]), places(both[1]), atol=2e-5)
    np.testing.assert_array_equal(both[0].charge, both[1].charge)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_flips(seed, n):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(36)[:n]  # ten pixels apart, so that no order of fits matters
    y, x = 6 + 10 * (cells // 6) + rng.random(n), 6 + 10 * (cells % 6) + rng.random(n)
    frame = scene(y, x, 15 + 10 * rng.random(n), seed)
    plain = places(EventFinder(FLAT).find(frame))
    turned = places(EventFinder(FLAT).find(np.ascontiguousarray(frame[::-1, ::-1])))[::-1]
    pairs = match(plain, SIDE - turned, 0.05)
    assert len(pairs) >= max(len(plain), len(turned)) - 1  # noise may be significant by a hair


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_charge_is_kept(seed):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(36)[:10]
    y, x = 6 + 10 * (cells // 6) + rng.random(10), 6 + 10 * (cells % 6) + rng.random(10)
    charge = 20 + 40 * rng.random(10)
    found = EventFinder(FLAT, CountingParams(charge=20.0)).find(scene(y, x, charge))
    assert found.charge.sum() == pytest.approx(4 * charge.sum(), rel=0.01)
    assert len(found.y) == 10


@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(5)))
@settings(max_examples=10, deadline=None)
def test_frames_do_not_know_of_each_other(seed, order):
    stack = RawStack(RawParams(shape=(SIDE, SIDE), frames=5, occupancy=0.05, seed=seed))
    detector = known(stack)
    finder, frames = EventFinder(detector), [stack.frame(k).values for k in range(5)]
    fresh = [EventFinder(detector).find(f) for f in frames]
    for k in order:
        for a, b in zip(finder.find(frames[k]), fresh[k], strict=True):
            np.testing.assert_array_equal(a, b)


def test_two_electrons_close_together_are_both_found():
    found = EventFinder(FLAT).find(scene([20.4, 22.5], [30.5, 31.3], [20, 16]))
    np.testing.assert_allclose(places(found), [[20.4, 30.5], [22.5, 31.3]], atol=0.05)
    assert found.charge == pytest.approx([80, 64], rel=0.05)


def test_equal_neighbors_are_one_electron():
    frame = np.full((SIDE, SIDE), 100, np.uint16)
    frame[20:22, 30:32] = 130
    found = EventFinder(FLAT).find(frame)
    np.testing.assert_allclose(places(found), [[21, 31]], atol=0.05)


def test_an_xray_is_no_electron():
    frame = scene([10.5], [10.5], [12])
    frame[40, 40] += 400 * 4
    found = EventFinder(FLAT).find(frame)
    np.testing.assert_allclose(places(found), [[10.5, 10.5]], atol=0.05)


def test_pixels_that_are_not_used_do_not_make_events():
    hot = np.zeros((SIDE, SIDE), bool)
    hot[30, 30] = True
    frame = scene([30.5 + 8], [30.5], [15])
    frame[30, 30] = 3000
    found = EventFinder(Detector(np.full((SIDE, SIDE), 100.0), 4.0, unused=hot)).find(frame)
    np.testing.assert_allclose(places(found), [[38.5, 30.5]], atol=0.05)


def test_noisy_pixels_ask_for_more():
    noise = np.full((SIDE, SIDE), 4.0)
    noise[30, 30] = 40.0
    frame = np.full((SIDE, SIDE), 100, np.float32)
    frame[30, 30] += 3 * 40
    assert EventFinder(Detector(np.full((SIDE, SIDE), 100.0), noise)).find(frame).y.size == 0
    assert EventFinder(FLAT).find(frame).y.size == 1


def test_gain_is_taken_off_the_charge():
    gain = np.full((SIDE, SIDE), 2.0)
    frame = np.full((SIDE, SIDE), 100, np.float32)
    frame += (scene([20.2], [20.7], [20]) - 100) * 2
    found = EventFinder(Detector(np.full((SIDE, SIDE), 100.0), 8.0, gain)).find(frame)
    assert found.charge == pytest.approx([80], rel=0.02)


def test_electrons_at_edges_and_corners():
    y, x = np.array([0.3, 0.5, 63.6, 30.5]), np.array([0.4, 40.2, 63.3, 63.9])
    found = EventFinder(FLAT).find(scene(y, x, [20] * 4))
    order = np.lexsort((x, y))
    np.testing.assert_allclose(places(found)[np.lexsort((found.x, found.y))], np.c_[y, x][order], atol=0.1)


def test_room_grows_in_crowded_frames():
    stack = RawStack(RawParams(shape=(SIDE, SIDE), occupancy=0.3, seed=2))
    found = EventFinder(known(stack), CountingParams(sigma=2.5)).find(stack.frame(0).values)
    assert found.y.size > SIDE * SIDE / 16


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", ">u2"])
def test_types_of_frames(dtype):
    frame = np.rint(scene([20.2, 33.3], [20.7, 41.1], [20, 12], seed=3)).clip(0, 255)
    expected = EventFinder(FLAT).find(frame.astype(np.float32))
    for a, b in zip(EventFinder(FLAT).find(frame.astype(dtype)), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_wrong_frames_and_parameters():
    with pytest.raises(ParameterError, match="shape"):
        EventFinder(FLAT).find(np.zeros((3, 3), np.uint16))
    with pytest.raises(ParameterError, match="position"):
        CountingParams(clusters="components")
    with pytest.raises(ParameterError, match="sigma"):
        CountingParams(sigma=0)
    with pytest.raises(ParameterError, match="shapes"):
        Detector(np.zeros((4, 4)), 1.0, np.ones((5, 5)))
    with pytest.raises(ParameterError, match="no pixel"):
        Detector(np.zeros((4, 4)), 0.0)

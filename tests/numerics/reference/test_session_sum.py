"""Mean and deviation of every pixel over a session: as NumPy has them, exact in any order, tame with few."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.reference.correction import make_correction
from mrcz_dask.numerics.reference.koma import PatternFit
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.numerics.reference.session_sum import (
    LARGEST_FACTOR,
    SMALLEST_FACTOR,
    STEPS,
    SessionSum,
    factors,
)
from mrcz_dask.numerics.reference.window import Member
from mrcz_dask.values.errors import OutlierError, ParameterError, SessionError
from mrcz_dask.values.params import KomaParams, Settings, WriteParams

SHAPE = (5, 6)
NOTHING = np.zeros(SHAPE, bool)


def members_of(seed, count=6, exponents=(0,)):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        exponent = int(rng.choice(exponents))
        values = rng.poisson(rng.uniform(20, 60) * 2**exponent, SHAPE).astype(np.int32)
        masked = np.sort(rng.choice(values.size, 3, replace=False))
        made.append(Member(values, exponent, masked, float(values.mean()) * 2.0**-exponent, 10))
    return made


def moved(members, windows):
    total = SessionSum(SHAPE)
    for window in windows:
        total.move_to(window, 0, members.__getitem__)
    return total


def relative(members):
    """S / (n d), not a number where masked."""
    images = []
    for one in members:
        image = one.values * 2.0**-one.exponent / one.mean
        image.reshape(-1)[one.masked] = np.nan
        images.append(image)
    return np.array(images)


WINDOWS = st.lists(st.sets(st.integers(0, 5), min_size=2), min_size=1, max_size=6)


@given(seed=st.integers(0, 99), windows=WINDOWS, fine=st.booleans())
def test_any_order_of_moves_gives_the_same_bits(seed, windows, fine):
    members = members_of(seed, exponents=(2, 5) if fine else (0,))

    by_moves, at_once = moved(members, windows).images(), moved(members, windows[-1:]).images()

    assert [x.tobytes() for x in by_moves] == [x.tobytes() for x in at_once]


@given(seed=st.integers(0, 99), own=st.integers(0, 5))
def test_leaving_one_out_gives_the_bits_of_never_adding_it(seed, own):
    members = members_of(seed)

    without = moved(members, [range(6)]).images(members[own])
    never = moved(members, [set(range(6)) - {own}]).images()

    assert [x.tobytes() for x in without] == [x.tobytes() for x in never]


@given(seed=st.integers(0, 99), fine=st.booleans())
def test_the_mean_is_that_over_unmasked_stacks_of_the_sum_over_the_dose(seed, fine):
    members = members_of(seed, exponents=(3, 9) if fine else (0,))

    mean, _ = moved(members, [range(6)]).images()

    seen = relative(members)
    some = ~np.isnan(seen).all(axis=0)
    assert mean[some] == pytest.approx(np.nanmean(seen[:, some], axis=0), abs=1 / STEPS)


def spread_session(seed, count, spread, shape=(64, 64), mean=400.0):
    """Members whose pixels have deviations of their own, log-normal round 5 %."""
    rng = np.random.default_rng(seed)
    deviation = 0.05 * np.exp(rng.normal(0, spread, shape))
    made = []
    for _ in range(count):
        values = np.rint(mean * (1 + deviation * rng.normal(size=shape)) * 64).astype(np.int32)
        made.append(Member(values, 6, np.zeros(0, np.int64), mean, 10))
    return made, deviation


def images_of(members, shape=(64, 64)):
    total = SessionSum(shape)
    total.move_to(range(len(members)), 0, members.__getitem__)
    return total.images()


def test_with_many_stacks_every_pixel_gets_the_same_deviation():
    """As Afanasyev et al. have it: the typical deviation over the pixel's own."""
    members, deviation = spread_session(1, 1500, 0.2)

    mean, factor = images_of(members)

    inside = (factor > SMALLEST_FACTOR) & (factor < LARGEST_FACTOR)
    after = (deviation * factor)[inside]
    assert mean == pytest.approx(1, abs=0.01)
    assert after.std() / after.mean() < 0.03 < 0.15 < deviation.std() / deviation.mean()


@pytest.mark.parametrize("count", [3, 12, 60])
def test_deviations_that_differ_by_chance_are_left_alone(count):
    """Without that, factors of 60 stacks would differ by a tenth, of three by their size."""
    _, factor = images_of(spread_session(2, count, 0.0)[0])

    assert abs(factor - 1).max() < 0.5
    assert factor.std() < 0.35 / np.sqrt(2 * (count - 1))


def test_factors_stay_between_a_half_and_two():
    members, _ = spread_session(3, 400, 1.5)

    _, factor = images_of(members)

    assert factor.min() == SMALLEST_FACTOR and factor.max() == np.float32(LARGEST_FACTOR)


def test_factors_are_exactly_what_a_correction_keeps():
    _, factor = images_of(spread_session(4, 100, 0.3)[0])

    good = np.full((64, 64), 255, np.uint8)
    made = make_correction("subtract", factor, MeanImage(np.ones((64, 64))), good, good < 255, factor)
    assert np.array_equal(made.factor(), factor)


@pytest.mark.parametrize("variance", [np.nan, 0.0])
def test_without_a_deviation_nothing_is_scaled(variance):
    assert (factors(np.full(SHAPE, variance, np.float32), 5) == 1).all()


def test_one_stack_has_no_deviation():
    mean, factor = moved(members_of(5), [[0]]).images()

    assert (factor == 1).all() and np.isfinite(mean).all()


def test_a_pixel_that_all_mask_is_filled_and_not_scaled():
    members = [Member(m.values, 0, np.array([8]), m.mean, m.n) for m in members_of(6)]

    mean, factor = moved(members, [range(6)]).images()

    assert factor.flat[8] == 1
    assert mean.flat[8] == pytest.approx(np.delete(mean.ravel(), 8).mean(), abs=0.2)


def test_every_pixel_masked_is_an_error():
    one = Member(np.ones(SHAPE, np.int32), 0, np.arange(30), 1.0, 3)
    with pytest.raises(OutlierError):
        moved([one], [[0]]).images()


def test_a_stack_without_dose_is_an_error():
    one = Member(np.zeros(SHAPE, np.int32), 0, np.zeros(0, np.int64), 0.0, 3)
    with pytest.raises(SessionError, match="dose"):
        moved([one], [[0]])


def test_the_method_makes_mean_and_deviation_of_every_pixel_the_same():
    """factor (I - dose mean) + dose."""
    rng = np.random.default_rng(7)
    mean = (1 + 0.05 * rng.normal(size=SHAPE)).astype(np.float32)
    factor = (np.rint(rng.uniform(0.8, 1.2, SHAPE) * 32768) / 32768).astype(np.float32)
    frame = rng.poisson(3, SHAPE).astype(np.float32)

    found = PatternFit([mean, factor], KomaParams(method="session")).find(MeanImage(frame), 3.0, NOTHING)
    good = np.full(SHAPE, 255, np.uint8)
    made = make_correction("subtract", found.image, MeanImage(frame), good, NOTHING, found.scale)

    expected = factor * (frame - 3 * mean) + 3 * mean.mean()
    assert made.ready().apply(frame) == pytest.approx(expected, abs=2 * made.step)


def test_what_the_method_does_not_go_with():
    with pytest.raises(ParameterError, match="expected subtract"):
        KomaParams(method="session", form="divide")
    with pytest.raises(ParameterError, match="recompressed"):
        Settings(koma=KomaParams(method="session"), write=WriteParams(write="references"))

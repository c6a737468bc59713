"""The moving window: exact in any order of moves, blind to what is masked, filled where nothing is."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.reference.window import DOSE_BITS, Member, WindowSum
from mrcz_dask.values.errors import OutlierError, SessionError

SHAPE = (5, 6)


def member(rng, exponent=0, masked=(), n=10, dtype=np.int32):
    values = rng.integers(0, 100 << exponent if exponent > 0 else 100, SHAPE).astype(dtype)
    good = np.delete(values.ravel(), list(masked))
    return Member(values, exponent, np.array(masked, np.int64), float(good.mean()) * 2.0**-exponent, n)


def random_members(seed, count=6, exponents=(0,)):
    rng = np.random.default_rng(seed)
    return [
        member(
            rng, int(rng.choice(exponents)), sorted(rng.choice(30, 3, replace=False)), int(rng.integers(5, 9))
        )
        for _ in range(count)
    ]


def moved(members, windows, raw=False):
    total = WindowSum(SHAPE, raw)
    for window in windows:
        total.move_to(window, min(members[k].exponent for k in window), members.__getitem__)
    return total


def direct(members, window, raw=False):
    """P with rational numbers, straight from its definition."""
    image = np.zeros(SHAPE)
    for place in np.ndindex(SHAPE):
        flat = place[0] * SHAPE[1] + place[1]
        seen = [members[k] for k in window if flat not in members[k].masked]
        above = sum(Fraction(int(m.values[place])) * Fraction(2) ** -m.exponent for m in seen)
        below = sum(Fraction(m.n) if raw else Fraction(m.mean) for m in seen)
        image[place] = above / below if below else math.nan
    return image


WINDOWS = st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=6)


@given(seed=st.integers(0, 99), windows=WINDOWS, raw=st.booleans(), fine=st.booleans())
def test_any_order_of_moves_gives_the_bits_of_the_direct_sum(seed, windows, raw, fine):
    members = random_members(seed, exponents=(2, 5, 9) if fine else (0,))

    by_moves = moved(members, windows, raw).reference()
    at_once = moved(members, windows[-1:], raw).reference()
    one_by_one = moved(members, [set(sorted(windows[-1])[:k]) for k in range(1, len(windows[-1]) + 1)], raw)

    assert by_moves.dtype == np.float32
    assert by_moves.tobytes() == at_once.tobytes()
    if len({m.exponent for m in members}) == 1:
        assert by_moves.tobytes() == one_by_one.reference().tobytes()


@given(seed=st.integers(0, 99), window=st.sets(st.integers(0, 5), min_size=1), raw=st.booleans())
def test_equals_the_definition(seed, window, raw):
    members = random_members(seed)
    found, expected = moved(members, [window], raw).reference(), direct(members, window, raw)

    seen = ~np.isnan(expected)
    assert found[seen] == pytest.approx(expected[seen], rel=1e-6)


def test_mixed_exponents_differ_by_no_more_than_rounding_to_the_coarsest():
    members = random_members(3, exponents=(3, 8))
    window = set(range(6))

    found, expected = moved(members, [window]).reference(), direct(members, window)

    doses = [m.mean for m in members]
    assert {m.exponent for m in members} == {3, 8}
    assert np.abs(found - expected).max() < 6 * 2.0**-4 / (sum(doses) - 3 * max(doses))


def test_finer_sums_are_rounded_half_up():
    quarters = np.array([-7, -6, -5, -2, -1, 0, 1, 2, 3, 6], np.int32).repeat(3).reshape(SHAPE)
    member = Member(quarters, 2, np.array([], np.int64), 1.0, 1)
    total = WindowSum(SHAPE)

    total.move_to([0], 0, lambda _: member)

    assert (total.reference() == np.floor(quarters / 4 + 0.5)).all()


def test_members_however_much_coarser_can_meet():
    rng = np.random.default_rng(1)
    fine, coarse = member(rng, 40, dtype=np.int64), member(rng, -35, dtype=np.int64)
    total = moved([fine, coarse], [{0, 1}])

    assert total.reference() == pytest.approx(coarse.values * 2.0**35 / coarse.mean, rel=1e-6)


@pytest.mark.parametrize("raw", [False, True])
def test_what_entered_and_left_leaves_no_trace(raw):
    members = random_members(7)
    rng = np.random.default_rng(8)
    spoilt = member(rng, n=7)
    spoilt.values[2, 3] = 10_000_000
    nan = member(rng, masked=(4, 5), n=7)
    members += [spoilt, nan]

    before = moved(members, [{0, 1, 2}], raw).reference()
    after = moved(members, [{0, 1}, {0, 1, 6}, {0, 6, 7}, {0, 1, 7}, {0, 1, 2}], raw).reference()

    assert after.tobytes() == before.tobytes()


def test_a_masked_pixel_may_hold_anything():
    members = random_members(9)
    wild = [Member(m.values.copy(), m.exponent, m.masked, m.mean, m.n) for m in members]
    for one in wild:
        one.values.flat[one.masked] = 2**31 - 1

    window = [set(range(6))]
    assert moved(wild, window).reference().tobytes() == moved(members, window).reference().tobytes()


def test_a_constant_image_is_one_and_so_is_what_nobody_sees():
    hidden = (0, 1, 6, 7, 14)
    members = [Member(np.full(SHAPE, 3 * k, np.int16), 0, np.array(hidden), 3.0 * k, 4) for k in (1, 2)]

    assert (moved(members, [{0, 1}]).reference() == 1).all()


def test_raw_is_in_counts_per_frame():
    members = [Member(np.full(SHAPE, 12, np.int16), 0, np.array([3]), 12.0, n) for n in (4, 8)]

    assert (moved(members, [{0, 1}], raw=True).reference() == 2).all()


def test_a_pixel_that_nobody_sees_is_filled_from_its_neighbors():
    rng = np.random.default_rng(2)
    members = [member(rng, masked=(14,)) for _ in range(2)]

    image = moved(members, [{0, 1}]).reference()

    around = np.delete(image[0:5, 0:5].ravel(), 12)  # the 5 x 5 round (2, 2)
    assert image[2, 2] == pytest.approx(around.mean(), rel=1e-6)


def test_nothing_seen_at_all_is_an_error():
    everywhere = Member(np.ones(SHAPE, np.int16), 0, np.arange(30), 1.0, 4)

    with pytest.raises(OutlierError, match="every pixel"):
        moved([everywhere], [{0}]).reference()


def test_another_shape_is_named():
    odd = Member(np.ones((3, 3), np.int16), 0, np.array([], np.int64), 1.0, 4)

    with pytest.raises(SessionError, match=r"\(3, 3\).*\(5, 6\)"):
        moved([odd], [{0}])


def test_a_member_that_cannot_be_loaded_leaves_the_sum_whole():
    members = random_members(4)
    total = moved(members, [{0, 1, 2, 3}])

    def broken(k):
        if k == 5:
            raise OSError("gone")
        return members[k]

    with pytest.raises(OSError, match="gone"):
        total.move_to({1, 2, 4, 5}, 0, broken)
    total.move_to({1, 2, 4}, 0, broken)

    assert total.reference().tobytes() == moved(members, [{1, 2, 4}]).reference().tobytes()


def test_a_small_move_loads_only_what_changes():
    members, loaded = random_members(5), []
    total = moved(members, [{0, 1, 2, 3}])

    total.move_to({1, 2, 3, 4}, 0, lambda k: loaded.append(k) or members[k])

    assert sorted(loaded) == [0, 4]


def test_weights_are_rounded_once():
    assert DOSE_BITS == 20
    third = Member(np.ones(SHAPE, np.int16), 0, np.array([], np.int64), 1 / 3, 1)

    assert moved([third], [{0}]).reference()[0, 0] == np.float32(2**20 / round(2**20 / 3))


@given(seed=st.integers(0, 99), window=st.sets(st.integers(0, 5), min_size=1, max_size=5), raw=st.booleans())
def test_a_stack_that_is_left_out_leaves_the_bits_of_the_others_alone(seed, window, raw):
    members = random_members(seed)
    own = next(k for k in range(6) if k not in window)
    members[own].values.flat[members[own].masked] = 10**6  # what is masked may hold anything

    with_it = moved(members, [window | {own}], raw)

    alone = moved(members, [window], raw).reference()
    assert with_it.reference(without=members[own]).tobytes() == alone.tobytes()


def test_sums_that_could_pass_32_bits_are_widened():
    large = np.full(SHAPE, 2**31 - 1, np.int32)
    members = [Member(large, 0, np.zeros(0, np.int64), float(2**31 - 1), 1) for _ in range(5)]

    total = moved(members, [{0}, {0, 1, 2, 3, 4}, {3}])

    assert (total.reference() == 1).all()
    assert (moved(members, [{0, 1, 2, 3, 4}]).reference() == 1).all()

"""Laws of the knock-out window and of the long window."""

from bisect import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.windows import koma_window, long_window

RADII = st.integers(1, 9)


@st.composite
def sessions(draw):
    usable = draw(st.lists(st.booleans(), min_size=1, max_size=40))
    return draw(st.integers(0, len(usable) - 1)), usable


def by_brute_force(i, usable, radius):
    """The run of usable others whose two sides are most alike, of several the nearest; all if too few."""
    others = [j for j, good in enumerate(usable) if good and j != i]
    size = min(2 * radius, len(others))
    runs = [others[k : k + size] for k in range(len(others) - size + 1)]

    def imbalance(run):
        sides = sum(j < i for j in run), sum(j > i for j in run)
        return abs(sides[0] - sides[1]), sum(abs(others.index(j) - bisect(others, i)) for j in run)

    return min(runs, key=imbalance)


@pytest.mark.parametrize(("i", "window"), [(0, [1, 2, 3, 4]), (3, [1, 2, 4, 5]), (6, [2, 3, 4, 5])])
def test_seven_stacks(i, window):
    assert koma_window(i, 7, 2) == window


@pytest.mark.parametrize(("i", "window"), [(3, [0, 1, 4, 6]), (2, [0, 1, 3, 4])])
def test_eight_stacks_of_which_two_are_not_usable(i, window):
    usable = [j not in (2, 5) for j in range(8)]

    assert koma_window(i, 8, 2, usable) == window


@given(session=sessions(), radius=RADII)
def test_laws(session, radius):
    i, usable = session
    others = [j for j, good in enumerate(usable) if good and j != i]

    window = koma_window(i, len(usable), radius, usable)

    assert len(window) == min(2 * radius, len(others))
    assert i not in window
    assert all(usable[j] for j in window)
    first = others.index(window[0]) if window else 0
    assert window == others[first : first + len(window)]


@given(session=sessions(), radius=RADII)
def test_symmetric_wherever_both_sides_have_enough(session, radius):
    i, usable = session
    window = koma_window(i, len(usable), radius, usable)

    if min(sum(usable[:i]), sum(usable[i + 1 :])) >= radius:
        assert sum(j < i for j in window) == sum(j > i for j in window) == radius


@given(session=sessions(), radius=RADII)
def test_as_balanced_as_brute_force_finds(session, radius):
    i, usable = session

    assert koma_window(i, len(usable), radius, usable) == by_brute_force(i, usable, radius)


@given(n=st.integers(1, 30), radius=RADII, data=st.data())
def test_no_list_means_that_all_are_usable(n, radius, data):
    i = data.draw(st.integers(0, n - 1))

    assert koma_window(i, n, radius) == koma_window(i, n, radius, [True] * n)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((7, 7, 2), "0 <= i < n = 7"),
        ((-1, 7, 2), "stack index is -1"),
        ((0, 0, 2), "n = 0"),
        ((0, 7, 0), "radius is 0"),
        ((0, 7, 2, [True] * 6), "6 entries"),
    ],
)
def test_says_what_does_not_fit(arguments, words):
    with pytest.raises(ParameterError, match=words):
        koma_window(*arguments)


@given(session=sessions(), length=st.integers(1, 20), data=st.data())
def test_long_window_is_the_last_usable_ones_without_i(session, length, data):
    i, usable = session
    last = data.draw(st.integers(0, len(usable) - 1))

    window = long_window(i, last, length, usable)

    assert window == [j for j in range(last + 1) if usable[j] and j != i][-length:]


@given(session=sessions(), radius=RADII, length=st.integers(18, 40))
def test_long_window_that_ends_with_the_short_one_holds_it(session, radius, length):
    i, usable = session
    short = koma_window(i, len(usable), radius, usable)

    if short:
        long = long_window(i, short[-1], length, usable)
        assert long[-len(short) :] == short


@given(session=sessions(), radius=RADII, later=st.lists(st.booleans(), max_size=10))
def test_later_stacks_change_no_window_that_was_full_on_its_right(session, radius, later):
    i, usable = session
    if sum(usable[i + 1 :]) < radius or sum(usable[:i]) < radius:
        return

    before = koma_window(i, len(usable), radius, usable)
    after = koma_window(i, len(usable + later), radius, usable + later)

    assert before == after
    assert long_window(i, before[-1], 20, usable) == long_window(i, after[-1], 20, usable + later)

"""Windows that end with the last stack: what is in them, exactly, and nothing that is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.reference.one_sided import OneSided, Relay
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.numerics.reference.window import Member, WindowSum
from mrcz_dask.values.errors import ParameterError
from mrcz_dask.values.params import KomaParams

SHAPE = (64, 48)
KEPT = 8


def members(seed, count):
    rng = np.random.default_rng(seed)
    pattern = 1 + 0.1 * rng.standard_normal(SHAPE)
    found = []
    for _ in range(count):
        values = rng.poisson(20 * pattern).astype(np.int16)
        masked = np.sort(rng.choice(values.size, 5, replace=False))
        found.append(Member(values, 0, masked, float(np.delete(values.ravel(), masked).mean()), 10))
    return found


def direct(some, window):
    total = WindowSum(SHAPE)
    total.move_to(window, 0, some.__getitem__)
    return total.reference()


def stream(windows, some, usable):
    """Move windows on by one stack after the other; a stack that is not usable is kept and left out."""
    for newest in range(len(some)):
        within = list(range(max(0, newest - KEPT + 1), newest + 1))
        windows.move(within, [k for k in within if usable[k]], some.__getitem__)
        if usable[newest]:
            windows.hand_over(newest)


@given(seed=st.integers(0, 50), usable=st.lists(st.booleans(), min_size=1, max_size=25))
def test_references_are_those_of_the_last_usable_stacks(seed, usable):
    some = members(seed, len(usable))
    windows = OneSided(SHAPE, 0, KomaParams(radius=2, long_window=100))
    stream(windows, some, usable)
    good = [k for k, one in enumerate(usable) if one]
    recent = [k for k in good if k > len(usable) - 1 - KEPT][-4:]
    images = windows.images()
    expected = [direct(some, one) for one in (recent, good) if one]
    if recent and set(recent) == set(good):
        expected = expected[:1]
    assert [image.tobytes() for image in images] == [image.tobytes() for image in expected]


@given(count=st.integers(1, 60), length=st.integers(1, 12))
def test_the_long_sum_is_of_the_last_half_of_its_length_to_all_of_it(count, length):
    some = members(0, count)
    relay = Relay(length, lambda: WindowSum(SHAPE))
    for newest in range(count):
        within = list(range(max(0, newest - KEPT + 1), newest + 1))
        relay.move(within, within, 0, some.__getitem__)
        relay.hand_over(newest)
    found = sorted(relay.sum.members)
    assert min(count, length / 2) <= len(found) <= length
    assert found == list(range(found[0], count))


def test_a_verdict_that_changes_takes_a_stack_out_again():
    some = members(1, 6)
    windows = OneSided(SHAPE, 0, KomaParams(radius=1, long_window=50))
    for newest in range(6):
        windows.move(range(newest + 1), range(newest + 1), some.__getitem__)
    windows.move(range(6), [0, 1, 3, 4], some.__getitem__)
    short, long = windows.images()
    assert short.tobytes() == direct(some, [3, 4]).tobytes()
    assert long.tobytes() == direct(some, [0, 1, 3, 4]).tobytes()


@pytest.mark.parametrize("method", ["fit", "plain"])
def test_the_pattern_is_that_of_the_stacks(method):
    some = members(2, 9)
    windows = OneSided(SHAPE, 0, KomaParams(radius=2, method=method))
    mask = np.zeros(SHAPE, bool)
    windows.move(range(8), range(8), some.__getitem__)
    newest = some[8]
    fits = windows.fit(MeanImage(newest.values, 0.1, newest.mean / 10), mask)
    windows.move(range(9), range(9), some.__getitem__)
    pattern = windows.pattern(fits, mask)
    rng = np.random.default_rng(2)
    truth = 0.1 * rng.standard_normal(SHAPE)
    assert abs(pattern.mean()) < 1e-4
    assert np.corrcoef(pattern.ravel(), truth.ravel())[0, 1] > 0.6
    assert (fits == ()) == (method == "plain")


def test_coefficients_of_one_reference_serve_two():
    some = members(3, 6)
    windows = OneSided(SHAPE, 0, KomaParams(radius=2, min_modes=50))
    windows.move(range(4), range(4), some.__getitem__)
    mask = np.zeros(SHAPE, bool)
    fits = windows.fit(MeanImage(some[4].values, 0.1, 2.0), mask)
    assert {len(fit.coefficients) for fit in fits} == {1}
    windows.move(range(5), range(5), some.__getitem__)
    assert len(windows.images()) == 2
    assert windows.pattern(fits, mask).std() > 0.01


def test_nothing_is_known_without_a_stack():
    windows = OneSided(SHAPE, 0, KomaParams())
    mask = np.zeros(SHAPE, bool)
    assert windows.images() == () and windows.members == (0, 0)
    assert windows.fit(MeanImage(np.ones(SHAPE)), mask) == ()
    assert windows.pattern((), mask) is None


def test_session_means_need_all_of_a_session():
    with pytest.raises(ParameterError, match="fit or plain"):
        OneSided(SHAPE, 0, KomaParams(method="session"))

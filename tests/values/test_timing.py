"""Marks and clocks: what is inside is taken off what is outside, and nothing is lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.values import timing
from mrcz_dask.values.timing import PHASES, Clock, Timing, carried, phase

MARKED = st.sampled_from(PHASES)
TREES = st.recursive(
    st.tuples(MARKED, st.integers(0, 10**9), st.just(())),
    lambda inner: st.tuples(MARKED, st.integers(0, 10**9), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=12,
)


class Hands:
    """A clock that is moved by hand, in nanoseconds."""

    def __init__(self) -> None:
        self.wall = 0

    def read(self) -> int:
        return self.wall


@pytest.fixture
def hands() -> Iterator[Hands]:
    made = Hands()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "perf_counter_ns", made.read)
        patch.setattr(timing, "thread_time_ns", lambda: made.wall // 2)
        yield made


def walls(found: Timing, *, helpers: bool = False) -> dict[str, float]:
    return {s.phase: s.wall for s in found.spent if s.helpers is helpers}


def work(tree: Any, hands: Hands, expected: dict[str, int]) -> None:
    name, own, children = tree
    with phase(name, 3):
        hands.wall += own
        for child in children:
            work(child, hands, expected)
        hands.wall += own
    expected[name] = expected.get(name, 0) + 2 * own


@given(forest=st.lists(TREES, max_size=4), between=st.integers(0, 10**9))
def test_phases_are_exclusive_and_add_up(forest: list[Any], between: int) -> None:
    expected: dict[str, int] = {}
    hands = Hands()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "perf_counter_ns", hands.read)
        patch.setattr(timing, "thread_time_ns", hands.read)
        with Clock() as clock:
            for tree in forest:
                work(tree, hands, expected)
                hands.wall += between
                expected["other"] = expected.get("other", 0) + between
    found = clock.timing()
    assert walls(found) == {name: ns / 1e9 for name, ns in expected.items() if ns}
    assert found.wall == hands.wall / 1e9
    assert all(s.wall == s.processor for s in found.spent)


def test_bytes_are_added(hands: Hands) -> None:
    with Clock() as clock:
        for nbytes in (5, 7):
            with phase("encode", nbytes):
                hands.wall += 10
    (encode,) = clock.timing().spent
    assert (encode.phase, encode.bytes, encode.wall, encode.processor) == ("encode", 12, 2e-8, 1e-8)


def test_an_error_ends_its_mark_alone(hands: Hands) -> None:
    with Clock() as clock, phase("fit"):
        with pytest.raises(OSError, match="gone"), phase("disk"):
            hands.wall += 1000
            raise OSError("gone")
        hands.wall += 3000
    assert walls(clock.timing()) == {"fit": 3e-6, "disk": 1e-6}


def test_without_a_clock_a_mark_does_nothing() -> None:
    assert phase("decode", 5) is phase("sum")
    with phase("decode"):
        pass
    job = list
    assert carried(job) is job


def test_a_helping_thread_counts_to_the_task(hands: Hands) -> None:
    def help_out() -> str:
        with phase("encode", 9):
            hands.wall += 4000
        return "done"

    with Clock() as clock, phase("blocked"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(carried(help_out)).result() == "done"
        assert pool.submit(phase, "sum").result() is phase_outside()
    found = clock.timing()
    assert walls(found, helpers=True) == {"encode": 4e-6}
    assert walls(found) == {"blocked": 4e-6}
    assert [s.bytes for s in found.spent] == [0, 9]


def phase_outside() -> Any:
    found = []
    thread = threading.Thread(target=lambda: found.append(phase("sum")))
    thread.start()
    thread.join()
    return found[0]


def test_a_helper_that_fails_is_counted(hands: Hands) -> None:
    def fail() -> None:
        with phase("encode"):
            hands.wall += 1000
            raise OSError("full")

    with Clock() as clock, ThreadPoolExecutor(1) as pool, pytest.raises(OSError, match="full"):
        pool.submit(carried(fail)).result()
    assert walls(clock.timing(), helpers=True) == {"encode": 1e-6}


def test_clocks_of_several_threads_do_not_mix() -> None:
    barrier = threading.Barrier(2)

    def one(name: Any) -> Timing:
        with Clock() as clock:
            barrier.wait()
            with phase(name):
                barrier.wait()
        return clock.timing()

    with ThreadPoolExecutor(2) as pool:
        a, b = pool.map(one, ["sum", "fit"])
    assert "fit" not in walls(a) and "sum" not in walls(b)
    assert a.worker == b.worker
    assert not walls(a, helpers=True)

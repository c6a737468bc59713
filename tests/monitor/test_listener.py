"""What a listener tells others: the same after any number of looks."""

import re
import threading

from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.monitor.listener import SessionListener, row
from mrcz_dask.monitor.snapshot import Snapshot
from mrcz_dask.monitor.state import SessionState
from mrcz_dask.session.log import Moment
from mrcz_dask.values import messages

from .conftest import BEGAN, Made
from .test_state import KINDS, message

steps = st.lists(
    st.tuples(st.sampled_from((*KINDS, "started")), st.integers(0, 5), st.booleans()), max_size=40
)


@given(steps)
def test_rows_are_those_of_the_state_in_order_of_time(steps: list[tuple[str, int, bool]]) -> None:
    made, live = Made(), SessionListener(lambda: BEGAN)
    state = SessionState()
    for kind, k, seen in steps:
        one = made.started() if kind == "started" else message(made, kind, k)
        live(one)
        state.take(one, BEGAN)
        if seen:
            live.rows()
    stacks = sorted(state.stacks.values(), key=lambda stack: stack.key)
    assert str(live.rows()) == str([row(stack) for stack in stacks])  # not a number is not equal to itself


def test_one_event_changes_one_row(moments: list[Moment]) -> None:
    live = SessionListener()
    for _, one in moments:
        live(one)
    before = live.rows()
    name = before[0]["name"]
    live(messages.StackFailed(messages.CORRECTION, name, "no disk", 1))
    assert [now is then for now, then in zip(live.rows(), before, strict=True)].count(False) == 1


def test_a_late_stack_moves_the_others_on(made: Made) -> None:
    live = SessionListener(lambda: BEGAN)
    for one in (made.started(), made.found(1), made.found(3), made.found(2)):
        live(one)
    assert [row["name"] for row in live.rows()] == ["1.mrc", "2.mrc", "3.mrc"]


def test_the_newest_output_is_that_of_the_last_correction(made: Made) -> None:
    live = SessionListener(lambda: BEGAN)
    for one in (made.started(), made.found(1), made.found(2), made.done(2), made.summed(1)):
        live(one)
    newest = live.newest()
    assert newest is not None and newest[:2] == ("/night/koma", "2.mrcz")
    assert re.fullmatch(r"2\.mrcz?, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", newest[2])


def test_it_may_be_asked_while_it_listens(made: Made) -> None:
    live, stop, seen = SessionListener(), threading.Event(), list[Snapshot]()

    def ask() -> None:
        while not stop.is_set():
            live.rows()
            seen.append(live.snapshot())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        live(made.started())
        for k in range(200):
            live(made.found(k))
            live(made.summed(k))
    finally:
        stop.set()
        asking.join()
    assert live.snapshot().stacks["summed"] == 200
    assert all(one.stacks["all"] - one.stacks["summed"] in (0, 1) for one in seen)

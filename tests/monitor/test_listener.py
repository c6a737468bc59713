"""What a listener tells others: the same after any number of looks."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.monitor.columns import Row
from mrcz_dask.monitor.listener import Cursor, SessionListener
from mrcz_dask.monitor.snapshot import Snapshot
from mrcz_dask.session.log import Moment
from mrcz_dask.values import messages

from .conftest import BEGAN, Made
from .test_state import KINDS, message

steps = st.lists(
    st.tuples(st.sampled_from((*KINDS, "started")), st.integers(0, 5), st.booleans()), max_size=40
)


def look(live: SessionListener, known: dict[int, Row], cursor: Cursor) -> Cursor:
    changes = live.changes(cursor)
    if changes.all_anew:
        known.clear()
    known.update(changes.rows)
    return changes.cursor


@given(steps)
def test_looks_now_and_then_end_with_what_one_look_at_the_end_gives(
    steps: list[tuple[str, int, bool]],
) -> None:
    made, live = Made(), SessionListener(lambda: BEGAN)
    known: dict[int, Row] = {}
    cursor = Cursor()
    for kind, k, seen in steps:
        live(made.started() if kind == "started" else message(made, kind, k))
        if seen:
            cursor = look(live, known, cursor)
    cursor = look(live, known, cursor)
    at_once: dict[int, Row] = {}
    look(live, at_once, Cursor())
    assert str(known) == str(at_once)  # not a number is not equal to itself
    assert sorted(known) == list(range(len(known)))
    assert not live.changes(cursor).rows
    times = [known[k]["acquired"] for k in sorted(known)]
    assert times == sorted(times)


def test_one_event_changes_one_row(moments: list[Moment]) -> None:
    live = SessionListener()
    for _, one in moments:
        live(one)
    cursor = live.changes(Cursor()).cursor
    live(messages.StackFailed(messages.CORRECTION, moments[1][1].name, "no disk", 1))  # type: ignore[attr-defined]
    changes = live.changes(cursor)
    assert not changes.all_anew and len(changes.rows) == 1


def test_a_late_stack_moves_the_others_on(made: Made) -> None:
    live = SessionListener(lambda: BEGAN)
    for one in (made.started(), made.found(1), made.found(3), made.found(2)):
        live(one)
    rows = live.changes(Cursor()).rows
    assert [rows[k]["name"] for k in range(3)] == ["1.mrc", "2.mrc", "3.mrc"]


def test_the_newest_output_is_that_of_the_last_correction(made: Made) -> None:
    live = SessionListener(lambda: BEGAN)
    for one in (made.started(), made.found(1), made.found(2), made.done(2), made.summed(1)):
        live(one)
    assert live.newest() == ("/night/koma", "2.mrcz")


def test_it_may_be_asked_while_it_listens(made: Made) -> None:
    live, stop, seen = SessionListener(), threading.Event(), list[Snapshot]()

    def ask() -> None:
        while not stop.is_set():
            live.changes(Cursor())
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

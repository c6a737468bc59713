"""A session's state is the fold of its events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.monitor.state import STATES, SessionState
from mrcz_dask.session.log import Moment
from mrcz_dask.values import messages

from .conftest import BEGAN, Made

KINDS = ("found", "summed", "done", "failed", "due", "left out", "gone on")
steps = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5)), max_size=40)


def message(made: Made, kind: str, k: int) -> messages.Message:
    match kind:
        case "found":
            return made.found(k)
        case "summed":
            return made.summed(k)
        case "done":
            return made.done(k, provisional=k == 5)
        case "failed":
            return made.failed(k)
        case "due":
            return messages.StackDue(f"{k}.mrc", "neighbor changed")
        case "left out":
            return messages.StackLeftOut(f"{k}.mrc", "half written", rejected=k % 2 == 0)
        case _:
            return messages.PhaseStarted(messages.SUMS, 1, 100)


def fold(told: Sequence[tuple[messages.Message, datetime]]) -> SessionState:
    return SessionState.of([(time, one) for one, time in told])


@given(steps)
def test_every_stack_is_in_one_state_and_no_file_is_a_stack_and_left_out(
    steps: list[tuple[str, int]],
) -> None:
    made = Made()
    state = fold([(message(made, kind, k), BEGAN) for kind, k in steps])
    assert all(one.state in STATES for one in state.stacks.values())
    assert not set(state.stacks) & set(state.left_out)
    for one in state.stacks.values():
        assert (one.state == "failed") == bool(one.failed_in)


@given(steps, steps)
def test_a_run_begins_anew(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    made = Made()
    told = [(message(made, kind, k), BEGAN) for kind, k in after]
    again = [(message(made, kind, k), BEGAN) for kind, k in before]
    start = (made.started(), BEGAN)
    assert fold([*again, start, *told]) == fold([start, *told])


def test_what_went_through_is_marked_and_what_was_kept_is_not(made: Made) -> None:
    told: list[Any] = [made.found(0), made.found(1), made.summed(0), made.summed(1, kept=True), made.done(0)]
    state = fold([(one, BEGAN) for one in told])
    assert {name: len(marks) for name, marks in state.marks.items()} == {
        messages.SUMS: 1,
        messages.CORRECTION: 1,
    }
    assert [one.state for one in state.stacks.values()] == ["done", "summed"]


def test_a_stack_that_is_done_at_last_has_not_failed(made: Made) -> None:
    state = fold([(made.found(0), BEGAN), (made.failed(0, "no disk"), BEGAN)])
    assert state.stacks["0.mrc"].reason == "no disk" and state.failures == 1
    state.take(made.summed(0), BEGAN)
    assert state.stacks["0.mrc"].state == "summed" and not state.stacks["0.mrc"].reason
    assert state.failures == 1


def test_latency_is_from_being_found_to_being_done(made: Made) -> None:
    told = [(made.found(0), made.at(5).now), (made.done(0), made.at(47.5).now)]
    assert fold(told).stacks["0.mrc"].latency == 42.5
    kept = [(made.found(0), made.at(5).now), (made.done(0, kept=True), made.at(6).now)]
    assert fold(kept).stacks["0.mrc"].latency is None


def test_a_real_run_ends_with_every_stack_done(moments: list[Moment]) -> None:
    state = SessionState.of(moments)
    assert {one.state for one in state.stacks.values()} == {"done"}
    assert len(state.stacks) == 6 and len(state.left_out) == 1
    assert state.ended is not None and state.ended.done == 6

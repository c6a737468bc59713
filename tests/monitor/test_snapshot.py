"""The numbers of a session: what the run itself says of it, and rates that can be worked out by hand."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.correction.verdict import verdict_on
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.monitor.snapshot import Snapshot, headline, snapshot
from mrcz_dask.monitor.state import SessionState
from mrcz_dask.report.gather import gather
from mrcz_dask.session.log import read_messages
from mrcz_dask.values import messages
from mrcz_dask.values.params import KomaParams, Settings

from .conftest import BEGAN, Made


def at(state: SessionState, seconds: float, *, alive: bool = True) -> Snapshot:
    return snapshot(state, BEGAN + timedelta(seconds=seconds), alive=alive)


def running(made: Made, *, stacks: int, summed: int, every: float) -> SessionState:
    """A first pass over stacks of a GB that takes so long for each."""
    state = SessionState()
    state.take(made.started(), made.at(0).now)
    for k in range(stacks):
        state.take(made.found(k, minutes=2 * k, size=10**9), made.now)
    state.take(messages.PhaseStarted(messages.SUMS, stacks, stacks * 10**9), made.now)
    for k in range(summed):
        state.take(made.summed(k, size=10**9), made.at(every * (k + 1)).now)
    return state


def test_the_numbers_are_those_of_the_outcome(night: Path, tmp_path: Path) -> None:
    plan = make_plan(night, tmp_path / "out", Settings(koma=KomaParams(radius=2)))
    outcome = carry_out(plan, SerialClient())
    numbers = at(SessionState.of(read_messages(plan.folder)), 0)
    done = outcome.results
    assert numbers.running == "finished" and numbers.phase is None
    assert numbers.stacks["done"] == numbers.stacks["all"] == len(done)
    assert numbers.stacks["failed"] + numbers.rejected == outcome.not_done == 1
    assert (numbers.hot, numbers.dead) == (sum(r.hot for r in done), sum(r.dead for r in done))
    assert numbers.bytes_in == sum(r.bytes_in for r in done)
    assert numbers.bytes_out == sum(r.bytes_out for r in done)
    assert numbers.verdict is not None and numbers.verdict == verdict_on(done) == gather(plan.folder).verdict
    usable = [r.noise["corrected"] for r in done if r.usable]
    assert numbers.noise["corrected"] == pytest.approx(sum(v for v in usable if v is not None) / len(usable))


def test_rates_and_the_time_left(made: Made) -> None:
    state = running(made, stacks=40, summed=11, every=6)
    numbers = at(state, 66)
    assert numbers.stacks_per_minute == pytest.approx(10)
    assert numbers.bytes_per_minute == pytest.approx(10e9)
    assert numbers.acquired_per_minute == pytest.approx(0.5)
    # 29 stacks at 10 a minute; then 40, of which nothing is known but the first pass
    assert numbers.seconds_left == pytest.approx(60 * (2.9 + 4 * 2.5))


def test_two_passes_go_on_side_by_side(made: Made) -> None:
    """Ten stacks in 160 s: each is summed in 4 s and corrected in 10 s, in turn, and waits for two others."""
    state = running(made, stacks=20, summed=0, every=0)
    state.take(messages.PhaseStarted(messages.CORRECTION, 20, 20 * 10**9), made.now)
    seconds = 0.0
    for k in range(12):
        seconds += 4
        state.take(made.summed(k, size=10**9), made.at(seconds).now)
        if k == 2:
            assert at(state, seconds).seconds_left == pytest.approx(17 * 4 + 20 * 10)
        if k >= 2:
            seconds += 10
            state.take(made.done(k - 2, size=10**9), made.at(seconds).now)
            # 8 % off at most while the first of the last stacks are sums alone
            left = at(state, seconds).seconds_left
            assert left == pytest.approx((19 - k) * 4 + (21 - k) * 10, rel=0.08)
    numbers = at(state, seconds)
    assert numbers.phase == "sums and masks, correction"
    assert headline(numbers) == "running: sums and masks, correction"
    assert numbers.stacks_per_minute == pytest.approx(60 / 14)
    state.take(messages.PhaseFinished(messages.SUMS), made.now)
    assert at(state, seconds).phase == "correction"


def test_a_pass_that_stands_still_becomes_slower(made: Made) -> None:
    state = running(made, stacks=40, summed=11, every=6)
    assert at(state, 71).stacks_per_minute == pytest.approx(10)
    later = at(state, 66 + 6 + 60)
    assert later.stacks_per_minute == pytest.approx(5)
    state.take(messages.PhaseFinished(messages.SUMS), made.now)
    assert at(state, 500).stacks_per_minute == pytest.approx(10)


@given(st.lists(st.floats(0, 1e5), min_size=2, max_size=60), st.floats(0, 1e5))
def test_rates_are_positive_or_unknown(times: list[float], later: float) -> None:
    made = Made()
    state = running(made, stacks=len(times), summed=0, every=0)
    for k, seconds in enumerate(sorted(times)):
        state.take(made.summed(k), made.at(seconds).now)
    numbers = at(state, max(times) + later)
    assert numbers.stacks_per_minute is None or numbers.stacks_per_minute > 0
    assert numbers.seconds_left is None or numbers.seconds_left >= 0


def test_how_a_run_is(made: Made) -> None:
    assert at(SessionState(), 0).running == "nothing yet"
    state = running(made, stacks=2, summed=1, every=1)
    assert at(state, 2).running == "running"
    assert at(state, 2, alive=False).running == "lost"
    state.take(messages.RunFinished(0, 0, "no space left"), made.now)
    ended = at(state, 2, alive=False)
    assert (ended.running, ended.error, ended.seconds_left) == ("stopped", "no space left", None)


def test_high_contrast_and_kept_stacks_are_counted(made: Made) -> None:
    state = running(made, stacks=4, summed=4, every=1)
    for one in (made.done(0), made.done(1, kept=True), made.done(2, usable=False), made.failed(3)):
        state.take(one, made.now)
    numbers = at(state, 10)
    assert numbers.high_contrast == 1
    assert (numbers.stacks["done"], numbers.stacks["kept"], numbers.stacks["failed"]) == (3, 1, 1)
    assert numbers.noise["raw"] == pytest.approx(1e-2)
    state.take(made.done(2, usable=False, score=None), made.now)
    assert at(state, 10).high_contrast == 0

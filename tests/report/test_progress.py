"""The runs that a log tells of."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mrcz_dask.report.progress import RunLog, RunTimes
from mrcz_dask.session.log import Moment, read_messages
from mrcz_dask.values import messages
from mrcz_dask.values.records import Summed

BEGAN = datetime(2026, 3, 1, 20, tzinfo=UTC)
FOUND = Summed(1.5, 10, 1, 3, -4.0, 3.5, 60.0, 8.0, 0.01, "ok")


def run_times(moments: Iterable[Moment]) -> tuple[RunTimes, ...]:
    log = RunLog()
    for time, message in moments:
        log.take(message, time)
    return tuple(log.runs)


def at(seconds: float, message: messages.Message) -> Moment:
    return BEGAN + timedelta(seconds=seconds), message


def started(seconds: float) -> Moment:
    return at(
        seconds,
        messages.RunStarted("1.2.3", "/night", "/night/koma", {}, {"workers": 4, "threads": 8}, "any"),
    )


def test_a_run_and_one_that_was_lost() -> None:
    sums = messages.SUMS
    done = [at(10 * k, messages.StackDone(sums, f"{k}.mrc", 100, None, FOUND)) for k in (2, 3)]
    first = [
        started(0),
        at(10, messages.PhaseStarted(sums, 2, 200)),
        *done,
        at(40, messages.PhaseFinished(sums)),
    ]
    moments = [
        *first,
        at(50, messages.RunFinished(2, 1)),
        started(100),
        at(110, messages.PhaseStarted(sums, 1, 100)),
    ]
    one, two = run_times([*moments, at(130, messages.StackDone(sums, "4.mrc", 100, None, FOUND))])
    assert (one.how, one.done, one.failed, one.kept, one.seconds) == ("finished", 2, 1, 0, 50)
    assert (one.passes[0].stacks, one.passes[0].bytes, one.passes[0].seconds) == (2, 200, 30)
    assert one.marks == [(sums, 20.0, 1), (sums, 30.0, 2)]
    assert one.where == "4 workers, 8 stacks at a time"
    assert (two.how, two.passes[0].seconds, two.seconds) == ("lost", 20, 30)


def test_passes_side_by_side_and_stacks_that_come_later() -> None:
    both = [
        at(k, messages.PhaseStarted(p, 1, 100))
        for k in (10, 20)
        for p in (messages.SUMS, messages.CORRECTION)
    ]
    ends = [
        at(40, messages.PhaseFinished(messages.SUMS)),
        at(50, messages.PhaseStarted(messages.SUMS, 1, 100)),
        at(60, messages.PhaseFinished(messages.SUMS)),
        at(90, messages.PhaseFinished(messages.CORRECTION)),
    ]
    (one,) = run_times([started(0), *both, *ends])
    assert [(p.phase, p.seconds) for p in one.passes] == [(messages.SUMS, 40), (messages.CORRECTION, 80)]


def test_an_error_is_how_it_ended() -> None:
    (one,) = run_times([started(0), at(5, messages.RunFinished(0, 0, "no space"))])
    assert one.how == "stopped: no space" and one.passes == []


def test_events_before_any_run_are_nobodys() -> None:
    assert run_times([at(0, messages.RunFinished(1, 0))]) == ()


def test_of_a_real_log(out: Path) -> None:
    (one,) = run_times(read_messages(out))
    assert one.how == "finished" and one.where == "one process, one stack at a time"
    assert [(p.phase, p.stacks) for p in one.passes] == [(messages.SUMS, 9), (messages.CORRECTION, 9)]
    assert all(p.seconds > 0 for p in one.passes) and one.done == 9 and one.failed == 1

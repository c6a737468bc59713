import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import xarray

from mrcz_dask.live.frames import Frame, Publish, Roi
from mrcz_dask.live.processors.host import Script
from mrcz_dask.live.processors.pool import Pool
from mrcz_dask.live.processors.results import ResultStore
from mrcz_dask.live.session import LiveParams, LiveSession, names_of
from mrcz_dask.values.errors import FormatError, ParameterError
from mrcz_dask.values.messages import (
    FramesMissing,
    ProcessorFailed,
    ProcessorLoaded,
    ProcessorRestarted,
    SourceEnded,
    Warned,
)
from tests.live.conftest import Ears, Numbers, run_all

Write = Callable[[str, str], Script]

TOP = """
@processor(Scalar("top", unit="counts"))
def top(frame):
    return frame.max()
"""
COUNT = """
@processor(Scalar("seen"))
def count(frame, state, info, *, fail: Literal["no", "raise", "hang", "exit", "sysexit", "memory"] = "no"):
    state["n"] = state.get("n", 0) + 1
    if info.number == 3:
        if fail == "raise":
            raise ValueError("three is bad")
        if fail == "hang":
            time.sleep(100)
        if fail == "exit":
            os._exit(3)
        if fail == "sysexit":
            sys.exit(3)
        if fail == "memory":
            return np.ones(1_250_000_000).sum()
    return state["n"]
"""


def _values(session: LiveSession, panel: str, output: str) -> list[Any]:
    return [one.values[output] for one in session.results(panel, 0)[1]]


def test_every_frame_reaches_every_processor(pool: Pool, write: Write) -> None:
    session = run_all(pool, Numbers(range(10)), [write("top", TOP), write("count", COUNT)])
    assert _values(session, "top", "top") == list(range(10))
    assert _values(session, "count", "seen") == list(range(1, 11))
    assert [(one.processed, one.failed, one.status) for one in session.panels()] == [(10, 0, "ended")] * 2
    assert session.source().received == 10 and session.source().ended


@pytest.mark.parametrize("how", ["raise", "sysexit", "memory"])
def test_what_raises_is_shown_and_goes_on_with_its_state(pool: Pool, write: Write, how: str) -> None:
    ears = Ears()
    script = write("count", COUNT.replace('= "no"', f'= "{how}"'))
    session = run_all(pool, Numbers(range(6)), [script], ears)
    assert _values(session, "count", "seen") == [1, 2, 3, 4, 5]  # the third frame's change of state is undone
    (failed,) = ears.of(ProcessorFailed)
    assert failed.frame == 3 and "count.py" in failed.trace and "host.py" not in failed.trace
    assert session.panels()[0].failed == 1 and session.panels()[0].restarts == 0


@pytest.mark.parametrize("how", ["exit", "hang"])
def test_what_loses_its_worker_gets_another_and_its_state(pool: Pool, write: Write, how: str) -> None:
    ears = Ears()
    scripts = [write("count", COUNT.replace('= "no"', f'= "{how}"')), write("top", TOP)]
    session = run_all(pool, Numbers(range(6)), scripts, ears)
    assert _values(session, "count", "seen") == [1, 2, 3, 4, 5]
    assert _values(session, "top", "top") == list(range(6))
    assert [one.restarts for one in session.panels()] == [1, 0]
    assert [one.frame for one in ears.of(ProcessorRestarted)] == [3]


def test_a_state_can_begin_anew_after_a_failure(pool: Pool, write: Write) -> None:
    body = COUNT.replace('= "no"', '= "raise"').replace('("seen")', '("seen"), on_failure="reset"')
    session = run_all(pool, Numbers(range(6)), [write("count", body)])
    assert _values(session, "count", "seen") == [1, 2, 3, 1, 2]


def test_a_slow_processor_takes_the_newest_frame_and_slows_no_other(pool: Pool, write: Write) -> None:
    slow = write("slow", TOP.replace("def top", "def slow").replace("return", "time.sleep(.4); return"))
    params = LiveParams(seconds=5)
    session = run_all(pool, Numbers(range(40), seconds=0.02), [slow, write("top", TOP)], params=params)
    one, other = session.panels()
    assert one.processed + one.skipped == 40 and one.skipped > one.processed
    assert other.processed > 2 * one.processed
    assert _values(session, "slow", "top")[-1] == 39  # the newest frame is always done


def test_gaps_are_seen(pool: Pool, write: Write) -> None:
    ears = Ears()
    session = run_all(pool, Numbers([0, 1, 4, 5, 9]), [write("top", TOP)], ears)
    assert session.source().missing == 5
    assert [(one.frame, one.count) for one in ears.of(FramesMissing)] == [(4, 2), (9, 3)]


def test_region_and_parameters_count_from_the_next_frame_on(pool: Pool, write: Write) -> None:
    body = """
@processor(Scalar("sum"))
def total(frame, *, times: Annotated[int, Range(1, 5)] = 1):
    return int(frame.sum()) * times
"""
    held = Held(range(6))
    session = LiveSession(held, [write("total", body)], pool, Ears(), LiveParams(every=True))
    session.start()
    held.give(2)
    _until(lambda: session.panels()[0].processed == 2)
    session.set_roi(Roi(1, 3, 0, 2))
    session.set_value("total", "times", 3)
    held.give(4)
    session.wait()
    session.close()
    assert _values(session, "total", "sum") == [0, 40, *(k * 4 * 3 for k in range(2, 6))]
    with pytest.raises(ParameterError, match="1 to 5"):
        session.set_value("total", "times", 9)
    with pytest.raises(ParameterError, match="no parameter"):
        session.set_value("total", "thing", 9)
    with pytest.raises(ParameterError, match="no processor"):
        session.reset("nobody")


def test_every_processor_can_have_a_region_of_its_own(pool: Pool, write: Write) -> None:
    body = "@processor(Scalar('sum'))\ndef {}(frame):\n    return int(frame.sum())\n"
    scripts = [write(name, body.format(name)) for name in ("one", "two")]
    held = Held(range(1, 5))
    params = LiveParams(Roi(1, 3, 0, 2), every=True, rois={"two": Roi(1, 2, 0, 1)})
    session = LiveSession(held, scripts, pool, Ears(), params)
    session.start()
    assert session.source().roi is None and session.panels()[1].roi == Roi(1, 2, 0, 1)
    held.give(1)
    _until(lambda: all(one.processed == 1 for one in session.panels()))
    session.set_roi(Roi(1, 4, 0, 1), "one")
    held.give(1)
    _until(lambda: all(one.processed == 2 for one in session.panels()))
    session.set_roi(Roi(1, 2, 0, 2))
    assert session.source().roi == Roi(1, 2, 0, 2)
    held.give(2)
    session.wait()
    session.close()
    assert _values(session, "one", "sum") == [4, 6, 6, 8]
    assert _values(session, "two", "sum") == [1, 2, 6, 8]


def test_a_file_that_is_edited_is_taken_and_a_broken_one_is_not(pool: Pool, write: Write) -> None:
    ears = Ears()
    script = write("top", TOP)
    held = Held(range(9))
    session = LiveSession(held, [script], pool, ears, LiveParams(every=True))
    session.start()
    held.give(3)
    _until(lambda: session.panels()[0].processed == 3)
    write("top", TOP.replace("frame.max()", "frame.max(), 'and nothing'"))
    write("top", TOP.replace("frame.max()", "frame.max()("))
    _until(lambda: session.panels()[0].load_error)
    assert "SyntaxError" in session.panels()[0].load_error
    held.give(3)
    _until(lambda: session.panels()[0].processed == 6)
    write("top", TOP.replace("frame.max()", "100 + frame.max()"))
    _until(lambda: session.panels()[0].version == 2)
    assert session.panels()[0].load_error == ""
    held.give(3)
    session.wait()
    session.close()
    assert _values(session, "top", "top") == [0, 1, 2, 3, 4, 5, 106, 107, 108]
    assert [one.version for one in ears.of(ProcessorLoaded)] == [1, 2]


def test_an_edited_file_that_ends_its_worker_costs_no_frame(pool: Pool, write: Write) -> None:
    held = Held(range(8))
    session = LiveSession(held, [write("top", TOP)], pool, Ears(), LiveParams(every=True))
    session.start()
    held.give(2)
    _until(lambda: session.panels()[0].processed == 2)
    write("top", TOP + "\nos._exit(1)\n")
    held.give(6)
    session.wait()
    session.close()
    (panel,) = session.panels()
    assert _values(session, "top", "top") == list(range(8))
    assert panel.version == 1 and panel.failed == 0


def test_a_value_that_a_processor_cannot_have_is_warned_of(pool: Pool, write: Write) -> None:
    ears = Ears()
    run_all(pool, Numbers([0]), [write("count", COUNT)], ears, values={"count": {"fail": "no", "gone": 1}})
    assert [one.message for one in ears.of(Warned)] == ["count: gone = 1 does not fit it and is ignored"]


def test_a_file_that_does_not_load_at_first_is_waited_for(pool: Pool, write: Write) -> None:
    script = write("top", "raise RuntimeError('not yet')\n" + TOP)
    held = Held(range(2))
    session = LiveSession(held, [script], pool, Ears(), LiveParams())
    session.start()
    _until(lambda: session.panels()[0].status == "failed")
    assert "not yet" in session.panels()[0].load_error
    write("top", TOP)
    _until(lambda: session.panels()[0].version == 1)
    held.give(2)
    session.wait()
    session.close()
    assert _values(session, "top", "top")[-1] == 1


@pytest.mark.parametrize("every", [True, False])
def test_a_file_that_never_loads_holds_nothing_up(pool: Pool, write: Write, every: bool) -> None:
    scripts = [write("bad", "import no_such_package\n"), write("top", TOP)]
    session = run_all(pool, Numbers(range(12)), scripts, params=LiveParams(every=every))
    bad, top = session.panels()
    assert "no_such_package" in bad.load_error and bad.status == "ended"
    assert top.number == 11 and session.source().received == 12


def test_pause_and_reset(pool: Pool, write: Write) -> None:
    held = Held(range(8))
    session = LiveSession(held, [write("count", COUNT)], pool, Ears(), LiveParams())
    session.start()
    held.give(1)
    _until(lambda: session.panels()[0].processed == 1)
    session.pause(True)
    assert session.source().paused and session.panels()[0].status == "paused"
    held.give(3)
    _until(lambda: session.source().received == 4)
    session.pause(False)
    session.reset("count")
    held.give(1)
    _until(lambda: session.panels()[0].processed == 2)
    assert _values(session, "count", "seen") == [1]
    assert session.panels()[0].skipped == 3
    held.give(3)
    session.close()


def test_a_frame_at_hand_is_finished_and_the_pause_stays(pool: Pool, write: Write) -> None:
    slow = write("slow", TOP.replace("def top", "def slow").replace("return", "time.sleep(.5); return"))
    held = Held(range(2))
    session = LiveSession(held, [slow], pool, Ears(), LiveParams())
    session.start()
    held.give(1)
    _until(lambda: session.panels()[0].status == "running")
    session.pause(True, "slow")
    _until(lambda: session.panels()[0].processed == 1)
    assert session.panels()[0].status == "paused" and not session.source().paused
    session.pause(False, "slow")
    assert session.panels()[0].status == "waiting"
    session.close()


def test_results_are_kept_for_xarray(pool: Pool, write: Write, tmp_path: Path) -> None:
    body = """
@processor(Scalar("mean", unit="counts"), Profile("rows", axis="row"), Image("half"))
def several(frame):
    return {"mean": frame.mean(), "rows": (np.arange(len(frame)) / 2, frame.mean(1)), "half": frame[::2, ::2]}
"""
    store = ResultStore(tmp_path / "live.zarr")
    source = Numbers(range(20))
    run_all(pool, source, [write("several", body)], params=LiveParams(every=True), store=store)
    with xarray.open_zarr(tmp_path / "live.zarr", group="several", consolidated=False) as found:
        assert found.frame.values.tolist() == list(range(20))
        assert found.time.values.tolist() == [1e9 + k for k in range(20)]
        frames = np.array([source.frame(k) for k in range(20)])
        np.testing.assert_array_equal(found["mean"].values, frames.mean((1, 2)))
        np.testing.assert_array_equal(found["rows"].values, frames.mean(2))
        np.testing.assert_array_equal(found["rows_axis"].values[3], np.arange(6) / 2)
        np.testing.assert_array_equal(found["half"].values, frames[:, ::2, ::2])


def test_catching_up_gives_what_keeping_up_would_have(pool: Pool, write: Write, tmp_path: Path) -> None:
    body = """
@processor(Scalar("total"))
def run(frame, state, *, weight: float = 1.0):
    state["sum"] = state.get("sum", 0) + weight * float(frame[1:].mean())
    return state["sum"]
"""
    slow = write("run", body.replace("return", "time.sleep(.15); return"))
    store = ResultStore(tmp_path / "live.zarr")
    live = LiveSession(Numbers(range(30), seconds=0.03), [slow], pool, Ears(), LiveParams(), store=store)
    live.start()
    _until(lambda: live.panels()[0].processed >= 2)
    live.set_value("run", "weight", 10.0)
    live.wait()
    live.close()
    assert live.panels()[0].skipped > 0
    changed = store.settings("run")[1]
    assert changed.values == {"weight": 10.0}
    run_all(pool, Numbers(range(30)), [write("run", body)], store=store)
    with xarray.open_zarr(store.path, group="run", consolidated=False) as found:
        steps = np.where(np.arange(30) < changed.number, 1.0, 10.0) * np.arange(30)
        np.testing.assert_array_equal(found.frame.values, np.arange(30))
        np.testing.assert_array_equal(found["total"].values, np.cumsum(steps))
    assert [one.values for one in store.settings("run")] == [{"weight": 1.0}, {"weight": 10.0}]


def test_one_stream_is_processed_and_all_are_recorded(pool: Pool, write: Write) -> None:
    ears, kept = Ears(), Kept()

    class Two(Numbers):
        def run(self, publish: Publish, stop: Event) -> None:
            for k in self._numbers:
                publish([Frame(k, 0.0, self.frame(k), stream="ab"[k % 2])])

    session = run_all(pool, Two(range(6)), [write("top", TOP)], ears, recording=kept)
    assert [one.number for one in kept.frames] == list(range(6))
    assert _values(session, "top", "top") == [0, 2, 4]
    assert ["frames of b" in one.message for one in ears.of(Warned)] == [True]


class Kept:
    """A recording that holds what it is given."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def append(self, frames: Any) -> None:
        self.frames += frames


@pytest.mark.parametrize("failure", [None, FormatError("no more"), ZeroDivisionError("of the library")])
def test_catching_up_that_is_not_whole_leaves_what_is_there(
    pool: Pool, write: Write, tmp_path: Path, failure: Exception | None
) -> None:
    script, store = write("top", TOP), ResultStore(tmp_path / "live.zarr")
    run_all(pool, Numbers(range(5)), [script], params=LiveParams(), store=store)
    before = sorted((store.path / "top").rglob("*"))

    class Broken(Held):
        def run(self, publish: Publish, stop: Event) -> None:
            super().run(publish, stop)
            if failure is not None:
                raise failure

    source = Held(range(9)) if failure is None else Broken(range(2))
    ears = Ears()
    session = LiveSession(source, [script], pool, ears, LiveParams(every=True), store=store)
    session.start()
    source.give(2)
    _until(lambda: session.panels()[0].processed == 2)
    session.close() if failure is None else session.wait()
    session.close()
    (end,) = ears.of(SourceEnded)
    assert str(failure or "") in end.error
    assert sorted((store.path / "top").rglob("*")) == before
    assert not (store.path / ".top").exists()


def test_names_are_told_apart(write: Write) -> None:
    one = write("top", TOP)
    assert names_of([one, write("count", COUNT), one]) == ["top-1", "count", "top-2"]


class Held(Numbers):
    """Gives frames when it is told."""

    def __init__(self, numbers: Any) -> None:
        super().__init__(numbers)
        self._allowed = 0

    def give(self, many: int) -> None:
        self._allowed += many

    def run(self, publish: Publish, stop: Event) -> None:
        for k in self._numbers:
            while self._allowed == 0:
                if stop.wait(0.01):
                    return
            self._allowed -= 1
            publish([Frame(k, 1e9 + k, self.frame(k), "stack", k)])


def _until(true: Callable[[], object]) -> None:
    for _ in range(6000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")

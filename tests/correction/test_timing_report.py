"""Timing reports: totals, waiting, shares, the codec floor; taking times changes no byte."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.correction.plan import Plan, make_plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.correction.timing_report import (
    FLOOR,
    Collector,
    PhaseTimes,
    StackTime,
    TimingReport,
    Total,
    run_profiled,
    totals,
)
from mrcz_dask.engine.client import DaskClient, SerialClient
from mrcz_dask.values import messages
from mrcz_dask.values.params import KomaParams, Settings, WriteMode, WriteParams
from mrcz_dask.values.timing import PHASES, Spent, Timing
from tests.correction.conftest import WRITES

SECONDS = st.integers(0, 1000).map(lambda k: k / 64)
SPENT = st.builds(Spent, st.sampled_from(PHASES), st.booleans(), SECONDS, SECONDS, st.integers(0, 10**9))


def stack(name: str, wall: float, *spent: Spent, worker: str = "a:1", start: float = 0.0) -> StackTime:
    return StackTime(name, True, Timing(worker, start, wall, spent))


def profile(*passes: PhaseTimes) -> TimingReport:
    return TimingReport(Path("out"), 12.0, 2, {"kind": "dask", "workers": 2, "threads": 2}, passes)


DECODE = Spent("decode", False, 2.0, 1.5, 4_000_000_000)
ENCODE = Spent("encode", True, 1.0, 1.0, 1_000_000_000)
FIT = Spent("fit", False, 3.0, 3.0, 0)
BLOCKED = Spent("blocked", False, 0.5, 0.0, 0)
FIRST = PhaseTimes(
    "sums and masks", 6.0, (stack("a", 5.0, DECODE, FIT), stack("b", 5.0, DECODE, FIT, worker="b:2"))
)
SECOND = PhaseTimes(
    "correction", 11.0, (stack("a", 2.5, DECODE, ENCODE, BLOCKED), StackTime("b", False, None))
)


@given(st.lists(SPENT))
def test_totals_lose_nothing(spent: list[Spent]) -> None:
    found = totals(spent)
    assert sum(one.seconds for one in found.values()) == sum(s.wall for s in spent)
    assert sum(one.processor for one in found.values()) == sum(s.processor for s in spent)
    assert sum(one.bytes for one in found.values()) == sum(s.bytes for s in spent)
    assert list(found) == [name for name in PHASES if name in found]


def test_rates_are_of_a_thread() -> None:
    assert totals([DECODE, DECODE])["decode"].rate == 2.0
    assert totals([FIT])["fit"].rate is None
    assert Total(0.0, 0.0, 0.0, 5).rate is None


def test_waiting_is_what_no_task_used() -> None:
    """The phases go on side by side in 12 s of two slots."""
    assert profile(FIRST, SECOND).waiting == 2 * 12.0 - 5.0 - 5.0 - 2.5
    assert profile(PhaseTimes("correction", 1.0, (stack("a", 25.0),))).waiting == 0


def test_the_floor_is_decoding_twice_encoding_and_the_disk() -> None:
    found = profile(FIRST, SECOND)
    assert found.floor == 3 * 2.0 + 1.0
    assert found.slot_seconds == 24.0
    assert found.ratio == 24.0 / 7.0
    assert found.busy == 3 * 2.0 + 2 * 3.0 + 1.0  # waiting for a helper is not work
    assert profile().ratio is None


def test_as_json() -> None:
    said = json.loads(json.dumps(profile(FIRST, SECOND).to_dict()))
    assert said["floor"] == {"phases": list(FLOOR), "seconds": 7.0, "ratio": 24.0 / 7.0}
    assert said["executor"]["workers"] == said["slots"] == 2
    assert {"python", "mrcz_dask", "numpy", "blosc2"} <= set(said["versions"])
    phases = said["phases"]
    assert phases["decode"]["gb_per_s"] == 2.0
    assert {name: phases["encode"][name] for name in ("wall", "helpers", "bytes", "gb_per_s")} == {
        "wall": 0,
        "helpers": 1.0,
        "bytes": 10**9,
        "gb_per_s": 1.0,
    }
    assert sum(one["share"] for one in phases.values()) == pytest.approx(1)
    first, second = said["passes"]
    assert phases["waiting"]["wall"] == 11.5 and "waiting" not in first["phases"]
    assert first["workers"]["b:2"] == {"stacks": 1, "busy": 5.0, "first_start": 0.0, "last_end": 5.0}
    assert first["stacks"][0]["phases"]["fit"] == {"wall": 3.0, "processor": 3.0, "bytes": 0}
    assert second["stacks"][0]["helpers"]["encode"]["wall"] == 1.0
    assert second["stacks"][1] == {"name": "b", "done": False, "phases": {}, "helpers": {}}


RECORDS = {"profile.json", "dask-report.html", "events.jsonl"}


def plan(night: Path, out: Path, write: WriteMode = "normalized") -> Plan:
    return make_plan(night, out, Settings(koma=KomaParams(radius=2), write=WriteParams(write=write)))


def profiled(night: Path, out: Path, **more: Any) -> tuple[Outcome, TimingReport]:
    return run_profiled(plan(night, out, **more), SerialClient())


def everything(folder: Path) -> dict[str, bytes]:
    """Every byte of outputs and session store."""
    found = (p for p in folder.rglob("*") if p.is_file() and p.name not in RECORDS)
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


Timed = Callable[..., tuple[Outcome, TimingReport]]


@pytest.fixture(scope="module")
def timed(simulated_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Timed:
    """timed(write): a run with its times, which nothing may change."""

    @cache
    def run(write: WriteMode) -> tuple[Outcome, TimingReport]:
        return profiled(simulated_night, tmp_path_factory.mktemp("timed") / "out", write=write)

    return run


@pytest.mark.parametrize("write", WRITES)
def test_outputs_and_store_are_the_same_bytes(
    night: Path, tmp_path: Path, timed: Timed, write: WriteMode
) -> None:
    bare = carry_out(plan(night, tmp_path / "bare", write), SerialClient())
    outcome, _ = timed(write)
    assert outcome.results == bare.results
    assert everything(outcome.plan.folder) == everything(tmp_path / "bare")


@pytest.mark.parametrize("write", WRITES)
def test_phases_add_up_to_the_wall_time(timed: Timed, write: WriteMode) -> None:
    _, found = timed(write)
    assert [one.name for one in found.phases] == ["sums and masks", "correction"]
    for one in found.phases:
        assert len(one.timings) == 5
        for timing in one.timings:
            own = [s for s in timing.spent if not s.helpers]
            assert sum(s.wall for s in own) == pytest.approx(timing.wall)
            named = sum(s.wall for s in own if s.phase not in ("other", "blocked"))
            assert timing.wall / 2 <= named <= timing.wall
        busy = sum(t.wall for t in one.timings)
        assert busy <= one.wall <= found.wall
    assert found.slot_seconds == found.wall
    assert 0 <= found.waiting <= found.wall / 2


def test_every_phase_is_marked_with_its_bytes(timed: Timed) -> None:
    outcome, found = timed("normalized")
    first, second = (one.totals for one in found.phases)
    assert {"decode", "sum", "fit", "disk"} <= set(first)
    assert {"decode", "sum", "fit", "window", "apply", "encode", "disk"} <= set(second)
    pixels = 5 * 6 * 64 * 80
    assert (first["decode"].bytes, second["decode"].bytes) == (pixels, pixels)
    assert second["encode"].bytes == 2 * pixels  # int16
    assert second["disk"].bytes > sum(p.stat().st_size for p in outcome.plan.folder.glob("*.mrcz"))


def test_the_file_holds_the_profile(timed: Timed) -> None:
    outcome, found = timed("normalized")
    said = json.loads((outcome.plan.folder / "profile.json").read_text())
    assert said["profile"] == 1
    assert said["executor"] == {"kind": "serial"}
    assert said["wall"] == found.wall
    assert [len(one["stacks"]) for one in said["passes"]] == [5, 5]
    assert not (outcome.plan.folder / "dask-report.html").exists()


def test_a_stack_that_fails_has_its_time_too(night: Path, tmp_path: Path) -> None:
    bad = sorted(night.glob("*.mrcz"))[0]
    data = bytearray(bad.read_bytes())
    data[5000] ^= 255
    bad.write_bytes(data)
    outcome, found = profiled(night, tmp_path / "out")
    assert len(outcome.failures) == 1
    (failed,) = (s for s in found.phases[0].stacks if not s.done)
    assert failed.name == bad.name
    assert isinstance(failed.timing, Timing)


def test_a_run_that_keeps_everything_has_no_floor(night: Path, tmp_path: Path) -> None:
    profiled(night, tmp_path / "out")
    outcome, found = profiled(night, tmp_path / "out")
    assert all(one.kept for one in outcome.results)
    assert found.ratio is None
    assert found.totals == {}


def test_a_profile_that_cannot_be_written_is_a_warning(night: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "profile.json").mkdir(parents=True)
    heard: list[messages.Message] = []
    outcome, _ = run_profiled(plan(night, tmp_path / "out"), SerialClient(), heard.append)
    assert outcome.complete
    (warned,) = (e for e in heard if isinstance(e, messages.Warned))
    assert "profile.json" in warned.message


def test_times_are_taken_only_if_asked_for(night: Path, tmp_path: Path) -> None:
    heard: list[messages.Message] = []
    carry_out(plan(night, tmp_path / "out"), SerialClient(), heard.append)
    assert {e.timing for e in heard if isinstance(e, messages.StackDone)} == {None}


def test_the_collector_takes_the_time_of_passes() -> None:
    collector = Collector(iter([1.0, 2.0, 4.0, 5.5]).__next__)
    timing = Timing("a:1", 0.0, 2.0, ())
    for message in (
        messages.PhaseStarted("sums", 2, 9),
        messages.PhaseStarted("correction", 2, 9),
        messages.StackDone("sums", "a", 4, timing),
        messages.StackDone("correction", "a", 4, timing),
        messages.StackFailed("sums", "b", "worker lost", 5),
        messages.PhaseFinished("sums"),
        messages.Warned("x"),
        messages.PhaseFinished("correction"),
    ):
        collector(message)
    sums, correction = collector.phases
    assert (sums.wall, [(s.name, s.done) for s in sums.stacks]) == (3.0, [("a", True), ("b", False)])
    assert (correction.wall, [s.name for s in correction.stacks]) == (3.5, ["a"])


class TestOnACluster:
    def test_dasks_report_is_written_beside(self, night: Path, tmp_path: Path, processes: DaskClient) -> None:
        from distributed import Client

        outcome, found = run_profiled(plan(night, tmp_path / "out"), processes)
        assert outcome.complete
        page = (tmp_path / "out" / "dask-report.html").read_text()
        assert "Dask Performance Report" in page and "number of tasks: 21" in page
        with pytest.raises(ValueError, match="client"):
            Client.current()
        assert found.slots == 2
        assert 1 <= len({t.worker for one in found.phases for t in one.timings}) <= 2
        assert {t.worker.partition(":")[2] for one in found.phases for t in one.timings} != {""}

    def test_the_same_bytes(self, night: Path, tmp_path: Path, processes: DaskClient) -> None:
        carry_out(plan(night, tmp_path / "bare"), SerialClient())
        run_profiled(plan(night, tmp_path / "timed"), processes)
        assert everything(tmp_path / "timed") == everything(tmp_path / "bare")

    def test_a_report_that_cannot_be_made_is_a_warning(
        self, night: Path, tmp_path: Path, processes: DaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(*_: object, **__: object) -> str:
            raise ImportError("no bokeh")

        monkeypatch.setattr(processes.client.scheduler, "performance_report", broken, raising=False)
        heard: list[messages.Message] = []
        outcome, _ = run_profiled(plan(night, tmp_path / "out"), processes, heard.append)
        assert outcome.complete
        (warned,) = (e for e in heard if isinstance(e, messages.Warned))
        assert "dask-report.html" in warned.message and "no bokeh" in warned.message
        assert not (tmp_path / "out" / "dask-report.html").exists()

    def test_an_error_leaves_no_report(
        self, night: Path, tmp_path: Path, processes: DaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(message: messages.Message) -> None:
            if isinstance(message, messages.PhaseFinished):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_profiled(plan(night, tmp_path / "out"), processes, fails)
        assert not {"profile.json", "dask-report.html"} & {p.name for p in (tmp_path / "out").iterdir()}

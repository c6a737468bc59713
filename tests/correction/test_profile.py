"""The arithmetic of a profile: totals, waiting, shares, the codec floor."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.correction.timing_report import FLOOR, Pass, StackTime, TimingReport, Total, totals
from mrcz_dask.values.timing import PHASES, Spent, Timing

SECONDS = st.integers(0, 1000).map(lambda k: k / 64)
SPENT = st.builds(Spent, st.sampled_from(PHASES), st.booleans(), SECONDS, SECONDS, st.integers(0, 10**9))


def stack(name: str, wall: float, *spent: Spent, worker: str = "a:1", start: float = 0.0) -> StackTime:
    return StackTime(name, True, Timing(worker, start, wall, spent))


def profile(*passes: Pass) -> TimingReport:
    return TimingReport(Path("out"), 12.0, 2, {"kind": "dask", "workers": 2, "threads": 2}, passes)


DECODE = Spent("decode", False, 2.0, 1.5, 4_000_000_000)
ENCODE = Spent("encode", True, 1.0, 1.0, 1_000_000_000)
FIT = Spent("fit", False, 3.0, 3.0, 0)
BLOCKED = Spent("blocked", False, 0.5, 0.0, 0)
FIRST = Pass(
    "sums and masks", 6.0, (stack("a", 5.0, DECODE, FIT), stack("b", 5.0, DECODE, FIT, worker="b:2"))
)
SECOND = Pass("correction", 11.0, (stack("a", 2.5, DECODE, ENCODE, BLOCKED), StackTime("b", False, None)))


@given(st.lists(SPENT))
def test_totals_lose_nothing(spent: list[Spent]) -> None:
    found = totals(spent)
    assert sum(one.seconds for one in found.values()) == sum(s.wall for s in spent)
    assert sum(one.processor for one in found.values()) == sum(s.processor for s in spent)
    assert sum(one.bytes for one in found.values()) == sum(s.bytes for s in spent)
    assert list(found) == [name for name in PHASES if name in found]


def test_rates_are_of_a_thread() -> None:
    assert Total.of([DECODE, DECODE]).rate == 2.0
    assert Total.of([FIT]).rate is None
    assert Total(0.0, 0.0, 0.0, 5).rate is None


def test_waiting_is_what_no_task_used() -> None:
    """The passes go on side by side in 12 s of two slots."""
    assert profile(FIRST, SECOND).waiting == 2 * 12.0 - 5.0 - 5.0 - 2.5
    assert profile(Pass("correction", 1.0, (stack("a", 25.0),))).waiting == 0


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

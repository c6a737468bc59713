import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks are no part of the package

from benchmarks.harness import Amounts, Bench, Goal, Pair, Row, at_least, at_most, measure, table


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, quick=True, threads=1, repeats=2)


@pytest.mark.parametrize(("goal", "ratio", "met"), [(at_most(2), 2.0, True), (at_least(0.6), 0.5, False)])
def test_a_ratio_is_speed_or_cost_as_its_goal_says(bench: Bench, goal: Goal, ratio: float, met: bool) -> None:
    found = measure(Row("what", "rival", goal, lambda _: Amounts(2, 1)), bench)
    assert (found.ratio, found.met, found.ours, found.theirs) == (ratio, met, 2, 1)
    assert "what | rival" in table([found]) and str(goal) in table([found])


def test_pairs_alternate_after_a_first_call_of_each(bench: Bench) -> None:
    bench.shape = (1, 8, 8)
    calls: list[str] = []
    pair = Pair(lambda: calls.append("a"), lambda: calls.append("b"), lambda: calls.append("-"))
    found = measure(Row("what", "rival", None, lambda _: pair), bench)
    assert "".join(calls) == "ab-a-b-b-a"
    assert found.met is None and found.lowest <= found.ratio <= found.highest

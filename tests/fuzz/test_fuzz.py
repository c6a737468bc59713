"""A short round of fuzzing, and all cases that longer rounds (`make fuzz`) have found."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutating import mutated
from tests.fuzz.targets import TARGETS, Target

CASES = sorted((Path(__file__).parent / "cases").glob("*-*"))


@pytest.mark.parametrize("target", TARGETS.values(), ids=str)
def test_damaged_bytes_are_read_or_refused(target: Target, tmp_path_factory: pytest.TempPathFactory) -> None:
    seeds = target.seeds(tmp_path_factory.mktemp("seeds"))
    folder = tmp_path_factory.mktemp("read")
    for data in seeds:
        target.read(data, folder)

    @settings(max_examples=20, derandomize=True)
    @given(which=st.sampled_from(range(len(seeds))), damage=st.integers(0, 2**32))
    def check(which: int, damage: int) -> None:
        target.check(mutated(seeds[which], damage), folder)

    check()


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.name)
def test_cases_that_were_found(case: Path, tmp_path: Path) -> None:
    target, seeds = TARGETS[case.name.rpartition("-")[0]], tmp_path / "seeds"
    seeds.mkdir()
    target.seeds(seeds)
    target.check(case.read_bytes(), tmp_path)

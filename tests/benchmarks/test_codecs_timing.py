import gc
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.codecs.timing import Sample, Timing, timed, turns


@given(st.lists(st.text(), max_size=6), st.integers(1, 5))
def test_everybody_has_as_many_turns(names: list[str], repeats: int) -> None:
    places = [place for place, _ in turns(names, repeats)]
    assert sorted(places) == sorted(list(range(len(names))) * repeats)
    assert all(name == names[place] for place, name in turns(names, repeats))


def test_the_order_turns_round() -> None:
    assert [name for _, name in turns("abc", 3)] == list("abccbaabc")


@given(st.lists(st.builds(Sample, st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=9))
def test_the_median_is_in_the_range(samples: list[Sample]) -> None:
    timing = Timing.of(samples)
    assert timing.lowest <= timing.wall <= timing.highest
    assert min(one.cpu for one in samples) <= timing.cpu <= max(one.cpu for one in samples)


def test_what_a_call_gave_comes_back_with_its_seconds() -> None:
    result, sample = timed(lambda: time.sleep(0.05) or "done")
    assert result == "done"
    assert sample.wall >= 0.05
    assert sample.cpu >= 0


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_as_it_was(enabled: bool) -> None:
    was_on = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        assert timed(gc.isenabled)[0] is False
        with pytest.raises(ZeroDivisionError):
            timed(lambda: 1 / 0)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_on else gc.disable)()


def test_the_processor_time_of_programs_counts() -> None:
    code = "import time\nwhile time.process_time() < 0.2: pass"
    _, sample = timed(lambda: subprocess.run([sys.executable, "-c", code], check=True))
    assert sample.cpu >= 0.2

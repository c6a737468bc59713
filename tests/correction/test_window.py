"""Windows that are advanced from stack to stack, or begin with blocks: the sums of windows from scratch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.correction import run as main
from mrcz_dask.correction import window_sums
from mrcz_dask.correction.run import Outcome
from mrcz_dask.correction.tasks import MemberRef, member_ref
from mrcz_dask.correction.window_sums import Block, Window, WindowTask, advance_windows, sum_block
from mrcz_dask.engine.loop import attempt
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.records import Failure
from tests.nights import Koma, run_koma

SHAPE = (32, 40)
STACKS = 7


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> tuple[SessionStore, list[MemberRef]]:
    """The sums and masks of seven tiny stacks, two of which have a finer exponent."""
    folder = tmp_path_factory.mktemp("windows")
    write_session(folder / "night", named("standard", shape=SHAPE, frames=4, stacks=STACKS, seed=1, dose=2))
    outcome = run_koma(folder / "night")
    store = SessionStore(outcome.plan.store)
    records = [record for e in outcome.plan.stacks if (record := store.record(e.stem)) is not None]
    return store, [replace(member_ref(one), exponent=int(k < 2)) for k, one in enumerate(records)]


def facts(sums: Any) -> dict[str, Any]:
    """Every number of the sums of some windows."""
    assert isinstance(sums, dict), sums
    return {
        name: (one.exponent, one.members, *(array.tolist() for array in one._arrays().values()))
        for name, one in sums.items()
    }


some = st.sets(st.integers(0, STACKS - 1), min_size=1)
wishes = st.lists(st.tuples(some, some, st.integers(0, STACKS - 1)), min_size=1, max_size=6)


@pytest.mark.slow
@given(
    wished=wishes,
    kind=st.sampled_from(["reference", "reference-raw", "session"]),
    masked=st.booleans(),
    block=some,
)
def test_a_chain_gives_the_sums_of_windows_from_scratch_and_keeps_what_it_was_given(
    stacks: tuple[SessionStore, list[MemberRef]], wished: Any, kind: Any, masked: bool, block: set[int]
) -> None:
    store, members = stacks
    chosen = [members[k] for k in sorted(block) if members[k].exponent == members[min(block)].exponent]
    begun = Block(str(store.path), tuple(chosen), kind == "reference-raw", SHAPE)
    made = sum_block(begun)
    before: Any = None
    for short, long, k in wished:
        own = members[k]
        first = tuple(members[j] for j in sorted(short - {k} or short))
        rest = (*(members[j] for j in sorted(long - {k} - block)), *(one for one in chosen if one != own))
        blocks = (begun,) if masked and own not in chosen and before is None else ()
        windows = {"short": Window(kind, masked, first, own if own not in first else None)}
        if rest:
            windows["long"] = Window(kind, masked, rest, own, blocks)
        task = WindowTask(own.name, str(store.path), SHAPE, windows)
        given_then = None if before is None else facts(before)
        found = advance_windows(before, task, made)
        scratch = {name: replace(one, blocks=()) for name, one in windows.items()}
        assert facts(found) == facts(advance_windows(None, replace(task, windows=scratch)))
        assert before is None or facts(before) == given_then
        before = found


def test_a_block_that_failed_is_not_used(stacks: tuple[SessionStore, list[MemberRef]]) -> None:
    store, members = stacks
    block = Block(str(store.path), tuple(members[3:]), False, SHAPE)
    task = WindowTask("x", str(store.path), SHAPE, {"long": Window("reference", True, block.members, None)})
    begun = replace(task, windows={"long": replace(task.windows["long"], blocks=(block,))})
    lost = replace(block, members=(replace(members[3], stem="nowhere"), *members[4:]))
    failed = attempt(sum_block, "windows", lost)
    assert isinstance(failed, Failure)
    assert facts(advance_windows(None, begun, failed)) == facts(advance_windows(None, task))


def test_a_window_after_one_that_failed_begins_anew(stacks: tuple[SessionStore, list[MemberRef]]) -> None:
    store, members = stacks
    task = WindowTask(
        "x", str(store.path), SHAPE, {"short": Window("reference", True, tuple(members[2:5]), None)}
    )
    lost = replace(members[3], stem="nowhere")
    wrong = replace(
        task, windows={"short": replace(task.windows["short"], members=(*members[4:6], lost, members[6]))}
    )
    first = advance_windows(None, task)
    then = facts(first)
    failed = advance_windows(first, wrong)
    assert isinstance(failed, Exception)
    assert facts(first) == then == facts(advance_windows(failed, task))


def outputs(outcome: Outcome) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in outcome.outputs}


def test_short_chains_and_blocks_change_no_byte(
    night: Path, tmp_path: Path, koma: Koma, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = koma(night, tmp_path / "plain", radius=1)
    made = []
    for name, value in (("CHAIN", 2), ("BLOCK", 2), ("WORTH", 2)):
        monkeypatch.setattr(main, name, value)
    monkeypatch.setattr(main, "sum_block", lambda block: made.append(block) or sum_block(block))
    assert outputs(koma(night, tmp_path / "cut", radius=1)) == outputs(plain)
    assert made
    monkeypatch.setattr(main, "sum_block", broken)
    assert outputs(koma(night, tmp_path / "broken", radius=1)) == outputs(plain)


def broken(*_: Any) -> Any:
    raise OSError("no")


def test_a_window_that_fails_is_one_stacks_failure(
    night: Path, tmp_path: Path, koma: Koma, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, name = koma(night, tmp_path / "plain"), sorted(path.name for path in night.glob("*.mrcz"))[3]
    advanced, tries = window_sums._window_sum, []

    def fail(before: Any, task: WindowTask, *more: Any) -> Any:
        tries.append(task.name)
        if task.name == name and (always or tries.count(name) == 1):
            raise ValueError("of this window")
        return advanced(before, task, *more)

    monkeypatch.setattr(window_sums, "_window_sum", fail)
    always = True
    failed = koma(night, tmp_path / "failed")
    assert failed.failed == {name: "ValueError: of this window"}
    others = {output: data for output, data in outputs(plain).items() if output != name}
    assert outputs(failed) == others
    always = False
    tries.clear()
    assert outputs(koma(night, tmp_path / "once")) == outputs(plain)  # the stack tries again by itself

"""Following a folder that grows: the same bytes as over the finished one, whatever the order of arrival."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.api.reproduce import reproduce
from mrcz_dask.correction.follow import FollowParams, first_stacks, follow
from mrcz_dask.correction.footer import last_steps
from mrcz_dask.correction.plan import Plan, make_plan, plan_over
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.numerics.session.breaks import REACH
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from mrcz_dask.session.watching import Watcher
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.messages import (
    Message,
    Noted,
    StackDone,
    StackDue,
    StackFound,
    StackLeftOut,
    Warned,
    silent,
)
from mrcz_dask.values.params import KomaParams, Settings
from mrcz_dask.values.records import StackResult
from tests.nights import write_night

Step = Callable[[], None]
# No break is looked for in seven stacks: none of them would be final before the end.
KOMA = KomaParams(radius=1, long_window=4, breaks="none")


def contents(folder: Path) -> dict[str, bytes]:
    """Every byte of the outputs."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != "events.jsonl"}


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Pauses(threading.Event):
    """Between two looks at the folder something happens, and time passes; after the last the run ends."""

    def __init__(self, clock: Clock, steps: Iterator[Step | None]) -> None:
        super().__init__()
        self._clock, self._steps = clock, steps

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.now += timeout or 0.0
        try:
            step = next(self._steps)
        except StopIteration:
            self.set()
            return True
        if step is not None:
            step()
        return False


def followed(
    session: Path,
    out: Path,
    steps: list[Step | None],
    listen: Any = silent,
    koma: KomaParams = KOMA,
    *,
    overwrite: bool = False,
    **params: Any,
) -> Outcome:
    """Follow a session in which a step happens at every pause."""
    clock = Clock()
    stop = Pauses(clock, iter([None, None, *steps]))  # the first ones have settled after two pauses
    how = FollowParams(**{"settle": 8.0, "poll": 5.0} | params)
    watcher = Watcher(session, out, how.settle, clock=clock)
    first = first_stacks(watcher, how, stop, listen)
    plan = plan_over(first, out, Settings(koma=koma), overwrite=overwrite)
    return follow(watcher, plan, SerialClient(), listen, how, stop, clock)


@pytest.fixture(scope="module")
def simulated_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven stacks: some are final while others still come."""
    return write_night(tmp_path_factory, stacks=7)


@pytest.fixture(scope="module")
def batch(simulated_night: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a run over the finished folder."""
    out = tmp_path_factory.mktemp("follow") / "batch"
    assert carry_out(make_plan(simulated_night, out, Settings(koma=KOMA)), SerialClient()).complete
    return contents(out)


@pytest.fixture
def stacks(night: Path) -> list[Path]:
    """The stacks in order of time."""
    from mrcz_dask.session.discovery import discover

    return [entry.path for entry in discover(night).stacks]


def bring(path: Path, to: Path) -> Step:
    """A step in which a stack arrives, with its .mdoc."""

    def step() -> None:
        for one in path.parent.glob(f"{path.name}*"):
            shutil.copyfile(one, to / one.name)

    return step


def results(heard: list[Message]) -> list[StackResult]:
    return [e.found for e in heard if isinstance(e, StackDone) and isinstance(e.found, StackResult)]


@pytest.mark.parametrize("provisional", [False, True])
def test_late_and_growing_stacks_end_with_the_bytes_of_a_batch_run(
    tmp_path: Path, stacks: list[Path], batch: dict[str, bytes], provisional: bool
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    growing = stacks[4].read_bytes()

    def grow(share: float) -> Step:
        return lambda: (live / stacks[4].name).write_bytes(growing[: round(share * len(growing))])

    late = [bring(stacks[1], live), bring(stacks[3], live)]
    for first in (stacks[0], stacks[2]):
        bring(first, live)()
    steps: list[Step | None] = [None, None, bring(stacks[5], live), grow(0.2), None, grow(0.5), grow(0.8)]
    steps += [None, late[0], grow(1), bring(stacks[4], live), None, None, late[1], bring(stacks[6], live)]
    steps += [None, None, None, None]
    heard: list[Message] = []
    outcome = followed(live, tmp_path / "out", steps, heard.append, provisional=provisional)
    assert outcome.complete and len(outcome.results) == 7
    assert contents(tmp_path / "out") == batch
    assert any(r.provisional for r in results(heard)) == provisional
    assert not any(r.provisional for r in outcome.results)


def test_a_result_is_final_as_soon_as_nothing_can_change_it(
    tmp_path: Path, stacks: list[Path], batch: dict[str, bytes]
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    bring(stacks[0], live)()
    steps: list[Step | None] = [None, None]
    for path in stacks[1:]:
        steps += [bring(path, live), None, None]
    heard: list[Message] = []
    followed(live, tmp_path / "out", steps, heard.append)
    order = [
        e.name
        for e in heard
        if isinstance(e, StackFound) or (isinstance(e, StackDone) and isinstance(e.found, StackResult))
    ]
    names = [path.name for path in stacks]
    assert len(results(heard)) == 7  # each once
    # radius 1: stack i needs i + 1, and this one is judged when i + 2 has come
    for i in range(1, 5):
        done = max(k for k, name in enumerate(order) if name == names[i])
        assert order.index(names[i + 2]) < done
        assert i + 3 > 6 or done < order.index(names[i + 3])


def test_it_ends_when_nothing_comes(tmp_path: Path, night: Path, batch: dict[str, bytes]) -> None:
    outcome = followed(night, tmp_path / "out", [None] * 100, until_idle=20.0)
    assert outcome.complete
    assert contents(tmp_path / "out") == batch


def test_a_run_that_follows_can_be_resumed(
    tmp_path: Path, night: Path, stacks: list[Path], batch: dict[str, bytes]
) -> None:
    def pull_the_plug() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        followed(night, tmp_path / "out", [None, None, pull_the_plug])
    assert len(contents(tmp_path / "out")) > 0
    heard: list[Message] = []
    assert followed(night, tmp_path / "out", [None] * 4, heard.append).complete
    assert any(r.kept for r in results(heard))
    assert contents(tmp_path / "out") == batch


def test_a_bad_file_is_told_once_and_stops_nothing(
    tmp_path: Path, night: Path, batch: dict[str, bytes]
) -> None:
    (night / "bad.mrcz").write_bytes(b"no stack at all" * 100)
    heard: list[Message] = []
    outcome = followed(night, tmp_path / "out", [None] * 6, heard.append)
    assert [e.name for e in heard if isinstance(e, StackLeftOut)] == ["bad.mrcz"]
    assert not outcome.complete and len(outcome.results) == 7
    assert contents(tmp_path / "out") == batch


def test_a_bad_file_that_is_mended_joins_in(
    tmp_path: Path, night: Path, stacks: list[Path], batch: dict[str, bytes]
) -> None:
    good = stacks[2].read_bytes()
    stacks[2].write_bytes(good[: len(good) // 2])
    steps: list[Step | None] = [None, None, None, lambda: None, None]
    steps[3] = lambda: stacks[2].write_bytes(good) and None
    outcome = followed(night, tmp_path / "out", [*steps, None, None, None])
    assert outcome.complete
    assert contents(tmp_path / "out") == batch


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_stack_that_is_changed_is_done_again_if_its_output_may_be_replaced(
    tmp_path: Path, night: Path, stacks: list[Path], overwrite: bool
) -> None:
    frames = mrcz_dask.read(stacks[3])
    frames[0, 5, 5] += 1
    mrcz_dask.write(tmp_path / "other.mrcz", frames)
    copies: list[bytes] = []

    def change() -> None:
        copies.append((tmp_path / "out" / stacks[3].name).read_bytes())
        shutil.copyfile(tmp_path / "other.mrcz", stacks[3])

    heard: list[Message] = []
    steps = [None, None, None, change, None, None, None]
    outcome = followed(night, tmp_path / "out", steps, heard.append, overwrite=overwrite)
    if not overwrite:
        (failure,) = outcome.failures
        assert failure.name == stacks[3].name and "the only copy" in failure.reason
        assert (tmp_path / "out" / stacks[3].name).read_bytes() == copies[0]
        return
    assert outcome.complete
    assert {e.reason for e in heard if isinstance(e, StackDue)} >= {"input changed"}
    again = followed(night, tmp_path / "again", [None])
    assert [r.digest for r in again.results] == [r.digest for r in outcome.results]


def test_stacks_that_are_taken_away_stay_in_the_windows(
    tmp_path: Path, night: Path, stacks: list[Path], batch: dict[str, bytes]
) -> None:
    def take_away() -> None:
        for path in stacks[:2]:
            path.unlink()

    outcome = followed(night, tmp_path / "out", [None, None, None, take_away, None, None])
    assert outcome.complete
    assert contents(tmp_path / "out") == batch


def test_a_stack_that_is_renamed_counts_once(tmp_path: Path, night: Path, stacks: list[Path]) -> None:
    def rename() -> None:
        for one in night.glob(f"{stacks[3].name}*"):
            one.rename(night / one.name.replace("Data", "Moved"))

    outcome = followed(night, tmp_path / "out", [None, None, None, rename, None, None, None])
    assert len(outcome.results) == 7 and outcome.complete
    again = followed(night, tmp_path / "again", [None])
    assert [r.digest for r in again.results] == [r.digest for r in outcome.results]


def test_a_folder_that_is_gone_for_a_while(tmp_path: Path, night: Path, batch: dict[str, bytes]) -> None:
    away = tmp_path / "away"
    heard: list[Message] = []
    steps: list[Step | None] = [
        None,
        lambda: night.rename(away) and None,
        None,
        lambda: away.rename(night) and None,
    ]
    assert followed(night, tmp_path / "out", [*steps, None, None], heard.append).complete
    assert any(isinstance(e, Warned) and "cannot be looked at" in e.message for e in heard)
    assert contents(tmp_path / "out") == batch


def test_two_stacks_of_one_stem_are_both_done(tmp_path: Path, night: Path, stacks: list[Path]) -> None:
    other = np.random.default_rng(0).poisson(2, (6, 64, 80)).astype(np.uint8)
    mrcz_dask.write(stacks[0].with_suffix(".mrc"), other)
    (night / "gone.mrc").symlink_to("nowhere.mrc")
    outcome = followed(night, tmp_path / "out", [None] * 4)
    assert len(outcome.results) == 8
    # the one that was there first keeps its name if the other settles later
    outputs = {r.output for r in outcome.results}
    assert len(outputs) == 8 and f"{stacks[0].stem}.mrc.mrcz" in outputs
    assert [r.path.name for r in outcome.plan.discovery.rejected] == ["gone.mrc"]


def test_no_stack_ever(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SessionError, match="no stack has come"):
        followed(tmp_path / "empty", tmp_path / "out", [None] * 3)


@pytest.fixture(scope="module")
def broken_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty stacks: a new gain reference at the 16th, 40 % more dose from the 29th on, ice in one."""
    params = named(
        "mature", shape=(64, 80), frames=3, stacks=40, dose=20, seed=5, hot=(0.002, 0.002), ice=(9,),
        new_gain=(16,), dose_jumps=(29,), dose_factors=(1.4,),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("broken") / "night"
    write_session(folder, params)
    return folder


@pytest.fixture(scope="module")
def broken_batch(broken_night: Path) -> tuple[Plan, list[str]]:
    """The plan of a run over these, which was carried out, and what it said of breaks."""
    koma = KomaParams(radius=3, long_window=12)
    plan = make_plan(broken_night, broken_night.parent / "batch", Settings(koma=koma))
    told: list[Message] = []
    assert carry_out(plan, SerialClient(), told.append).complete
    return plan, [e.message for e in told if isinstance(e, Noted) and "the session breaks" in e.message]


def test_breaks_cut_the_windows_of_stacks_that_reach_them(broken_batch: tuple[Plan, list[str]]) -> None:
    plan, breaks = broken_batch
    names = [entry.name for entry in plan.stacks]
    assert [one.split()[1] for one in breaks] == [names[16], names[29]]
    told_in = [read_footer(plan.output(one)) for one in plan.stacks]
    cut = [[b["first"] for b in last_steps(footer or {})["koma"]["results"]["breaks"]] for footer in told_in]
    assert cut[0] == cut[12] == []
    assert cut[15] == cut[16] == [names[16]]
    assert cut[28] == [names[29]]  # sixteen stacks are more than the long window holds


@pytest.mark.parametrize("late", [False, True])
def test_following_across_breaks_ends_with_the_bytes_of_a_batch_run(
    tmp_path: Path, broken_night: Path, broken_batch: tuple[Plan, list[str]], late: bool
) -> None:
    plan, breaks = broken_batch
    names = [entry.name for entry in plan.stacks]
    live = tmp_path / "live"
    live.mkdir()
    order = [entry.path for entry in plan.stacks]
    if late:  # beyond a break that is known by then
        order = [*order[:14], *order[15:33], order[14], *order[33:]]
    steps: list[Step | None] = []
    bring(order[0], live)()
    for path in order[1:]:
        steps += [bring(path, live), None, None]
    heard: list[Message] = []
    outcome = followed(live, tmp_path / "out", steps, heard.append, plan.settings.koma)

    assert outcome.complete
    assert contents(tmp_path / "out") == contents(broken_night.parent / "batch")
    if not late:
        assert reproduce(tmp_path / "out" / plan.output(plan.stacks[28]).name, broken_night).same
        assert [e.message for e in heard if isinstance(e, Noted)] == breaks  # each once
        done = [r.name for r in results(heard)]
        assert len(done) == 40  # each once, none again
        found = next(k for k, e in enumerate(heard) if isinstance(e, StackFound) and e.name == names[34])
        before = {r.name for r in results(heard[:found])}
        # usability takes `radius` stacks, a break eight, the window `radius` again
        assert before == set(names[: 34 - 3 - REACH - 3])


@pytest.mark.parametrize(
    ("koma", "early"),
    [
        (KomaParams(radius=1, method="session", breaks="none"), 7),
        (KomaParams(radius=1, long_window=4, long="around", breaks="none"), None),
        (KomaParams(radius=1, long_window=40, long="around", breaks="none"), 7),
    ],
    ids=["session", "short around", "long around"],
)
def test_wider_windows_are_final_later_and_have_the_bytes_of_a_batch(
    tmp_path: Path, night: Path, stacks: list[Path], koma: KomaParams, early: int | None
) -> None:
    """Every stack that comes joins the windows of so many before it: they are provisional until then."""
    assert carry_out(make_plan(night, tmp_path / "batch", Settings(koma=koma)), SerialClient()).complete
    live = tmp_path / "live"
    live.mkdir()
    bring(stacks[0], live)()
    steps: list[Step | None] = [None, None]
    for path in stacks[1:]:
        steps += [bring(path, live), None, None]
    heard: list[Message] = []
    outcome = followed(live, tmp_path / "out", steps, heard.append, koma, provisional=True)

    assert contents(tmp_path / "out") == contents(tmp_path / "batch")
    assert not any(r.provisional for r in outcome.results)
    assert early is None or sum(r.provisional for r in results(heard)) == early

"""A run that follows says which stack waits for how many more, and that number of stacks makes it final."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.correction.judged_stacks import Epochs
from mrcz_dask.correction.windows import groups_of, mates_of, stacks_until_final, windows_of
from mrcz_dask.monitor.snapshot import facts, headline, snapshot
from mrcz_dask.monitor.state import SessionState
from mrcz_dask.numerics.session.breaks import REACH
from mrcz_dask.values import messages
from mrcz_dask.values.params import KomaParams
from tests.correction.test_follow import Step, bring, followed, stacks  # noqa: F401 - a fixture

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Stack:
    """A stack after the first pass, as far as windows look at it."""

    copies = ()

    def __init__(self, usable: bool, group: int | None) -> None:
        self.usable, self.groups = usable, () if group is None else (group,)


@pytest.mark.parametrize("tilts", [None, 5])  # stacks of a series; later ones show other specimens
@pytest.mark.parametrize("breaks", ["auto", "none"])
@pytest.mark.parametrize("radius", [1, 3, 12])
@pytest.mark.parametrize("long", ["before", "around"])
def test_so_many_more_make_it_final(breaks: Any, radius: int, long: Any, tilts: int | None) -> None:
    koma = KomaParams(radius=radius, breaks=breaks, long=long, long_window=2 * radius + 4)
    usable = np.random.default_rng(radius).random(120) < 0.9
    lag = radius + (REACH if breaks == "auto" else 0)

    def epochs(n: int) -> Epochs:
        return Epochs(n, (), (), max(0, n - lag))

    def final(i: int, n: int, good: Any) -> bool:
        mates = mates_of(made, i, groups_of(made))
        return windows_of(i, good[:n], epochs(n), koma, [k for k in mates if k < n]).final

    for n in range(1, 60):
        made: Any = [Stack(one, tilts and k // tilts) for k, one in enumerate(usable[:n])]
        i = next(k for k in range(n) if not final(k, n, usable))
        good = [*usable[:n], *[True] * 200]
        more = stacks_until_final(i, made, epochs(n), koma)
        assert not final(i, n + more - 1, good) and final(i, n + more, good)


def test_a_run_that_follows_tells_it(tmp_path: Path, stacks: list[Path]) -> None:  # noqa: F811
    live = tmp_path / "live"
    live.mkdir()
    bring(stacks[0], live)()
    steps: list[Step | None] = [one for path in stacks[1:5] for one in (bring(path, live), None, None, None)]
    heard: list[messages.Message] = []
    followed(live, tmp_path / "out", steps, heard.append)
    told = [one for one in heard if isinstance(one, messages.Waiting)]
    assert [(one.place, one.more) for one in told] == [(1, 3), (1, 2), (1, 1), (3, 1), (4, 1)]
    assert str(told[0]) == f"stack 1 ({stacks[0].name}) is final after 3 more"


def test_status_says_it_instead_of_a_time_left() -> None:
    state = SessionState()
    state.take(messages.RunStarted("1", "night", "night/koma", {}, {}, "here"), NOW)
    state.take(messages.Waiting("a.mrc", 11, 8), NOW)
    numbers = snapshot(state, NOW)
    assert headline(numbers) == "running: stack 11 (a.mrc) is final after 8 more"
    assert numbers.seconds_left is None and "left" not in [one.key for one in facts(numbers)]
    state.take(messages.RunFinished(1, 0), NOW)
    assert snapshot(state, NOW).waiting is None

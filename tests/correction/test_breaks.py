"""Across breaks the correction is never worse than none, and right after one as good as elsewhere."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.messages import Noted
from mrcz_dask.values.params import KomaParams, Settings, WriteParams

pytestmark = pytest.mark.slow

BREAK = 12
SIZE: dict[str, Any] = {"shape": (256, 256), "frames": 12, "stacks": 24}
SESSIONS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "no pattern": ("no pattern", {"dose": 2.0}, []),
    "one reference": ("standard", {"stacks": 2, "dose": 2.0}, []),
    "no break": ("evolving", {"dose": 2.0}, []),
    "jump of dose": ("standard", {"dose": 2.0, "dose_jumps": (BREAK,), "dose_factors": (1.5,)}, ["the dose"]),
    "new gain": ("mature", {"dose": 2.0, "new_gain": (BREAK,)}, ["a new pattern"]),
    "both": (
        "mature",
        {"dose": 2.0, "new_gain": (BREAK,), "dose_jumps": (BREAK,), "dose_factors": (0.6,)},
        ["the dose"],
    ),
}


def scores(folder: Path, out: Path, **koma: Any) -> tuple[np.ndarray, list[str]]:
    """Held-out noise of every stack (filter only, corrected), and the breaks that were told."""
    told: list[tuple[str, str]] = []

    def listen(event: Any) -> None:
        nonlocal told
        if isinstance(event, Noted):
            told += re.findall(r"^At (\S+) the session breaks: (.*?)\. ", event.message)

    settings = Settings(koma=KomaParams(**koma), write=WriteParams(codec="lz4:1"))
    plan = make_plan(folder, out, settings)
    outcome = carry_out(plan, SerialClient(), listen)
    names = [entry.name for entry in plan.stacks]
    placed = [f"{names.index(name)}: {reason}" for name, reason in told]
    return np.array([[r.noise["filtered"], r.noise["corrected"]] for r in outcome.results], float), placed


@pytest.mark.parametrize("name", SESSIONS)
def test_never_worse_than_the_filter_alone(tmp_path: Path, name: str) -> None:
    kind, changes, expected = SESSIONS[name]
    write_session(tmp_path / "session", named(kind, **SIZE | {"seed": 11} | changes), codec="lz4:1")
    noise, told = scores(tmp_path / "session", tmp_path / "out", radius=5)

    assert len(told) == len(expected)
    for text, reason in zip(told, expected, strict=True):
        assert text.startswith(f"{BREAK}: {reason}")
    gained = noise[:, 0] - noise[:, 1]
    # the error of one stack, from what is left of it: no two stacks share their odd frames
    error = gained.std(ddof=1) / np.sqrt(gained.size)
    assert gained.mean() > -2 * error


def test_right_after_a_break_as_good_as_elsewhere_and_better_than_across_it(tmp_path: Path) -> None:
    params = named("white", **SIZE | {"dose": 4.0, "seed": 12, "new_gain": (BREAK,)})
    write_session(tmp_path / "session", params, codec="lz4:1")
    noise, told = scores(tmp_path / "session", tmp_path / "auto", radius=5)
    across, none = scores(tmp_path / "session", tmp_path / "none", radius=5, breaks="none")

    assert len(told) == 1 and none == []
    gained = noise[:, 0] - noise[:, 1]
    after, elsewhere = gained[BREAK : BREAK + 4], np.delete(gained, range(BREAK, BREAK + 4))
    error = np.hypot(after.std(ddof=1) / 2, elsewhere.std(ddof=1) / np.sqrt(elsewhere.size))
    assert abs(after.mean() - elsewhere.mean()) < 3 * error
    crossing = (across[:, 0] - across[:, 1])[BREAK : BREAK + 4]
    assert after.mean() > crossing.mean() + 2 * np.hypot(after.std(ddof=1), crossing.std(ddof=1)) / 2

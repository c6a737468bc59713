"""A finished session of a hundred stacks of which one has changed."""

from pathlib import Path

import pytest

import mrcz_dask
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.messages import Listener, Message, StackDue, silent
from mrcz_dask.values.params import KomaParams, Method, Settings

pytestmark = pytest.mark.slow

CHANGED = 50


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hundred") / "night"
    write_session(folder, named("standard", shape=(96, 96), frames=4, stacks=100, seed=5, dose=4))
    return folder


def run(session: Path, out: Path, method: Method, long: int, listen: Listener = silent) -> Outcome:
    settings = Settings(koma=KomaParams(radius=12, method=method, long_window=long))
    return carry_out(make_plan(session, out, settings, overwrite=True), SerialClient(), listen)


def windows(out: Path, output: str) -> set[str]:
    """Return the names of the stacks in the windows of an output, and of those that show its outliers."""
    steps = {step["name"]: step for step in (mrcz_dask.read_footer(out / output) or {})["provenance"]}
    inputs = [*steps["koma"]["inputs"], *steps["outliers"]["inputs"][1:]]
    return {name for group in inputs for name in group["names"]}


@pytest.mark.parametrize(("method", "long"), [("plain", 200), ("fit", 30), ("fit", 200)])
def test_one_that_changed_redoes_itself_and_those_whose_windows_hold_it(
    session: Path, tmp_path: Path, method: Method, long: int
) -> None:
    out = tmp_path / "out"
    before = run(session, out, method, long)
    assert before.complete and all(r.usable for r in before.results)
    names = [entry.name for entry in discover(session).stacks]
    changed = names[CHANGED]
    holding = {one.name for one in before.results if changed in windows(out, one.output)} - {changed}
    data = (session / changed).read_bytes()
    frames = mrcz_dask.read(session / changed)
    frames[0, 7, 7] += 1
    try:
        mrcz_dask.write(session / changed, frames)
        heard: list[Message] = []
        after = run(session, out, method, long, heard.append)
        fresh = run(session, tmp_path / "fresh", method, long)
    finally:
        (session / changed).write_bytes(data)
    due = {message.name: message.reason for message in heard if isinstance(message, StackDue)}
    assert due.pop(changed) == "input changed"
    assert due == dict.fromkeys(holding, f"neighbor changed: {changed}")
    if method == "plain":
        blocks = set(names[32:80])  # of 16 stacks, whose outliers those up to 16 stacks away show
        assert set(due) == blocks - {changed} >= set(names[CHANGED - 12 : CHANGED + 13]) - {changed}
    assert {r.name for r in after.results if not r.kept} == {changed, *due}
    assert [r.digest for r in after.results] == [r.digest for r in fresh.results]

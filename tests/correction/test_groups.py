"""Stacks that show the same specimen do not correct each other: in a run, one that follows, and Python."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest

import mrcz_dask
from benchmarks.truth import score_removed
from mrcz_dask.api.reproduce import reproduce
from mrcz_dask.correction.footer import last_steps
from mrcz_dask.correction.judged_stacks import Epochs
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.correction.windows import windows_of
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.params import KomaParams, Settings, WriteParams
from mrcz_dask.values.records import GROUP, UNTOUCHED
from tests.correction.test_follow import bring, contents, followed

TILTS = named("tilt series", tilts=3, stacks=9, shape=(64, 80), frames=4, hot=(0.0, 0.0), dead=0.0)
KOMA = KomaParams(radius=2, long_window=6, breaks="none")


@pytest.fixture(scope="module")
def tilts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three tilt series of three stacks in order of time."""
    return list(write_session(tmp_path_factory.mktemp("tilts") / "tilts", TILTS))


def koma(session: Path, out: Path, koma: KomaParams = KOMA) -> Outcome:
    return carry_out(make_plan(session, out, Settings(koma=koma)), SerialClient())


def step_of(output: Path) -> dict[str, Any]:
    return last_steps(read_footer(output) or {})["koma"]


def test_windows_hold_other_series_alone(tilts: list[Path], tmp_path: Path) -> None:
    outcome = koma(tilts[0].parent, tmp_path / "out")
    for path, result in zip(tilts, outcome.results, strict=True):
        step, series = step_of(outcome.plan.folder / result.output), path.name[:5]
        members = [name[:5] for window in step["inputs"] for name in window["names"]]
        assert members and series not in members and len(step["inputs"][0]["names"]) == 4
        assert step["results"]["groups"] == [{"name": f"tilt series {series}", "reason": "as its name says"}]
        assert any(text.startswith(GROUP) and series in text for text in result.caveats)


@pytest.mark.parametrize(("size", "around"), [(3, True), (2, False)])  # stacks of each series
def test_the_long_window_of_a_tilt_reaches_to_both_sides(size: int, around: bool) -> None:
    epochs, koma = Epochs(40, (), (), 40), KomaParams(radius=2, long_window=16)
    for i in range(12, 28):
        mates = {k for k in range(40) if k // size == i // size and k != i}
        found = windows_of(i, [True] * 40, epochs, koma, mates)
        others = [k for k in range(40) if k != i and k not in mates]
        before = sum(k < i for k in others)
        assert found.short == others[before - 2 : before + 2]
        first, last = (before - 8, before + 8) if around else (max(0, before - 14), before + 2)
        assert found.long == others[first:last]


def test_the_plan_shows_groups_and_windows(tilts: list[Path], tmp_path: Path) -> None:
    plan = make_plan(tilts[0].parent, tmp_path / "out", Settings(koma=KOMA))
    assert "  tilt series TS_02, as its name says: 3-5" in str(plan).splitlines()
    assert plan.windows()[4] == [1, 2, 6, 7] and plan.windows()[0] == [3, 4, 5, 6]
    assert plan.to_dict()["groups"][0]["stacks"] == [path.name for path in tilts[:3]]


def test_with_no_other_series_nothing_is_taken_off(tilts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    for path in tilts[:3]:
        shutil.copy(path, tmp_path / "one")
    for result in koma(tmp_path / "one", tmp_path / "out").results:
        assert f"no usable neighbor that shows another specimen: {UNTOUCHED}" in " ".join(result.caveats)
        frames = mrcz_dask.read(tmp_path / "one" / result.name)
        np.testing.assert_array_equal(mrcz_dask.read(tmp_path / "out" / result.output), frames)


@pytest.mark.parametrize("groups", ["none", (("*", "all"),)])
def test_groups_by_hand(tilts: list[Path], tmp_path: Path, groups: Any) -> None:
    outcome = koma(tilts[0].parent, tmp_path / "out", KomaParams(radius=2, breaks="none", groups=groups))
    windows = [step_of(path)["inputs"][0]["names"] for path in outcome.outputs]
    assert {len(names) for names in windows} == ({4} if groups == "none" else {0})
    if groups == "none":
        assert "groups" not in step_of(outcome.outputs[4])["results"]
        assert windows[4] == [tilts[k].name for k in (2, 3, 5, 6)]


def test_a_run_that_follows_has_the_groups_of_a_finished_one(tilts: list[Path], tmp_path: Path) -> None:
    koma(tilts[0].parent, tmp_path / "batch")
    live = tmp_path / "live"
    live.mkdir()
    bring(tilts[0], live)()
    steps = [step for path in tilts[1:] for step in (bring(path, live), None, None)]
    followed(live, tmp_path / "out", steps, koma=KOMA)
    assert contents(tmp_path / "out") == contents(tmp_path / "batch")


def test_so_it_is_where_only_the_pixels_tell_the_series(tmp_path: Path) -> None:
    series = named(
        "tilt series", shape=(128, 128), stacks=14, tilts=5, specimen=0.3, dose=4.0, frames=4, aim_error=6.0
    )
    paths = list(write_session(tmp_path / "named", series))
    night, live = tmp_path / "night", tmp_path / "live"
    night.mkdir(), live.mkdir()
    for k, path in enumerate(paths):
        shutil.copy(path, night / f"{k:02}.mrcz")
    unnamed = sorted(night.iterdir())
    batch = koma(night, tmp_path / "batch")
    groups = [step_of(path)["results"].get("groups") for path in batch.outputs]
    assert sum(bool(group) for group in groups) >= 10
    assert {group["reason"] for some in groups if some for group in some} == {"as their pixels show"}
    bring(unnamed[0], live)()
    steps = [step for path in unnamed[1:] for step in (bring(path, live), None, None)]
    followed(live, tmp_path / "out", steps, koma=KOMA)
    assert contents(tmp_path / "out") == contents(tmp_path / "batch")


def test_reproduced_and_lazy_pixels_are_those_of_the_run(tilts: list[Path], tmp_path: Path) -> None:
    session = mrcz_dask.open_session(tilts[0].parent, output=tmp_path / "out")
    plan = session.koma(radius=2, dtype="float32", method="plain", breaks="none", contrast=None)
    outputs = plan.run(tmp_path / "out", ClientOptions(0), report=False).outputs
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(plan.corrected[4].compute(), mrcz_dask.read(outputs[4]))
    assert reproduce(outputs[4], tilts[0].parent).same


def test_arrays_with_groups(tilts: list[Path]) -> None:
    arrays = [mrcz_dask.open_stack(path) for path in tilts]
    names = ["a"] * 3 + ["b"] * 3 + [None] * 3
    options: dict[str, Any] = {"radius": 2, "method": "plain", "breaks": "none"}
    plans = [mrcz_dask.koma(arrays, **options, groups=groups) for groups in (names, None)]
    with dask.config.set(scheduler="synchronous"):
        by_name = [plan.references[4].compute() for plan in plans]
    assert np.any(by_name[0] != by_name[1])


@pytest.mark.slow
def test_the_specimen_of_six_tilt_series_is_kept(tmp_path: Path) -> None:
    params = named("tilt series", stacks=186, shape=(384, 384), hot=(0.0, 0.0))
    paths, simulated = write_session(tmp_path / "tilts", params), simulate_session(params)
    settings = Settings(write=WriteParams(dtype="float32"))
    outcome = carry_out(make_plan(tmp_path / "tilts", tmp_path / "out", settings), SerialClient())
    scores = []
    for k in range(0, 186, 6):
        before, after = (mrcz_dask.read(path).sum(0, dtype="f8") for path in (paths[k], outcome.outputs[k]))
        scores.append(score_removed((before - after).astype("f4"), simulated.stack(k).truth))
    kept, error = np.transpose(scores)
    assert kept.mean() >= 0.97 and kept.min() >= 0.92 and error.mean() <= 0.9

"""A run leaves in the frames what neighbors share and a detector does not show, and says so."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from benchmarks.truth import RemovedScore, score_removed
from docs.study import specimen_table
from mrcz_dask.correction.footer import last_steps
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.correction.verdict import LOST, UNTOLD, fall, verdict_on, with_error
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.numerics.reference.evidence import Mean
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.session.simulation import write_session
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.params import ContrastParams, KomaParams, Settings, WriteParams
from mrcz_dask.values.records import NO_PATTERN, SMOOTH_KEPT, UNTOUCHED

EDGE = named("hole edge", shape=(144, 160), stacks=9, frames=10, aim_error=2.0)
TILTS = named(
    "tilt series", shape=(192, 192), stacks=12, tilts=12, seed=2, specimen=0.2, frames=8, aim_error=8.0
)
WRITE, CONTRAST = WriteParams(dtype="float32"), ContrastParams(floor=10.0)


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(write_session(tmp_path_factory.mktemp("edges") / "edges", EDGE))


@pytest.fixture(scope="module")
def kept_edges(edges: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run over these that leaves the edge in the frames."""
    out = tmp_path_factory.mktemp("edges") / "out"
    return koma(edges[0].parent, out, KomaParams(radius=4, groups="none"))


def koma(session: Path, out: Path, koma: KomaParams) -> Outcome:
    settings = Settings(koma=koma, write=WRITE, contrast=CONTRAST)
    return carry_out(make_plan(session, out, settings), SerialClient())


def score(outcome: Outcome, paths: list[Path], k: int) -> RemovedScore:
    before, after = (
        mrcz_dask.read(path).sum(axis=0, dtype=np.float64)
        for path in (paths[k], outcome.plan.folder / outcome.results[k].output)
    )
    mask = SessionStore(outcome.plan.store).mask(outcome.results[k].output.removesuffix(".mrcz"))
    truth = simulate_session(EDGE).stack(k).truth
    return score_removed(np.asarray(before - after, np.float32), truth, mask)


def test_the_edge_of_a_hole_stays(edges: list[Path], kept_edges: Outcome, tmp_path: Path) -> None:
    outcome = kept_edges
    for result in outcome.results:
        assert any(text.startswith(SMOOTH_KEPT) for text in result.caveats)
    step = last_steps(read_footer(outcome.plan.folder / outcome.results[4].output) or {})["koma"]
    found = step["results"]["shared_structure"]
    assert found["smooth_left_out"] and found["smooth"][0] > found["smooth_limit"] == 0.02
    kept, error = score(outcome, edges, 4)
    assert kept > 0.93 and error < 0.95

    trusting = koma(
        edges[0].parent, tmp_path / "all", KomaParams(radius=4, groups="none", trust_reference=True)
    )
    assert not any(text.startswith(SMOOTH_KEPT) for one in trusting.results for text in one.caveats)
    assert score(trusting, edges, 4).kept < 0.6
    assert LOST in (verdict_on(trusting.results) or "")
    assert LOST not in (verdict_on(outcome.results) or "")


def test_arrays_keep_it_too(edges: list[Path], kept_edges: Outcome) -> None:
    arrays = [mrcz_dask.open_stack(path) for path in edges]
    lazy = mrcz_dask.koma(arrays, radius=4, contrast=CONTRAST).corrected[4].compute(scheduler="sync")
    written = mrcz_dask.read(kept_edges.plan.folder / kept_edges.results[4].output)
    np.testing.assert_array_equal(lazy, written)


def test_a_tilt_series_that_nothing_names_is_found_from_its_pixels(tmp_path: Path) -> None:
    paths = list(write_session(tmp_path / "tilts", TILTS))
    outcome = koma(paths[0].parent, tmp_path / "out", KomaParams(radius=5, groups="none"))
    told = [text for one in outcome.results for text in one.caveats if "as their pixels show" in text]
    assert len(told) == 12 and all("specimen of TS_01" in text for text in told)
    assert all(any(UNTOUCHED in text for text in one.caveats) for one in outcome.results)

    trusting = KomaParams(radius=5, groups="none", trust_reference=True)
    harmed = koma(paths[0].parent, tmp_path / "trusting", trusting)
    assert not any("as their pixels show" in text for one in harmed.results for text in one.caveats)
    assert all(any("show its specimen" in text for text in one.caveats) for one in harmed.results)
    assert LOST in (verdict_on(harmed.results) or "")


def test_a_pattern_too_small_to_matter_stays_and_pixels_are_those_of_the_filter(tmp_path: Path) -> None:
    params = named(
        "no pattern",
        shape=(160, 160),
        stacks=9,
        frames=4,
        dose=4000.0,
        dtype="uint16",
        specimen=0.0,
        pixel=4e-4,
    )
    paths = list(write_session(tmp_path / "session", params))
    out, filtered = tmp_path / "out", tmp_path / "filtered"
    outcome = koma(paths[0].parent, out, KomaParams(radius=4))
    assert all(any(text.startswith(NO_PATTERN) for text in one.caveats) for one in outcome.results)
    assert {one.remark for one in outcome.results} == {"no pattern"}
    assert re.match(
        r"KOMA (found|took) nothing .*; the outlier filter lowered", verdict_on(outcome.results) or ""
    )
    koma(paths[0].parent, filtered, KomaParams(radius=4, groups=(("*", "all of one specimen"),)))
    always = koma(paths[0].parent, tmp_path / "always", KomaParams(radius=4, always=True))
    assert not any(NO_PATTERN in text for one in always.results for text in one.caveats)
    for one in outcome.results:
        alone = mrcz_dask.read(filtered / one.output)
        np.testing.assert_array_equal(mrcz_dask.read(out / one.output), alone)


def test_a_run_says_that_it_is_better_only_if_both_scores_agree(tmp_path: Path) -> None:
    paths = list(
        write_session(tmp_path / "session", named("standard", shape=(160, 160), stacks=9, frames=10))
    )
    results = koma(paths[0].parent, tmp_path / "out", KomaParams(radius=4)).results
    said = r"KOMA lowered correlated noise by \d+ ± \d+ % \(held out\); about \d+ % of the pattern is left\. "
    assert re.fullmatch(said + rf"{UNTOLD}: .*\.", verdict_on(results) or "")
    told = {"movement": {"explained": 0.0, "power": 1.0, "variance": 1e-3}}
    better = [replace(one, evidence=one.evidence | told) for one in results]
    assert re.fullmatch(said + "None of the specimen is seen .*", verdict_on(better) or "")
    worse = [replace(one, noise=one.noise | {"corrected": 0.5}) for one in results]
    assert (verdict_on(worse) or "").startswith("No gain beyond chance: KOMA lowered correlated noise by -")
    noisy = [replace(one, evidence=one.evidence | {"removed": (0.0,) * 4}) for one in results]
    assert (verdict_on(noisy) or "").startswith("No gain beyond chance: ")  # R alone makes no run better
    again = koma(paths[0].parent, tmp_path / "out", KomaParams(radius=4)).results
    assert all(one.kept for one in again) and verdict_on(again) == verdict_on(results)
    assert verdict_on([]) is None


@pytest.mark.parametrize("form", ["subtract-raw", "divide"])
def test_other_forms_are_judged_where_they_are_shares_of_the_mean(form: Any, tmp_path: Path) -> None:
    paths = list(write_session(tmp_path / "s", named("standard", shape=(144, 144), stacks=7, frames=6)))
    results = koma(paths[0].parent, tmp_path / "out", KomaParams(radius=3, form=form)).results
    assert (f"{UNTOLD} by this method" in (verdict_on(results) or "")) == (form == "subtract-raw")
    assert not any(NO_PATTERN in text for one in results for text in one.caveats)


def test_the_error_is_that_of_the_ratio_of_the_means() -> None:
    rng = np.random.default_rng(5)
    before = rng.uniform(1, 3, (400, 20))
    after = 0.7 * before + rng.normal(0, 0.1, before.shape)
    falls = [fall(list(zip(*pair, strict=True))) for pair in zip(before, after, strict=True)]
    assert fall([(1.0, None), (2.0, 1.0)]) is None
    values, errors = np.transpose([(one.value, one.error) for one in falls if one is not None])
    assert abs(values.mean() - 0.3) < 0.002
    assert np.sqrt(2) * values.std() == pytest.approx(errors.mean(), rel=0.1)  # neighbors share references
    assert with_error(Mean(0.274, 0.0213)) == "27 ± 2 %" and with_error(Mean(0.977, 0.005)) == "97.7 ± 0.5 %"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("session", "kept", "least", "error"),
    [
        ({"name": "standard", "stacks": 40, "frames": 24, "dose": 1.0}, 0.95, 0.92, 0.26),
        ({"name": "hole edge", "edge": 0.15, "aim_error": 0.0}, 0.95, 0.9, 0.95),
        ({"name": "hole edge", "edge": 0.15, "aim_error": 2.0}, 0.95, 0.9, 0.95),
        ({"name": "hole edge", "edge": 0.15, "aim_error": 10.0}, 0.95, 0.9, 0.95),
        ({"name": "hole edge", "edge": 0.3, "aim_error": 30.0}, 0.95, 0.9, 0.95),
        ({"name": "tilt series", "tilts": 0, "stacks": 93}, 0.98, 0.95, 0.70),
        ({"name": "tilt series", "stacks": 62}, 0.97, 0.92, 0.90),
        ({"name": "standard", "same_area": 3, "stacks": 40, "frames": 24, "dose": 1.0}, 0.97, 0.92, 0.26),
    ],
)
def test_the_specimen_of_each_regime_is_kept(
    session: dict[str, Any], kept: float, least: float, error: float, tmp_path: Path
) -> None:
    params = specimen_table.simulated(session, seed=21)
    paths = list(write_session(tmp_path / "session", params))
    outcome = specimen_table.corrected(paths, tmp_path / "out", {"groups": "none"})  # from the pixels alone
    found = np.array(list(specimen_table.scores(outcome, paths, params)))
    assert found[:, 0].mean() >= kept and found[:, 0].min() >= least and found[:, 1].mean() <= error
    assert LOST not in (verdict_on(outcome.results) or "")

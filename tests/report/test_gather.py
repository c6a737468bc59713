"""What is gathered is what provenance says, what the simulator knows, and no input is looked at."""

import shutil
from dataclasses import replace
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import mrcz_dask
from mrcz_dask.correction.footer import last_steps
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.report import gather as module
from mrcz_dask.report.data import SessionData, sample, worst
from mrcz_dask.report.gather import gather
from mrcz_dask.session.simulation import TRUTH
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.params import KomaParams, OutlierParams, Settings, WriteParams

from .conftest import BROKEN, NIGHT, session_data


def steps_of(out: Path, output: str) -> dict[str, dict[str, Any]]:
    return last_steps(mrcz_dask.read_footer(out / output) or {})


def test_every_number_is_that_of_the_provenance(data: SessionData, out: Path) -> None:
    assert len(data.stacks) == NIGHT.stacks - 1
    for one in data.stacks:
        steps = steps_of(out, one.output)
        found, koma = steps["outliers"]["results"], steps["koma"]
        assert one.mask is not None
        for name in ("n_masked", "n_hot", "n_dead", "n_neighbourly", "misfit", "mu", "sigma", "status"):
            assert getattr(one.mask, name) == found["mask"][name]
        for name in ("t_dark", "t_hot"):
            kept = getattr(one.mask, name)
            assert (str(kept) if kept is None else kept) == {"inf": "None", "-inf": "None"}.get(
                str(found["mask"][name]), found["mask"][name]
            )
        assert one.mask.dose == found["dose_per_frame"]
        assert one.noise == koma["results"]["correlated_noise"]
        assert one.usable == koma["results"]["usable_as_reference"]
        assert [b.to_dict() for b in one.bands] == koma["results"]["bands"]
        assert list(one.caveats) == koma["caveats"]
        assert one.acquired.isoformat(sep=" ") == koma["results"]["acquired"]
        assert one.acquired_from == koma["results"]["acquired_from"]
        assert one.agrees is True


def test_the_inputs_are_not_looked_at(data: SessionData, copy: Path, night: Path) -> None:
    hidden = night.with_name("gone")
    night.rename(hidden)
    try:
        again = gather(copy)
    finally:
        hidden.rename(night)
    assert again.stacks == data.stacks and again.runs == data.runs and again.left_out == data.left_out


def test_births_and_deaths_are_those_of_the_stores_masks(data: SessionData, out: Path) -> None:
    store = SessionStore(out / "session.zarr")
    masks = [is_masked(store.load(s.stem, "weight")) for s in data.stacks]
    for (before, now), one in zip(pairwise(masks), data.stacks[1:], strict=True):
        found = one.turnover
        assert (found.hot_births or 0) + (found.dead_births or 0) == np.count_nonzero(now & ~before)
        assert (found.hot_deaths or 0) + (found.dead_deaths or 0) == np.count_nonzero(before & ~now)


def good_pixels(hot: float) -> float:
    """So many good pixels are among those found: the rule allows one in ten, and they change every time."""
    return 2.5 * OutlierParams().tail_fdr * hot + 4


def test_births_and_deaths_are_those_of_the_truth(data: SessionData, night: Path) -> None:
    truth = zarr.open_group(night / TRUTH, mode="r")
    hot = [np.asarray(truth[f"{s.stem}/hot"][...]) for s in data.stacks]  # type: ignore[index]
    for (before, now), one in zip(pairwise(hot), data.stacks[1:], strict=True):
        births, deaths = int((now & ~before).sum()), int((before & ~now).sum())
        more = good_pixels(now.sum())
        assert births - 3 <= (one.turnover.hot_births or 0) <= births + more
        assert deaths - 3 <= (one.turnover.hot_deaths or 0) <= deaths + more
    for mask, one in zip(hot, data.stacks, strict=True):
        true = int(mask.sum())
        assert one.mask is not None and true - 3 <= one.mask.n_hot <= true + good_pixels(true)


def test_the_lifetime_is_that_of_the_truth(data: SessionData) -> None:
    life = data.health.lifetime
    assert life is not None and 1 - OutlierParams().tail_fdr - 0.03 <= life.seen < 0.98
    assert life.stacks == pytest.approx(-1 / log(NIGHT.hot_persistence), rel=0.2)


def test_what_was_left_out(data: SessionData) -> None:
    assert [f.rejected for f in data.left_out] == [True]
    assert [s.number for s in data.stacks if s.high_contrast] == [6] == list(data.high_contrast)
    assert data.high_contrast[6].thumbnails is not None
    assert data.running == "finished" and data.problems == () and len(data.stacks) > BROKEN


def test_without_outputs_the_store_and_the_log_are_enough(data: SessionData, copy: Path) -> None:
    for one in data.stacks:
        (copy / one.output).unlink()
    again = gather(copy)
    assert len(again.problems) == len(data.stacks) and not any(s.bands for s in again.stacks)
    for one, other in zip(again.stacks, data.stacks, strict=True):
        assert one == replace(other, bands=(), agrees=None)


def test_without_a_store_the_log_is_enough(data: SessionData, copy: Path) -> None:
    shutil.rmtree(copy / "session.zarr")
    again = gather(copy)
    assert not again.masks and not again.samples and again.health.hot is None
    assert [s.noise for s in again.stacks] == [s.noise for s in data.stacks]


def test_a_store_that_is_damaged_is_a_problem_and_no_end(data: SessionData, copy: Path) -> None:
    stem = data.stacks[2].stem
    shutil.rmtree(copy / "session.zarr" / "histograms" / stem / "hot_dead")
    again = gather(copy)
    assert any(stem in text for text in again.problems)
    assert again.stacks[2].turnover.hot_births is None and again.stacks[3].turnover.hot_births is not None


def test_an_output_of_another_run_is_noticed(data: SessionData, copy: Path) -> None:
    first, second = data.stacks[:2]
    (copy / first.output).write_bytes((copy / second.output).read_bytes())
    assert [s.agrees for s in gather(copy).stacks[:3]] == [False, True, True]


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="no run is known"):
        gather(tmp_path)


@pytest.mark.parametrize(
    "write",
    [
        {"write": "recompressed", "codec": "keep"},
        {"write": "references"},
        {"dtype": "float32", "format": "mrcs"},
    ],
)
def test_every_way_of_writing(write: dict[str, Any], data: SessionData, night: Path, tmp_path: Path) -> None:
    settings = Settings(koma=KomaParams(radius=2), write=WriteParams(**write))
    carry_out(make_plan(night, tmp_path / "out", settings), SerialClient())
    found = gather(tmp_path / "out")
    assert [s.mask for s in found.stacks] == [s.mask for s in data.stacks]
    assert [s.bands for s in found.stacks] == [s.bands for s in data.stacks]
    assert all(s.agrees for s in found.stacks) and not found.problems


def test_a_second_run_that_keeps_everything_changes_no_number(
    data: SessionData, night: Path, copy: Path
) -> None:
    plan = make_plan(night, copy, Settings(koma=KomaParams(radius=2)))
    carry_out(plan, SerialClient())
    found = gather(copy)
    assert [s.mask for s in found.stacks] == [s.mask for s in data.stacks]
    assert [s.noise for s in found.stacks] == [s.noise for s in data.stacks]
    assert len(found.runs) == 2 and found.runs[-1].kept == len(data.stacks)


def test_a_sample_is_spread_evenly_and_has_the_worst() -> None:
    def change(k: int) -> dict[str, Any]:
        mask = session_data(1).stacks[0].mask
        assert mask is not None
        return {"mask": replace(mask, misfit=0.5 if k == 333 else 0.001)}

    stacks = session_data(1000, change).stacks
    chosen = [s.number for s in sample(stacks, 50)]
    assert len(chosen) <= 50 and 333 in chosen and {1, 1000} <= set(chosen)
    assert max(b - a for a, b in pairwise(chosen)) <= 25
    assert worst(stacks) is stacks[332]
    assert len(sample(stacks[:30], 50)) == 30


def test_no_more_looks_than_are_shown(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKS", 3)
    assert len(gather(out).samples) <= 3

"""Outliers that only many stacks show, in runs over a session."""

import shutil
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.pooling import Pools
from mrcz_dask.correction.run import Outcome, carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.session.simulation import write_session
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import DamagedSumError
from mrcz_dask.values.params import KomaParams, Settings, WriteParams

NIGHT = named(
    "standard", shape=(96, 96), frames=4, stacks=14, dose=0.75, seed=2, hot=(0.005, 0.005), dead=0.001,
    hot_persistence=0.985,
)  # fmt: skip


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lasting") / "night"
    write_session(folder, NIGHT)
    return folder


def run(folder: Path, out: Path, pool: int = 16) -> Outcome:
    settings = Settings(koma=KomaParams(radius=8, pool=pool), write=WriteParams(write="references"))
    return carry_out(make_plan(folder, out, settings), SerialClient())


@pytest.fixture(scope="module")
def pooled(night: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run in which outliers are found from many stacks, which nothing may change."""
    return run(night, tmp_path_factory.mktemp("pooled") / "out")


def masks(outcome: Outcome) -> list[np.ndarray]:
    folder, stems = outcome.plan.folder, [entry.stem for entry in outcome.plan.stacks]
    return [mrcz_dask.read(folder / f"{stem}_mask.mrc").squeeze() > 0 for stem in stems]


def test_lasting_outliers_are_in_masks_footers_and_lazy_arrays(
    night: Path, pooled: Outcome, tmp_path: Path
) -> None:
    alone, found_in_all = masks(run(night, tmp_path / "alone", 0)), masks(pooled)
    truth = [stack.truth.mask for stack in simulate_session(NIGHT)]
    found = [sum((m & t).sum() for m, t in zip(some, truth, strict=True)) for some in (alone, found_in_all)]
    assert found[1] > 1.5 * found[0]
    assert found[1] >= 0.9 * sum(m.sum() for m in found_in_all)
    assert all((p >= a).all() for a, p in zip(alone, found_in_all, strict=True))
    assert [r.hot + r.dead for r in pooled.results] == [m.sum() for m in found_in_all]

    plan = mrcz_dask.open_session(night).koma(radius=8, cache=tmp_path / "cache")
    lazy = dask.compute(*plan.masks, scheduler="threads", num_workers=8)  # which find the same at once
    assert np.array_equal(lazy, found_in_all)
    steps = mrcz_dask.read_footer(pooled.outputs[5])["provenance"]
    evidence = steps[0]["inputs"][1]
    assert len(evidence["names"]) == 14 and evidence["block"] == [0, 12]
    assert sum(steps[0]["results"]["pooled"].values()) == found_in_all[5].sum() - alone[5].sum()


def test_stacks_that_show_nothing_are_not_asked(pooled: Outcome) -> None:
    store = SessionStore(pooled.plan.store)
    known = [record for entry in pooled.plan.stacks if (record := store.record(entry.stem))]
    poor = replace(known[1], status="implausible")
    settings = Settings(koma=KomaParams(radius=2))
    plain = Pools(known, str(store.path), settings)
    pools = Pools([known[0], poor, *known], str(store.path), settings)  # a copy
    assert [plain.of(i) for i in range(1, 14)] == [pools.of(i) for i in range(3, 16)]
    assert pools.of(0) == plain.of(0) and pools.of(1) is pools.of(2) is None
    pool = plain.of(7)
    assert pool is not None and (pool.start, pool.stop, len(pool.members)) == (6, 12, 14)
    assert [plain.final(i) for i in range(14)] == [True] * 6 + [False] * 8
    assert Pools(known[:1], "", settings).of(0) is None
    assert Pools(known, "", Settings(koma=KomaParams(pool=0))).of(3) is None


def test_damage_is_found_while_strips_are_read(pooled: Outcome, tmp_path: Path) -> None:
    store = SessionStore(shutil.copytree(pooled.plan.store, tmp_path / "session.zarr"))
    stem = pooled.plan.stacks[3].stem
    whole = np.concatenate(list(store.strips(stem, "sum")))
    assert np.array_equal(whole, store.load(stem, "sum"))
    chunk = next(path for path in (store.path / "stacks" / stem / "sum").rglob("0") if path.is_file())
    chunk.unlink()
    with pytest.raises(DamagedSumError):
        list(store.strips(stem, "sum"))


def test_a_block_of_one_stack_is_masked_and_one_of_all_is_taken_off(tmp_path: Path) -> None:
    folder, draws = tmp_path / "night", np.random.default_rng(0)
    write_session(folder, named("standard", shape=(320, 320), frames=2, stacks=6, dose=10.0, seed=4))
    once, always = np.s_[96:160, 128:200], np.s_[200:264, 40:104]
    paths = sorted(folder.glob("*.mrcz"))
    for k, path in enumerate(paths):
        frames = mrcz_dask.read(path).astype(np.int64)
        for index in [always] + [once] * (k == 2):
            frames[:, *index] += draws.poisson(0.3 * frames[:, *index])
        path.unlink()
        mrcz_dask.write(path, frames.astype(np.uint8))
    outcome = run(folder, tmp_path / "out")
    for entry, result, mask in zip(outcome.plan.stacks, outcome.results, masks(outcome), strict=True):
        record = SessionStore(tmp_path / "out" / "session.zarr").record(entry.stem)
        assert record is not None and len(record.outliers["blocks"]) == 1 + (entry.path == paths[2])
        assert mask[once].mean() > 0.9 if entry.path == paths[2] else mask[once].mean() < 0.05
        assert mask[always].mean() < 0.05 and result.hot + result.dead == mask.sum()
    plan = mrcz_dask.open_session(folder).koma(radius=8, cache=tmp_path / "cache")
    assert np.array_equal(dask.compute(*plan.masks, scheduler="threads"), masks(outcome))

"""The session as a Dask collection: lazy arrays equal to what a run writes, on every scheduler."""

import gc
import pickle
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.correction import sum_stack as preparing
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.values.errors import OutputExistsError, ParameterError, SessionError

ALONE = ClientOptions(workers=0)
OPTIONS: list[dict[str, Any]] = [
    {"method": "plain"},
    {"method": "fit"},
    {"method": "plain", "form": "divide"},
    {"method": "plain", "form": "subtract-raw", "breaks": "none", "contrast": None},
    {"method": "session"},
]


def run(plan: mrcz_dask.KomaPlan, folder: Path) -> list[Any]:
    outcome = plan.run(folder, ALONE, report=False)
    assert not outcome.failed
    return [mrcz_dask.read(path) for path in outcome.outputs]


def test_opening_reads_no_frame(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mrcz_dask.formats.mrc.reader import StackReader

    monkeypatch.setattr(StackReader, "frame", lambda *_: pytest.fail("a frame was read"))
    session = mrcz_dask.open_session(night)
    assert len(session) == len(session.stacks) == 5
    frames = session.stacks[3].frames
    assert frames.shape == (6, 64, 80) and frames.chunks == ((1,) * 6, (64,), (80,))
    plan = session.koma(radius=2)
    assert plan.corrected[3].shape == (6, 64, 80) and plan.corrected[3].dtype == np.float32
    assert plan.masks[-1].dtype == bool and plan.references[0].shape == (64, 80)
    assert len(plan.corrected) == 5 and len(plan.corrected[2:4]) == 2
    assert "memory" in str(plan) and session.stacks[3].name in str(plan)
    assert "<table>" in plan._repr_html_()


def test_some_paths_are_a_session(night: Path) -> None:
    paths = sorted(night.glob("*.mrcz"))[:3]
    assert {stack.path for stack in mrcz_dask.open_session(paths).stacks} == set(paths)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_lazy_pixels_are_those_of_a_run(night: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    plan = mrcz_dask.open_session(night).koma(radius=2, dtype="float32", **options)
    written = run(plan, tmp_path / "out")
    with dask.config.set(scheduler="synchronous"):
        for found, expected in zip(dask.compute(*plan.corrected), written, strict=True):
            assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_every_scheduler_gives_the_same(night: Path, scheduler: str) -> None:
    plan = mrcz_dask.open_session(night).koma(radius=2)
    expected = plan.corrected[1].compute(scheduler="synchronous")
    again = mrcz_dask.open_session(night).koma(radius=2)
    assert again.corrected[1].compute(scheduler=scheduler).tobytes() == expected.tobytes()


def test_a_mask_and_a_reference(night: Path) -> None:
    session = mrcz_dask.open_session(night)
    plan = session.koma(radius=2, method="plain")
    mask, reference, frames, corrected = dask.compute(
        plan.masks[2], plan.references[2], session.stacks[2].frames, plan.corrected[2]
    )
    assert 0 < mask.sum() < 200
    assert reference.std() > 0
    good = ~mask
    difference = frames.astype(np.float32) - reference
    assert np.median(np.abs(corrected - difference)[:, good]) == 0


def test_where_order_alone_decides_three_stacks_are_read(
    night: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    inner = preparing.sum_frames
    monkeypatch.setattr(
        preparing, "sum_frames", lambda task, *more: (read.append(task.name), inner(task, *more))[1]
    )
    plan = mrcz_dask.open_session(night).koma(radius=1, method="plain", breaks="none", contrast=None, pool=0)
    plan.corrected[3].compute(scheduler="synchronous")
    names = [entry.name for entry in plan.discovery.stacks]
    assert sorted(read) == sorted(names[2:5])


def test_sums_are_shared(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    inner = preparing.sum_frames
    monkeypatch.setattr(
        preparing, "sum_frames", lambda task, *more: (read.append(task.name), inner(task, *more))[1]
    )
    plan = mrcz_dask.open_session(night).koma(radius=2)
    dask.compute(plan.masks[0], plan.corrected[0], plan.corrected[4], scheduler="synchronous")
    assert len(read) == len(set(read)) == 5


def test_anybodys_arrays(night: Path, tmp_path: Path) -> None:
    session = mrcz_dask.open_session(night)
    written = run(session.koma(radius=2, dtype="float32"), tmp_path / "out")
    plan = mrcz_dask.koma([stack.frames for stack in session.stacks], radius=2)
    assert plan.corrected[4].compute().tobytes() == written[4].tobytes()
    with pytest.raises(ParameterError, match=r"mrcz_dask\.write"):
        plan.run(tmp_path / "arrays")
    with pytest.raises(ParameterError, match=r"\(n, ny, nx\)"):
        mrcz_dask.koma([session.stacks[0].frames[0]])


def test_given_masks_and_doses(night: Path) -> None:
    arrays = [stack.frames for stack in mrcz_dask.open_session(night).stacks]
    mask = np.zeros((64, 80), bool)
    mask[3, 4] = True
    plan = mrcz_dask.koma(arrays, radius=2, method="plain", masks=[mask] * 5, doses=[2.0] * 5)
    assert (plan.masks[3].compute() == mask).all()
    corrected = plan.corrected[3].compute()
    assert len(set(corrected[:, 3, 4].tolist())) == 1  # filled, the same in every frame


def test_a_bad_stack_is_its_own_failure(night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrcz_dask.report.page.page", lambda data: "drawn by other tests")
    victim = mrcz_dask.open_session(night).stacks[4]
    content = bytearray(victim.path.read_bytes())
    content[2000:2100] = bytes(100)
    victim.path.write_bytes(content)
    plan = mrcz_dask.open_session(night).koma(radius=2, dtype="float32")
    outcome = plan.run(tmp_path / "out", ALONE)
    assert set(outcome.failed) == {victim.name}
    assert len(outcome.outputs) == 4 and (tmp_path / "out" / "report.html").exists()
    with pytest.raises(SessionError, match=victim.name):
        plan.corrected[4].compute()
    assert plan.corrected[0].compute().tobytes() == mrcz_dask.read(outcome.outputs[0]).tobytes()


def test_a_run_is_guarded_and_goes_on(night: Path, tmp_path: Path) -> None:
    from mrcz_dask.session.output_folder import locked

    plan = mrcz_dask.open_session(night).koma(radius=2)
    with locked(tmp_path / "out"), pytest.raises(OutputExistsError, match="another run"):
        plan.run(str(tmp_path / "out"), ALONE, report=False)
    first = plan.run(str(tmp_path / "out"), ALONE, report=False)
    again = plan.run(tmp_path / "out", ALONE, report=False)
    assert all(one.kept for one in again.results) and again.outputs == first.outputs


def test_a_dask_client_runs_it_and_stays_open(night: Path, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    plan = mrcz_dask.open_session(night).koma(radius=2, dtype="float32")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        outcome = plan.run(tmp_path / "out", client, report=False)
        assert client.submit(int, 3).result() == 3
        lazily = plan.corrected[2].compute()
    assert lazily.tobytes() == mrcz_dask.read(outcome.outputs[2]).tobytes()


def test_arrays_keep_their_sums_as_long_as_they_are_there(night: Path, tmp_path: Path) -> None:
    (tmp_path / "sums").mkdir()
    frames = [stack.frames for stack in mrcz_dask.open_session(night).stacks]
    with dask.config.set({"scheduler": "synchronous", "temporary-directory": str(tmp_path / "sums")}):
        plan = mrcz_dask.koma(frames, radius=2)
        expected = plan.corrected[1].compute()
        del plan
        corrected = mrcz_dask.koma(frames, radius=2).corrected[1] + 1  # no plan is kept here
        gc.collect()
        assert np.array_equal(corrected.compute(), expected + 1)
        assert pickle.loads(pickle.dumps(corrected)).shape == corrected.shape
        assert len(list((tmp_path / "sums").iterdir())) == 1
        del corrected
        gc.collect()
    assert list((tmp_path / "sums").iterdir()) == []

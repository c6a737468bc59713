"""A session of five thousand stacks: the plan, the verdicts and the tasks are right."""

import pickle
import random
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.correction.judged_stacks import JudgedStack, JudgedStacks, judge_stacks
from mrcz_dask.correction.plan import Plan, make_plan
from mrcz_dask.correction.sum_stack import sum_and_mask
from mrcz_dask.correction.tasks import SumTask
from mrcz_dask.correction.windows import correction_tasks
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.params import Settings
from mrcz_dask.values.records import StackRecord
from mrcz_dask.values.windows import koma_window

STACKS = 5000
CONTRAST = set(range(3, STACKS, 17))
BEGIN = datetime(2026, 10, 14, 19, 6, 33)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("scale")
    frames = np.random.default_rng(0).poisson(2, (4, 64, 64)).astype(np.int8)
    mrcz_dask.write(folder / "one.mrcz", frames, durable=False)
    content = (folder / "one.mrcz").read_bytes()
    (folder / "one.mrcz").unlink()
    for k in random.Random(0).sample(range(STACKS), STACKS):
        (folder / _name(k)).write_bytes(content)
    return make_plan(folder, None, Settings())


def _name(k: int) -> str:
    return (
        f"FoilHole_{k * 7919 % STACKS}_Data_{BEGIN + timedelta(seconds=11 * k):%Y%m%d_%H%M%S}_fractions.mrcz"
    )


@pytest.fixture(scope="module")
def ready(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> list[JudgedStack]:
    """Every stack with a record like the first one's, but for its own noise, and contrast in some."""
    store = tmp_path_factory.mktemp("store") / "session.zarr"
    SessionStore(store).create()
    one, settings = plan.stacks[0], plan.settings
    task = SumTask(str(one.path), one.name, one.stem, str(store), settings)
    record = sum_and_mask(task)
    rng = np.random.default_rng(1)
    records = [_like(record, k, rng, name=e.name, stem=e.stem) for k, e in enumerate(plan.stacks)]
    return judge_stacks(plan.stacks, records, settings)


def _like(record: StackRecord, k: int, rng: np.random.Generator, *, name: str, stem: str) -> StackRecord:
    means = rng.normal(40, 0.01, (16, 16)) * np.where(np.arange(16) < 8, 1, 0.7 if k in CONTRAST else 1)
    pixels = np.full((16, 16), 10**6)
    return replace(
        record,
        name=name,
        stem=stem,
        digest=f"{k:032x}",
        frames="",
        grain="",
        grid_means=tuple(map(tuple, means.tolist())),
        grid_pixels=tuple(map(tuple, pixels.tolist())),
    )


def test_the_stacks_are_in_order_of_time(plan: Plan) -> None:
    assert [stack.name for stack in plan.stacks] == [_name(k) for k in range(STACKS)]
    assert plan.discovery.warnings == plan.discovery.rejected == ()
    assert plan.windows()[2500] == koma_window(2500, STACKS, 12)
    assert (
        plan.memory_estimate()
        == replace(plan, discovery=replace(plan.discovery, stacks=plan.stacks[:1])).memory_estimate()
    )


def test_contrast_is_found_wherever_it_is(ready: list[JudgedStack]) -> None:
    assert {k for k, one in enumerate(ready) if not one.usable} == CONTRAST


def test_every_task_has_its_windows_and_a_key_of_its_own(plan: Plan, ready: list[JudgedStack]) -> None:
    tasks = list(correction_tasks(plan, ready))
    usable = [k not in CONTRAST for k in range(STACKS)]
    for k in [*range(30), *range(2480, 2520), *range(STACKS - 30, STACKS)]:
        short = koma_window(k, STACKS, 12, usable)
        assert [int(m.digest, 16) for m in tasks[k].short] == short
        long = [j for j in range(short[-1] + 1) if usable[j] and j != k][-200:]
        assert [int(m.digest, 16) for m in tasks[k].long] == ([] if long == short else long)
    assert len({task.key for task in tasks}) == STACKS
    assert {task.name for task in tasks} == {stack.name for stack in plan.stacks}


def test_tasks_are_small(plan: Plan, ready: list[JudgedStack]) -> None:
    tasks = list(correction_tasks(plan, ready))
    assert len(pickle.dumps(tasks[2500])) < 100_000
    assert pickle.loads(pickle.dumps(tasks[2500])) == tasks[2500]


def test_stacks_that_come_one_by_one_are_assessed_as_all_at_once(
    plan: Plan, ready: list[JudgedStack]
) -> None:
    stacks = [(one.entry, one.record) for one in ready]
    assessment = JudgedStacks(plan.settings)
    for there in [*range(1, 300), *range(300, STACKS, 37), *range(STACKS - 50, STACKS + 1)]:
        assessment.update(stacks[:there])
    whole = JudgedStacks(plan.settings)
    whole.update(stacks)
    assert list(map(repr, assessment.stacks)) == list(map(repr, whole.stacks))  # no score is no number
    assert assessment.epochs == whole.epochs

"""How many tasks fit, and what is said when none does."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.engine.memory import (
    MemoryEstimate,
    WorkerPlan,
    estimate_memory,
    parse_memory,
    plan_workers,
    tasks_per_worker,
)
from mrcz_dask.values.errors import ParameterError, SessionError

GB = 10**9
NEED = MemoryEstimate(process=GB // 4, task=2 * GB)
needs = st.builds(MemoryEstimate, st.integers(1, GB), st.integers(1, 8 * GB))


@given(needed=needs, limit=st.integers(1, 100 * GB), threads=st.integers(1, 64))
def test_so_many_tasks_as_fit_and_no_more(needed: MemoryEstimate, limit: int, threads: int) -> None:
    tasks = needed.tasks(limit, threads)
    assert 0 <= tasks <= threads
    assert tasks == 0 or needed.of(tasks) <= limit
    assert tasks == threads or needed.of(tasks + 1) > limit


def test_the_need_grows_with_the_frame_alone() -> None:
    byte, wide, floats = np.dtype(np.int8), np.dtype(np.uint16), np.dtype(np.float32)
    assert estimate_memory((100, 200), [byte], "int16") == estimate_memory((200, 100), [byte], "float32")
    assert (
        estimate_memory((512, 512), [byte], "int16").task
        == 4 * estimate_memory((256, 256), [byte], "int16").task
    )
    tasks = [estimate_memory((512, 512), kinds, "int16").task for kinds in ([byte], [byte, wide], [floats])]
    assert tasks == sorted(set(tasks))
    assert estimate_memory((512, 512), [byte], "float16").task > tasks[0]


@given(
    needed=needs,
    machine=st.integers(GB, 500 * GB),
    cores=st.integers(1, 64),
    workers=st.none() | st.integers(0, 64),
    threads=st.integers(1, 8),
    memory=st.none() | st.integers(1, 64 * GB),
)
def test_a_crew_fits_into_its_machine(
    needed: MemoryEstimate, machine: int, cores: int, workers: int | None, threads: int, memory: int | None
) -> None:
    try:
        found = plan_workers(needed, machine, cores, workers, threads, memory)
    except SessionError as error:
        assert needed.of(1) > machine or workers is not None or memory is not None
        assert re.search(r"--workers|--memory|more memory", str(error))
        return
    assert 1 <= found.tasks <= threads
    assert needed.of(found.tasks) <= found.limit
    assert max(1, found.workers) * needed.of(found.tasks) <= machine
    assert workers is None or found.workers == workers
    assert workers is not None or 1 <= found.workers <= cores


def test_the_machine_is_shared_out() -> None:
    assert plan_workers(NEED, 24 * GB, 4, None, 1, None) == WorkerPlan(4, 1, 6 * GB, 1)
    assert plan_workers(NEED, 8 * GB, 4, None, 1, None) == WorkerPlan(3, 1, 8 * GB // 3, 1)
    assert plan_workers(NEED, 24 * GB, 4, 2, 8, None) == WorkerPlan(2, 8, 12 * GB, 5)
    assert plan_workers(NEED, 24 * GB, 4, 0, 8, None) == WorkerPlan(0, 8, 24 * GB, 1)
    assert plan_workers(NEED, 24 * GB, 64, None, 2, 5 * GB) == WorkerPlan(5, 2, 5 * GB, 2)


@pytest.mark.parametrize(
    ("machine", "workers", "memory", "said"),
    [
        (24 * GB, 2, 2 * GB, r"needs 2.25 GB .* has 2 GB; use --memory 2.3GB$"),
        (8 * GB, 6, None, r"has 1.33 GB; use fewer workers: --workers 3"),
        (8 * GB, 6, GB, r"use --memory 2.3GB, and fewer workers: --workers 3"),
        (8 * GB, 6, 3 * GB, r"6 workers need 2.25 GB each, 13.5 GB together; .* 8 GB; .*--workers 3"),
        (2 * GB, None, None, r"the machine has 2 GB: use one with more memory"),
    ],
)
def test_too_little_is_said_with_what_would_do(
    machine: int, workers: int | None, memory: int | None, said: str
) -> None:
    with pytest.raises(SessionError, match=said):
        plan_workers(NEED, machine, 8, workers, 1, memory)


@given(needed=needs, machine=st.integers(GB, 100 * GB), workers=st.integers(1, 32), memory=st.integers(1, GB))
def test_the_numbers_that_are_named_do(
    needed: MemoryEstimate, machine: int, workers: int, memory: int
) -> None:
    with_named: dict[str, int] = {}
    try:
        plan_workers(needed, machine, 8, workers, 1, memory)
        return
    except SessionError as error:
        if "--" not in str(error):
            return
        if size := re.search(r"--memory (\S+GB)", str(error)):
            with_named["memory"] = parse_memory(size[1])
        if number := re.search(r"--workers (\d+)", str(error)):
            with_named["workers"] = int(number[1])
    assert plan_workers(
        needed, machine, 8, **{"workers": workers, "memory": memory, "threads": 1, **with_named}
    )


def test_the_workers_of_somebody_else() -> None:
    assert tasks_per_worker(NEED, []) == []
    assert tasks_per_worker(NEED, [(0, 3), (5 * GB, 8), (GB, 8)]) == [3, 2, 0]
    with pytest.raises(SessionError, match=r"2.25 GB .* largest .* 2 GB"):
        tasks_per_worker(NEED, [(2 * GB, 1), (GB, 1)])


def test_sizes_as_dask_writes_them() -> None:
    assert parse_memory("4GB") == 4 * GB
    assert parse_memory("3.5 GiB") == 3_758_096_384


@pytest.mark.parametrize("text", ["", "much", "4 apples", "-1GB", "0"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ParameterError, match="--memory is"):
        parse_memory(text)


def test_a_crew_says_what_it_is() -> None:
    assert "workers: 2, each of at most 4 GB" in str(WorkerPlan(2, 1, 4 * GB, 1))
    assert "this process alone" in str(WorkerPlan(0, 1, 4 * GB, 1))
    assert WorkerPlan(2, 1, 4 * GB, 1).to_dict()["memory_limit"] == 4 * GB

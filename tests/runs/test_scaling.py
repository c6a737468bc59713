"""Jobs that come, go and fail, without any process: as many as there is work for, lost ones replaced."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.runs import scaling
from mrcz_dask.runs.memory import Need
from mrcz_dask.runs.queues import QueueProfile
from mrcz_dask.runs.scaling import GRACE, IDLE, Jobs, QueueExecutor, jobs_wanted
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.events import Event, Warned, silent

LITTLE = Need(100_000_000, 1_000_000)
REFUSED = "Command exited with non-zero exit code.\nstdout:\n\nstderr:\nsbatch: error: no such partition\n\n"


class Cluster:
    """In the place of a dask-jobqueue cluster: takes jobs, or refuses them; workers come when told."""

    def __init__(self, processes: int = 2) -> None:
        self.worker_spec: dict[str, dict[str, Any]] = {}
        self.workers: dict[str, Any] = {}
        self.scheduler = SimpleNamespace(workers={})
        self.refuses = False
        self.submitted = 0
        self._group = {"group": [f"-{k}" for k in range(processes)]} if processes > 1 else {}

    def new_worker_spec(self) -> dict[str, dict[str, Any]]:
        self.submitted += 1
        return {f"job-{self.submitted}": dict(self._group)}

    def sync(self, function: Callable[..., Any], *arguments: Any) -> None:
        asyncio.run(function(*arguments))

    def __await__(self) -> Any:
        return self._correct().__await__()

    async def _correct(self) -> None:
        for name in set(self.workers) - set(self.worker_spec):
            del self.workers[name]
        for name in set(self.worker_spec) - set(self.workers):
            self.workers[name] = SimpleNamespace(job_id=None if self.refuses else name[4:], status=None)
        if any(job.job_id is None for job in self.workers.values()):
            raise RuntimeError(REFUSED)

    def come(self, job: str, *, busy: bool = False) -> None:
        for suffix in self.worker_spec[job].get("group", [""]):
            address = f"tcp://{job}{suffix}"
            worker = SimpleNamespace(name=job + suffix, address=address, processing={"x"} if busy else {})
            self.scheduler.workers[address] = worker

    def go(self, job: str) -> None:
        gone = [a for a, worker in self.scheduler.workers.items() if worker.name.startswith(job)]
        for address in gone:
            del self.scheduler.workers[address]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(jobs: tuple[int, int], processes: int = 2, listen: Any = silent) -> tuple[Cluster, Jobs, Clock]:
    cluster, clock = Cluster(processes), Clock()
    made: Any = cluster
    return cluster, Jobs(made, QueueProfile("slurm", jobs=jobs), 2, listen, clock), clock


def look(jobs: Jobs, clock: Clock, after: float = 0.0) -> None:
    clock.now += after
    asyncio.run(jobs.look())


@given(low=st.integers(0, 20), more=st.integers(0, 20), slots=st.integers(1, 9), left=st.integers(0, 999))
def test_jobs_have_work_for_each_and_keep_to_their_bounds(low: int, more: int, slots: int, left: int) -> None:
    low, high = low, max(1, low + more)
    wanted = jobs_wanted(QueueProfile("slurm", jobs=(low, high)), slots, left)
    assert low <= wanted <= high
    assert wanted == high or wanted * slots >= left
    assert wanted == low or (wanted - 1) * slots < left


def test_there_are_as_many_jobs_as_work() -> None:
    cluster, jobs, clock = opened((1, 8))
    look(jobs, clock)
    assert len(cluster.workers) == 1
    jobs.left = 9
    look(jobs, clock)
    assert len(cluster.workers) == 5
    assert jobs.slots == 16
    assert set(jobs.ids()) == set("12345")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_lost_job_is_replaced_and_a_waiting_one_is_not(processes: int) -> None:
    cluster, jobs, clock = opened((2, 2), processes)
    look(jobs, clock)
    cluster.come("job-1")
    look(jobs, clock, 5)
    cluster.go("job-1")
    look(jobs, clock, GRACE)
    assert set(cluster.workers) == {"job-1", "job-2"}
    look(jobs, clock, 1)
    assert set(cluster.workers) == {"job-2", "job-3"}
    look(jobs, clock, 100 * GRACE)
    assert set(cluster.workers) == {"job-2", "job-3"}


def test_a_worker_that_comes_back_soon_keeps_its_job() -> None:
    cluster, jobs, clock = opened((1, 1))
    look(jobs, clock)
    for _ in range(5):
        cluster.come("job-1")
        look(jobs, clock, GRACE / 2)
        cluster.go("job-1")
        look(jobs, clock, GRACE / 2)
    assert set(cluster.workers) == {"job-1"}


def test_idle_jobs_end_after_a_while_and_busy_ones_stay() -> None:
    cluster, jobs, clock = opened((0, 3))
    jobs.left = 6
    look(jobs, clock)
    cluster.come("job-1", busy=True)
    cluster.come("job-2")
    jobs.left = 1
    look(jobs, clock, IDLE)
    assert len(cluster.workers) == 3
    look(jobs, clock, 1)
    assert set(cluster.workers) == {"job-1"}, "one waited in the queue, one had nothing to do"
    jobs.left = 0
    look(jobs, clock, 2 * IDLE)
    assert set(cluster.workers) == {"job-1"}, "it works on something"


def test_workers_of_a_job_that_ends_get_no_tasks() -> None:
    cluster, jobs, clock = opened((0, 1))
    look(jobs, clock)
    cluster.come("job-1")
    jobs.left = 0
    look(jobs, clock, 1)
    look(jobs, clock, 2 * IDLE)
    assert jobs.leaving == {"tcp://job-1-0", "tcp://job-1-1"}
    assert cluster.workers == {}


def test_a_refused_job_is_told_once_and_tried_again() -> None:
    heard: list[Event] = []
    cluster, jobs, clock = opened((2, 2), listen=heard.append)
    cluster.refuses = True
    look(jobs, clock)
    look(jobs, clock, 5)
    (warned,) = heard
    assert (
        isinstance(warned, Warned)
        and "slurm takes no job: sbatch: error: no such partition;" in warned.message
    )
    assert cluster.worker_spec == cluster.workers == {}
    cluster.refuses = False
    look(jobs, clock, 5)
    assert len(cluster.workers) == 2


def test_the_first_job_that_is_refused_is_an_error() -> None:
    cluster, jobs, _ = opened((0, 2))
    cluster.refuses = True
    with pytest.raises(SessionError, match=r"takes no job: .*no such partition; .*cluster script"):
        jobs.start()
    assert cluster.submitted == 1


class Client:
    """In the place of a client: a scheduler with these workers."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.loop = None

    @property
    def scheduler(self) -> Any:
        return self

    def identity(self) -> dict[str, Any]:
        one = {"memory_limit": 10**9, "nthreads": 1}
        return {"workers": dict.fromkeys(self.addresses, one)}

    def sync(self, function: Any, **options: Any) -> Any:
        return function(**options)

    def wait_for_workers(self, count: int, timeout: float) -> None:
        if not self.addresses:
            raise TimeoutError


def executor(
    client: Any, jobs: Jobs, listen: Any = silent, check: Any = lambda client: None, **more: Any
) -> Any:
    profile = QueueProfile("slurm", jobs=(1, 4), cores=2, **more)
    return QueueExecutor(client, LITTLE, profile, jobs, listen, check)


def test_slots_are_those_expected_and_room_is_what_is_there() -> None:
    _, jobs, _ = opened((1, 4))
    found = executor(Client("a"), jobs)
    assert (found.slots, found.threads) == (8, 1)
    assert found.room() == {"a": 1}
    assert found.describe() == {"kind": "dask", "workers": 8, "threads": 8, "queue": "slurm", "jobs": [1, 4]}
    jobs.leaving = frozenset({"a"})
    assert found.room() == {}


def test_a_run_may_begin_without_any_worker() -> None:
    assert executor(Client(), opened((1, 4))[1]).slots == 8


def test_new_workers_are_asked_for_their_versions_once() -> None:
    asked: list[int] = []
    client = Client("a")
    found = executor(client, opened((1, 4))[1], check=lambda client: asked.append(len(client.addresses)))
    found.room()
    client.addresses.append("b")
    found.room()
    found.room()
    assert asked == [1, 2]


def test_when_no_job_starts_the_error_says_how_to_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard: list[Event] = []
    monkeypatch.setenv("PATH", str(tmp_path))
    _, jobs, clock = opened((2, 2))
    look(jobs, clock)
    ticks = iter(range(10**6))
    monkeypatch.setattr(scaling.time, "monotonic", lambda: next(ticks) * 100.0)
    with pytest.raises(SessionError, match=r"within 00:10:00 .*`squeue .* [12],[12]` says: nothing; .*logs"):
        executor(Client(), jobs, heard.append, wait=600).wait()
    assert heard and all(isinstance(one, Warned) and "squeue" in one.message for one in heard)


def test_the_stacks_that_are_left_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    _, jobs, _ = opened((1, 4))
    left = []

    class Flow:
        def __init__(self, *_: object) -> None: ...

        def results(self) -> Any:
            for k in range(5):
                left.append(jobs.left)
                yield k, k

    monkeypatch.setattr(scaling, "_PatientFlow", Flow)
    assert len(list(executor(Client("a"), jobs).run(str, [[0, 1, 2], [3, 4]]))) == 5
    assert left == [5, 4, 3, 2, 1] and jobs.left == 0

"""As many jobs as there is work for, while it lasts: lost ones are replaced, idle ones ended.

Dask's own scaling looks at the tasks that its scheduler has. Here the scheduler has one for each slot and the
rest waits in the flow, so that the number of stacks left decides.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mrcz_dask.runs.executors import DaskExecutor, Segments
from mrcz_dask.runs.flow import Flow, Split, halves
from mrcz_dask.runs.jobs import look
from mrcz_dask.runs.memory import Need
from mrcz_dask.runs.queues import QueueProfile, clock
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.events import Listener, Warned
from mrcz_dask.values.stopping import check_stop

if TYPE_CHECKING:
    from dask_jobqueue.core import JobQueueCluster
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")

# Seconds between looks at the jobs; without its workers after which a job is lost; without work for it after
# which one is ended; between two words about jobs that do not start, at first.
LOOK, GRACE, IDLE, SAY = 5.0, 30.0, 120.0, 60.0


def jobs_wanted(profile: QueueProfile, slots: int, left: int) -> int:
    """Return how many jobs there should be for so many stacks that are left.

    Parameters
    ----------
    profile
        With the fewest and the most.
    slots
        Stacks at a time in one job.
    left
        Stacks that are not done.
    """
    low, high = profile.jobs
    return min(max(low, math.ceil(left / slots)), high)


class Jobs:
    """The jobs of a cluster, looked after on its event loop.

    Parameters
    ----------
    cluster
        That submits them.
    profile
        Of the jobs.
    slots
        Stacks at a time in one job.
    listen
        Is told of jobs that could not be submitted.
    clock
        Seconds that only grow.

    Attributes
    ----------
    left
        Stacks that are not done, as the executor knows.
    slots
        Stacks at a time in all jobs that there may be.
    leaving
        Addresses of workers that get no more tasks.
    """

    def __init__(
        self,
        cluster: JobQueueCluster,
        profile: QueueProfile,
        slots: int,
        listen: Listener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.left = 1  # that a run has at least; the executor knows better soon
        self.leaving: frozenset[str] = frozenset()
        self.slots = slots * profile.jobs[1]
        self._cluster, self._profile, self._each = cluster, profile, slots
        self._listen, self._clock = listen, clock
        self._seen: dict[str, float] = {}
        self._busy = clock()
        self._said: set[str] = set()

    def start(self) -> None:
        """Submit the first jobs, and look after them from now on until the cluster closes.

        Raises
        ------
        SessionError
            When the queue system takes no job; with what it says.
        """
        from tornado.ioloop import PeriodicCallback

        try:
            self._cluster.sync(self._submit, max(1, self._wanted()))
        except RuntimeError as error:
            raise SessionError(_refused(self._profile, error)) from None

        async def begin() -> None:
            self._looks = PeriodicCallback(self.look, LOOK * 1000)
            self._looks.start()

        self._cluster.sync(begin)

    def stop(self) -> None:
        """Look after nothing any more."""

        async def end() -> None:
            self._looks.stop()

        self._cluster.sync(end)

    def ids(self) -> list[str]:
        """Return the numbers of the jobs that were submitted and not ended."""
        return [str(job.job_id) for job in list(self._cluster.workers.values()) if job.job_id]

    async def look(self) -> None:
        """Take lost jobs out, end idle ones, and submit what is missing."""
        now, here = self._clock(), self._workers()
        self._seen |= {job: now for job, workers in here.items() if workers}
        wanted = self._wanted()
        if len(here) <= wanted:
            self._busy = now
        lost = [job for job, workers in here.items() if not workers and self._is_lost(job, now)]
        idle = self._idle(here, len(here) - len(lost) - wanted) if now - self._busy > IDLE else []
        self.leaving = frozenset(one.address for job in idle for one in here[job])
        for job in (*lost, *idle):
            del self._cluster.worker_spec[job]
            self._seen.pop(job, None)
        try:
            await self._submit(wanted)
        except RuntimeError as error:
            self._say_once(_refused(self._profile, error))

    def _wanted(self) -> int:
        return jobs_wanted(self._profile, self._each, self.left)

    def _workers(self) -> dict[str, list[Any]]:
        """Return the workers of every job that are there now; none for one that waits in the queue."""
        here: dict[str, list[Any]] = {job: [] for job in self._cluster.worker_spec}
        owner = {
            f"{job}{suffix}": job
            for job, spec in self._cluster.worker_spec.items()
            for suffix in spec.get("group", ("",))
        }
        assert self._cluster.scheduler is not None
        for worker in self._cluster.scheduler.workers.values():
            if (job := owner.get(str(worker.name))) is not None:
                here[job].append(worker)
        return here

    def _is_lost(self, job: str, now: float) -> bool:
        """Return whether a job had workers and has had none for long; one that waits in the queue is not."""
        return job in self._seen and now - self._seen[job] > GRACE

    def _idle(self, here: dict[str, list[Any]], most: int) -> list[str]:
        """Return jobs that may end: first those that have not started, then those that do nothing."""
        free = [job for job, workers in here.items() if not any(one.processing for one in workers)]
        return sorted(free, key=lambda job: bool(here[job]))[: max(0, most)]

    async def _submit(self, wanted: int) -> None:
        """Submit what is missing; what the queue system does not take is tried again at the next look."""
        from distributed import Status

        spec, jobs = self._cluster.worker_spec, self._cluster.workers
        while len(spec) < wanted:
            spec.update(self._cluster.new_worker_spec())
        try:
            await self._cluster
        finally:
            for name in [name for name, job in jobs.items() if job.job_id is None]:
                jobs.pop(name).status = Status.failed
                spec.pop(name, None)

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._listen(Warned(text))


class QueueExecutor(DaskExecutor):
    """Runs tasks in jobs that come and go; begins with the first, and uses those that come later.

    Parameters
    ----------
    client
        A connected client.
    needed
        Memory of a worker.
    profile
        Of the jobs.
    jobs
        That were submitted.
    listen
        Is told when no job starts.
    check
        Raises an error unless the workers have the same versions; asked whenever there are new ones.
    """

    def __init__(
        self,
        client: Client,
        needed: Need,
        profile: QueueProfile,
        jobs: Jobs,
        listen: Listener,
        check: Callable[[Client], None],
    ) -> None:
        self._profile, self._jobs, self._listen, self._check = profile, jobs, listen, check
        self._known: set[str] = set()
        super().__init__(client, needed)
        crew = profile.crew(needed)
        self.slots, self.threads = jobs.slots, crew.tasks
        self._workers = crew.workers * profile.jobs[1]

    def describe(self) -> dict[str, Any]:
        """Return what it is, for the journal of runs: the most workers that there may be."""
        low, high = self._profile.jobs
        return super().describe() | {"queue": self._profile.system, "jobs": [low, high]}

    def room(self) -> dict[str, int]:
        """Return how many tasks at a time each worker takes that is there now, by its address."""
        room = {
            address: most for address, most in super().room().items() if address not in self._jobs.leaving
        }
        if not room.keys() <= self._known:
            self._check(self.client)
            self._known |= room.keys()
        return room

    def run(
        self, function: Callable[[T], R], segments: Segments[T], split: Split[T] = halves
    ) -> Iterator[tuple[T, R | Exception]]:
        """Yield every task with its result, as they finish."""
        self._jobs.left = sum(map(len, segments))
        for found in _PatientFlow(self, function, segments, split).results():
            self._jobs.left -= 1
            yield found

    def wait(self) -> None:
        """Return as soon as there is a worker.

        Raises
        ------
        SessionError
            When there is none for long; with how to look at the jobs, and what is seen.
        """
        began, silent = time.monotonic(), SAY
        while (waited := time.monotonic() - began) < self._profile.wait:
            check_stop()
            try:
                self.client.wait_for_workers(1, timeout=min(1, SAY, self._profile.wait - waited))
                return
            except TimeoutError:
                if waited < silent:
                    continue
                silent *= 5
                self._listen(Warned(f"no job has started yet; {self._look()}"))
        raise SessionError(
            f"no job has started within {clock(self._profile.wait)} (`wait` in the profile); {self._look()}; "
            f"what jobs wrote is in {self._profile.folder / 'logs'}; what is done stays: run again to go on"
        )

    def _look(self) -> str:
        ids = self._jobs.ids()
        return look(self._profile.system, ids) if ids else "no job is in the queue"


class _PatientFlow(Flow[T, R]):
    """Waits for jobs as long as the profile says."""

    _workers: QueueExecutor

    def __init__(
        self,
        workers: QueueExecutor,
        function: Callable[[T], R],
        segments: Sequence[Sequence[T]],
        split: Split[T],
    ) -> None:
        super().__init__(workers, function, segments, split)
        self._workers = workers

    def _wait_for_workers(self) -> None:
        time.sleep(1)  # those that are there may be about to end
        self._workers.wait()


def _refused(profile: QueueProfile, error: Exception) -> str:
    """Return what the queue system says about a job that it does not take."""
    said = re.search(r"stderr:\n(.*)", str(error), re.DOTALL)
    text = "; ".join((said[1] if said else str(error)).strip().splitlines())
    return (
        f"{profile.system} takes no job: {text}; compare the profile with what your cluster expects "
        "(`mrcz-dask cluster script` prints the job)"
    )

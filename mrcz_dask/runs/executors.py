"""Carrying out tasks: one after the other, or on a Dask cluster; the same results either way.

Tasks come in segments: those of one segment run in order, one at a time, so that the window which a worker
keeps from one stack to the next moves by one; segments run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mrcz_dask.runs.allocator import keep_memory
from mrcz_dask.runs.flow import Flow, Split, halves, scheduler_lost
from mrcz_dask.runs.memory import Need, tasks_of
from mrcz_dask.values.stopping import check_stop

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")

Segments = Sequence[Sequence[T]]


class Executor(Protocol):
    """Runs segments of tasks and yields (task, result or the error that a lost worker left).

    Attributes
    ----------
    slots
        How many tasks run at a time.
    threads
        How many of them in one process.
    """

    slots: int
    threads: int

    def describe(self) -> dict[str, Any]:
        """Return what it is, for the journal of runs."""
        ...

    def run(
        self, function: Callable[[T], R], segments: Segments[T], split: Split[T] = halves
    ) -> Iterator[tuple[T, R | Exception]]:
        """Yield every task with its result, in any order; `split` shares a segment with an idle slot."""
        ...


class SerialExecutor:
    """The reference: one task after the other in this process, whose malloc is set to keep what is freed."""

    slots = 1
    threads = 1

    def describe(self) -> dict[str, Any]:
        """Return what it is, for the journal of runs."""
        return {"kind": "serial"}

    def run(
        self, function: Callable[[T], R], segments: Segments[T], split: Split[T] = halves
    ) -> Iterator[tuple[T, R | Exception]]:
        """Yield every task with its result, in order."""
        keep_memory()
        for segment in segments:
            for task in segment:
                check_stop()
                yield task, function(task)


class DaskExecutor:
    """Runs as many tasks at a time as the workers have threads and memory for.

    Parameters
    ----------
    client
        A connected client.
    needed
        Memory of a worker.
    share
        Of a worker's limit that may be used.
    retries
        How often a task is tried again after its worker was lost.

    Attributes
    ----------
    client
        The client.

    Raises
    ------
    SessionError
        When no worker has memory for one task.
    """

    def __init__(self, client: Client, needed: Need, share: float = 1.0, retries: int = 3) -> None:
        self.client = client
        self.retries = retries
        self._needed = needed
        self._share = share
        room = self.room()
        self.slots = max(1, sum(room.values()))
        self.threads = max(1, *room.values()) if room else 1
        self._workers = len(room)

    def describe(self) -> dict[str, Any]:
        """Return what it is, for the journal of runs."""
        return {"kind": "dask", "workers": self._workers, "threads": self.slots}

    def room(self) -> dict[str, int]:
        """Return how many tasks at a time each worker takes that is there now, by its address."""
        try:
            found = workers_there(self.client)
        except OSError as error:
            raise scheduler_lost() from error
        limits = [((one["memory_limit"] or 0) * self._share, one["nthreads"]) for one in found.values()]
        return dict(sorted(zip(found, tasks_of(self._needed, limits), strict=True)))

    def give_up(self, worker: str) -> None:
        """Take a worker out of the cluster, whatever it does; a nanny starts another in its place."""
        self.client.run_on_scheduler(_remove, worker=worker)

    def run(
        self, function: Callable[[T], R], segments: Segments[T], split: Split[T] = halves
    ) -> Iterator[tuple[T, R | Exception]]:
        """Yield every task with its result, as they finish."""
        return Flow(self, function, segments, split).results()


def workers_there(client: Client) -> dict[str, dict[str, Any]]:
    """Return what the scheduler says of every worker that is there now, by its address.

    `Client.scheduler_info` keeps its answer where the client's own loop puts another one every two seconds,
    without any worker: read at that moment, all of them seem to be lost.
    """
    if client.scheduler is None:
        raise OSError("the client is closed")
    return dict(client.sync(client.scheduler.identity)["workers"])


async def _remove(worker: str, dask_scheduler: Any = None) -> None:
    """Remove a worker, in the scheduler."""
    await dask_scheduler.remove_worker(worker, stimulus_id="hangs", close=True)


def segments_of(tasks: Sequence[T], slots: int) -> list[Sequence[T]]:
    """Return tasks cut into runs of neighbours of equal length, one for each slot."""
    count = min(slots, len(tasks))
    cuts = [k * len(tasks) // count for k in range(count + 1)] if count else [0]
    return [tasks[a:b] for a, b in pairwise(cuts)]

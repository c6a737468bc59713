"""Clients run tasks: one after the other in this process, or on the workers of a Dask scheduler.

Dask places tasks, keeps results, retries, steals, spills and replaces. What is ours: how many tasks are
handed over at a time, what is said when workers are lost, and an end to tasks that hang.
"""

from __future__ import annotations

import pickle
import time
import zlib
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Protocol

from mrcz_dask.engine.memory import MemoryEstimate, keep_memory, tasks_per_worker
from mrcz_dask.values.errors import SessionError

if TYPE_CHECKING:
    import distributed

# Tasks that are handed over for each one that can run, and at least: those of a chain go one after the other
# on one worker, and stealing and `adapt` see a backlog.
AHEAD, FEWEST_AHEAD = 28, 64
# Tasks of more bytes are compressed, but for arguments that are bytes themselves: frames, compressed already.
# Dask warns of tasks of more bytes, as data should not go through the scheduler; where frames come from a
# socket they must: what is scattered to workers is lost with them, and Dask cannot send it again.
LARGE, MOST_BYTES = 4096, "4 GB"
# Seconds between looks at the workers; without any worker after which a run ends.
LOOK, LONGEST_WAIT = 5.0, 600.0
# Dask gives up workers that say nothing (`worker-ttl`), not tasks that never end. One that takes so many
# times longer than its like, and so many seconds at least, hangs: its worker is given up.
MUCH_LONGER, HANGING = 20, 1800.0
RETRIES = 3


class Client(Protocol):
    """Protocol of clients, which run tasks in this process or on Dask workers.

    Attributes
    ----------
    slots
        Number of tasks that run at a time.
    threads
        Number of tasks that run at a time in one process.
    """

    slots: int
    threads: int

    @property
    def ahead(self) -> int:
        """Most tasks that may be submitted and unfinished at a time."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the kind of client and its number of workers, for the log of the run."""
        ...

    def submit(self, name: str, function: Callable[..., Any], *arguments: Any, priority: int = 0) -> Any:
        """Submit a task and return its future; futures among the arguments are replaced by their results.

        Parameters
        ----------
        name
            Name of the task in Dask's dashboard.
        function, arguments
            Function of the task, and its arguments.
        priority
            Smaller ones run first.
        """
        ...

    def watch(self, future: Any) -> None:
        """Register a future, which `finished` will return once when it is done."""
        ...

    def finished(self, seconds: float) -> list[tuple[Any, Any]]:
        """Wait up to some seconds for registered futures; return those that are done,
        with result or error.
        """
        ...


class SerialClient:
    """Runs each task at once in this process, without Dask; every other client must give the same results."""

    slots = threads = ahead = 1

    def __init__(self) -> None:
        self._finished: list[tuple[Any, Any]] = []
        keep_memory()

    def describe(self) -> dict[str, Any]:
        """Return the kind of client, for the log of the run."""
        return {"kind": "serial"}

    def submit(self, name: str, function: Callable[..., Any], *arguments: Any, priority: int = 0) -> Any:
        """Run a task at once and return its finished future; see `Client.submit`."""
        future: Future[Any] = Future()
        try:
            values = [value.result() if isinstance(value, Future) else value for value in arguments]
            future.set_result(function(*values))
        except Exception as error:  # noqa: BLE001 - it is the task's result, as on a worker
            future.set_exception(error)
        return future

    def watch(self, future: Any) -> None:
        """Register a future, which `finished` will return once."""
        self._finished.append((future, future.exception() or future.result()))

    def finished(self, seconds: float) -> list[tuple[Any, Any]]:
        """Return all registered futures with result or error; each is done already."""
        finished, self._finished = self._finished, []
        return finished


class DaskClient:
    """Runs tasks on the workers of a Dask scheduler, never more at a time than their memory allows.

    Parameters
    ----------
    client
        A connected client of `distributed`.
    estimate
        Memory of a worker.
    share
        Share of a worker's memory limit that tasks may use.
    slots
        Tasks at a time on all workers that there may be; None = on those that are there.
    wait
        Seconds without any worker after which the run ends.
    reason
        Says what is known of missing workers.

    Attributes
    ----------
    client
        The client.

    Raises
    ------
    SessionError
        When no worker has memory for one task.
    """

    def __init__(
        self,
        client: distributed.Client,
        estimate: MemoryEstimate,
        share: float = 1.0,
        slots: int | None = None,
        wait: float = LONGEST_WAIT,
        reason: Callable[[], str] = str,
    ) -> None:
        from distributed import as_completed

        self.client = client
        self._estimate, self._share, self._wait, self._reason = estimate, share, wait, reason
        room = self.room()
        self._planned = slots
        self.slots = slots or max(1, sum(room.values()))
        self.threads = max(1, *room.values()) if room else 1
        self._workers = len(room)
        self._watched = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        self._looked = self._seen = time.monotonic()
        self._count = 0

    @property
    def ahead(self) -> int:
        """Most tasks that may be submitted and unfinished at a time.

        Where memory is for fewer tasks than there are threads, just these: Dask would run more.
        """
        return self.slots if self._tight else max(FEWEST_AHEAD, AHEAD * self.slots)

    def describe(self) -> dict[str, Any]:
        """Return the kind of client and its numbers of workers and threads, for the log of the run."""
        return {"kind": "dask", "workers": self._workers, "threads": self.slots}

    def room(self) -> dict[str, int]:
        """Return how many tasks each present worker can run at a time with its memory, by worker address."""
        try:
            workers = workers_there(self.client)
        except OSError as error:
            raise scheduler_lost() from error
        limits = [((each["memory_limit"] or 0) * self._share, each["nthreads"]) for each in workers.values()]
        tasks = tasks_per_worker(self._estimate, limits)
        self._tight = any(most < each["nthreads"] for most, each in zip(tasks, workers.values(), strict=True))
        return dict(sorted(zip(workers, tasks, strict=True)))

    def submit(self, name: str, function: Callable[..., Any], *arguments: Any, priority: int = 0) -> Any:
        """Submit a task to the scheduler; see `Client.submit`."""
        import dask
        from distributed import Future as DaskFuture

        # As bytes: the scheduler would otherwise make objects of it, and bytes again.
        apart = {k: value for k, value in enumerate(arguments) if isinstance(value, DaskFuture | bytes)}
        packed = pickle.dumps(
            (function, [None if k in apart else value for k, value in enumerate(arguments)])
        )
        if len(packed) > LARGE:
            packed = zlib.compress(packed, 1)
        self._count += 1
        key = f"{name}-{self._count}-{id(self):x}-{time.time_ns():x}"
        options: Any = {"priority": -priority, "retries": RETRIES, "pure": False}
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": MOST_BYTES}):
            return self.client.submit(run_packed, packed, list(apart), *apart.values(), key=key, **options)

    def watch(self, future: Any) -> None:
        """Register a future, which `finished` will return once when it is done."""
        self._watched.add(future)

    def finished(self, seconds: float) -> list[tuple[Any, Any]]:
        """Wait up to some seconds for registered futures; return those that are done, with result or error.

        Raises
        ------
        SessionError
            When the scheduler is lost, or all workers for long.
        """
        end = time.monotonic() + seconds
        while not self._watched.has_ready() and time.monotonic() < end:
            time.sleep(0.01)
        if time.monotonic() - self._looked > LOOK:
            self._look()
        return [
            (future, self._result(future, result)) for future, result in self._watched.next_batch(block=False)
        ]

    def _result(self, future: Any, result: Any) -> Any:
        from distributed import KilledWorker

        if isinstance(result, CancelledError):
            raise scheduler_lost() from result
        error = result[1] if future.status == "error" else None
        if isinstance(error, KilledWorker):
            return SessionError(
                f"its worker was lost {error.allowed_failures + 1} times; was there too little memory "
                "(--memory)? run again to try again"
            )
        return result if error is None else error

    def _look(self) -> None:
        """Give up workers whose tasks hang; complain when there have been no workers for long."""
        self._looked = now = time.monotonic()
        room = self.room()
        self.slots = self._planned or max(1, sum(room.values()))
        if room:
            self._seen = now
            self.client.run_on_scheduler(_give_up_hanging)
        elif now - self._seen > self._wait:
            why = self._reason()
            raise SessionError(
                f"all workers were lost{why and '; '}{why}; finished outputs stay: run again to go on with "
                "the other stacks"
            )


def run_packed(packed: bytes, places: list[int], *apart: Any) -> Any:
    """Run a task on a worker: unpickle its function and arguments, add the results it needs, and call it."""
    keep_memory()
    if packed[:1] != pickle.PROTO:
        packed = zlib.decompress(packed)
    function, arguments = pickle.loads(packed)  # noqa: S301 - Dask's own channel, see the security notes there
    for place, value in zip(places, apart, strict=True):
        arguments[place] = value
    return function(*arguments)


async def _give_up_hanging(dask_scheduler: Any = None) -> None:
    """Remove workers on which a task takes far longer than its like; runs in the scheduler."""
    for worker in list(dask_scheduler.workers.values()):
        for task, seconds in worker.executing.items():
            usual = max(0.0, task.prefix.duration_average)
            if seconds > max(HANGING, MUCH_LONGER * usual):
                await dask_scheduler.remove_worker(worker.address, stimulus_id="hangs", close=True)
                break


def workers_there(client: distributed.Client) -> dict[str, dict[str, Any]]:
    """Return the scheduler's present workers with their properties, by address.

    `Client.scheduler_info` keeps its answer where the client's own loop puts another one every two seconds,
    without any worker: read at that moment, all of them seem to be lost.
    """
    if client.scheduler is None:
        raise OSError("the client is closed")
    return dict(client.sync(client.scheduler.identity)["workers"])


def scheduler_lost() -> SessionError:
    """Return the error for a Dask scheduler that no longer answers."""
    return SessionError(
        "the Dask scheduler was lost; finished outputs stay: run again to go on with the other stacks"
    )

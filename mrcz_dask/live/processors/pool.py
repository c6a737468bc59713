"""Gives every live processor a Dask worker of its own, which can be killed when it hangs.

A processor that raises, hangs, exits or takes memory harms its own worker alone. A processor is a Dask actor:
calls go straight to its worker, one after the other, and its state stays there.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from mrcz_dask.engine.client import workers_there
from mrcz_dask.engine.clusters import ClientOptions, connected
from mrcz_dask.engine.hosts import LOOPBACK
from mrcz_dask.engine.jobs import ONE_THREAD, WORKER_MEMORY
from mrcz_dask.engine.local import local_cluster
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.live.processors.host import Host
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.messages import ClusterReady, Listener, Warned

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

RESTART_SECONDS = 3.0  # in which Dask starts a worker again
START_SECONDS = 60.0
PROCESS_BYTES = 400_000_000  # a process with Dask and NumPy before a processor's first frame
LOST_SECONDS = 2.0  # between two looks for a worker that does not answer
POLL_SECONDS = 0.1
_BINDING = Lock()


class WorkerLostError(SessionError):
    """Error: the worker process of a processor has ended or does not answer."""


@dataclass(slots=True)
class Hosted:
    """Handle of a processor's worker process: its address, and calls to the processor's `Host` in it.

    Attributes
    ----------
    address, pid
        Address and process number of the worker.
    actor
        The processor's `Host` in it.
    pool
        The pool that the worker is from.
    """

    address: str
    pid: int
    actor: Any
    pool: Pool

    def call(self, method: str, *arguments: object, seconds: float) -> Any:
        """Call a method of the processor's `Host` in the worker process, and return its result.

        Raises
        ------
        WorkerLostError
            The worker has ended.
        TimeoutError
            The call takes longer.
        """
        try:
            return self.pool.wait(getattr(self.actor, method)(*arguments), self.address, seconds)
        except TimeoutError:
            raise
        except (OSError, RuntimeError, CancelledError) as error:
            raise WorkerLostError(f"its worker process has ended ({error})") from error


class Pool:
    """Hands out the workers of a Dask cluster to live processors, one processor on each.

    Parameters
    ----------
    client
        Client of the cluster.
    memory
        Bytes that a processor may take; None = as many as its worker has.
    cluster, workers
        The local cluster, and the number of its workers; None = somebody's scheduler.
    """

    def __init__(
        self, client: Client, memory: int | None, cluster: LocalCluster | None = None, workers: int = 0
    ) -> None:
        self._client, self._memory = client, memory
        self._cluster, self._workers = cluster, workers
        self._lock = Lock()
        self._held: list[str] = []
        self._ended: set[str] = set()
        self._numbers = itertools.count()

    def take(self, name: str, stop: Event) -> Hosted | None:
        """Wait for a free worker, start a processor's `Host` on it and return its handle;
        None once `stop` is set.

        Raises
        ------
        WorkerLostError
            The worker was lost while it started.
        """
        from distributed import KilledWorker

        address = self._free_worker(stop)
        if address is None:
            return None
        key = f"live-{name}-{next(self._numbers)}"
        placed = {"workers": [address], "allow_other_workers": False, "retries": 0}
        try:
            future = self._client.submit(Host, self._memory, actor=True, key=key, pure=False, **placed)
            actor = self.wait(future, address)
            # An actor binds itself to the current client when it is first used. That is a setting of the
            # whole process, which two threads must not change at a time.
            with _BINDING, self._client.as_current():
                process = actor.process
            return Hosted(address, int(self.wait(process(), address)), actor, self)
        except (OSError, RuntimeError, CancelledError, TimeoutError, KilledWorker) as error:
            self.release(address)
            raise WorkerLostError(f"its worker did not start ({error})") from error

    def wait(self, future: Any, address: str, seconds: float = START_SECONDS) -> Any:
        """Return a worker's result, or give up as soon as it is gone: Dask does not report every end."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            try:
                return future.result(timeout=max(0.001, min(LOST_SECONDS, left)))
            except TimeoutError:
                if left <= LOST_SECONDS:
                    raise
            if address not in self._alive():
                raise OSError(f"worker {address} is gone")

    def _free_worker(self, stop: Event) -> str | None:
        """Return the address of a worker that nobody holds; on somebody's scheduler, the least held one."""
        scaled = time.monotonic()
        while not stop.is_set():
            with self._lock:
                alive = self._alive()
                free = sorted(set(alive) - set(self._held))
                if not free and alive and self._cluster is None:
                    free = sorted(alive, key=self._held.count)
                if free:
                    self._held.append(free[0])
                    return free[0]
                is_late = time.monotonic() - scaled > RESTART_SECONDS
                if self._cluster is not None and len(alive) < self._workers and is_late:
                    self._cluster.scale(self._workers)  # Dask does not start every worker again
                    scaled = time.monotonic()
            stop.wait(POLL_SECONDS)
        return None

    def _alive(self) -> list[str]:
        """Return the addresses of workers, without those that were ended and are still listed."""
        return [address for address in workers_there(self._client) if address not in self._ended]

    def end(self, hosted: Hosted) -> None:
        """Kill a worker process, such as one that hangs; Dask starts another in its place."""
        if self._cluster is not None:
            self._ended.add(hosted.address)
            with suppress(ProcessLookupError):
                os.kill(hosted.pid, signal.SIGKILL)
        elif hosted.address in self._alive():
            with suppress(KeyError, OSError, TimeoutError):  # it ended by itself at that very moment
                self._client.restart_workers([hosted.address], timeout=START_SECONDS, raise_for_error=False)
        self.release(hosted.address)

    def release(self, address: str) -> None:
        """Mark a worker as free, so that another processor can use it."""
        with self._lock, suppress(ValueError):
            self._held.remove(address)


@contextmanager
def open_pool(where: ClientOptions, processors: int, memory: int, listen: Listener) -> Iterator[Pool]:
    """Start a local cluster for processors, or connect to a running one, for the length of a ``with`` block.

    Parameters
    ----------
    where
        A running scheduler; otherwise a local cluster with a worker for each processor is started.
    processors
        Number of processors.
    memory
        Bytes that a processor may take on a local cluster.
    listen
        Gets the address of the cluster.

    Raises
    ------
    SessionError
        The scheduler does not answer or has no workers.
    """
    if where.scheduler is not None:
        with connected(where, MemoryEstimate(PROCESS_BYTES, 1), listen) as connection:
            workers = len(workers_there(connection.client))
            if workers < processors:
                listen(
                    Warned(
                        f"{processors} processors share {workers} workers of this scheduler, so that one can "
                        "slow or stop another; start as many workers as there are processors"
                    )
                )
            yield Pool(connection.client, None)
        return
    with local_cluster(
        processors,
        {"distributed.nanny.pre-spawn-environ": ONE_THREAD, **WORKER_MEMORY},
        again=False,
        direct=True,
        threads_per_worker=1,
        memory_limit=memory + PROCESS_BYTES,
        dashboard_address=where.dashboard or f"{LOOPBACK}:0",
        silence_logs="CRITICAL",
        scheduler_kwargs={"allowed_failures": 0},  # not in the configuration, which others share
    ) as (cluster, client):
        listen(ClusterReady(processors, 1, cluster.scheduler_address, cluster.dashboard_link))
        yield Pool(client, memory, cluster, processors)

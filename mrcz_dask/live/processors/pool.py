"""Workers of a Dask cluster for live processors: each processor has one to itself.

What a processor does to its worker - raise, hang, exit, eat memory - concerns that worker alone. A processor
is a Dask actor: calls go straight to its worker, one after the other, and its state stays there.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from mrcz_dask.engine.client import workers_there
from mrcz_dask.engine.clusters import ClientOptions, connected
from mrcz_dask.engine.jobs import LOOPBACK, ONE_THREAD
from mrcz_dask.engine.local import local_cluster
from mrcz_dask.live.processors.host import Host
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.messages import ClusterReady, Listener, Warned

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

RESTART = 3.0  # seconds that Dask has to start a worker again
# Of a process with Dask and NumPy before a processor's first frame, bytes.
PROCESS = 400_000_000
START_SECONDS = 60.0
# So often a worker that does not answer is looked for.
LOST_SECONDS = 2.0
LOOK_SECONDS = 0.1
_BINDING = Lock()


class WorkerLostError(SessionError):
    """The worker of a processor has ended, or does not answer."""


@dataclass(slots=True)
class Hosted:
    """A worker that holds a processor.

    Attributes
    ----------
    address
        Of the worker.
    pid
        Of its process.
    actor
        The processor's `Host` in it.
    patient
        Waits for what it returns.
    """

    address: str
    pid: int
    actor: Any
    patient: Callable[[Any, str, float], Any]

    def call(self, method: str, *arguments: object, seconds: float) -> Any:
        """Return what a method of the host returns.

        Raises
        ------
        WorkerLostError
            The worker has ended.
        TimeoutError
            It takes longer.
        """
        try:
            return self.patient(getattr(self.actor, method)(*arguments), self.address, seconds)
        except TimeoutError:
            raise
        except (OSError, RuntimeError, CancelledError) as error:
            raise WorkerLostError(f"its worker process has ended ({error})") from error


class Pool:
    """Workers, of which each is given to one processor at a time.

    Parameters
    ----------
    client
        Of the cluster.
    memory
        Bytes that a processor may take; None = what its worker has.
    cluster, workers
        The local cluster, and how many workers it has.
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
        """Return a worker for a processor, as soon as there is one; None if `stop` is set before.

        Raises
        ------
        WorkerLostError
            It was lost while it started.
        """
        address = self._address(stop)
        if address is None:
            return None
        from distributed import KilledWorker

        try:
            return self._hosted(name, address)
        except (OSError, RuntimeError, CancelledError, TimeoutError, KilledWorker) as error:
            self._give_back(address)
            raise WorkerLostError(f"its worker did not start ({error})") from error

    def _hosted(self, name: str, address: str) -> Hosted:
        key = f"live-{name}-{next(self._numbers)}"
        actor = self._client.submit(
            Host,
            self._memory,
            actor=True,
            key=key,
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        found = self._patient(actor, address)
        # An actor binds itself to the current client when it is first used. That is a setting of the whole
        # process, which two threads must not change at a time.
        with _BINDING, self._client.as_current():
            process = found.process
        return Hosted(address, int(self._patient(process(), address)), found, self._patient)

    def _patient(self, future: Any, address: str, seconds: float = START_SECONDS) -> Any:
        """Return a result, or give up as soon as the worker is gone: not every way of ending is told."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            try:
                return future.result(timeout=max(0.001, min(LOST_SECONDS, left)))
            except TimeoutError:
                if left <= LOST_SECONDS:
                    raise
            if address not in self._there():
                raise OSError(f"worker {address} is gone")

    def _address(self, stop: Event) -> str | None:
        """Return the address of a worker that nobody holds; of somebody else's cluster, the least held."""
        since = time.monotonic()
        while not stop.is_set():
            with self._lock:
                there = self._there()
                free = sorted(set(there) - set(self._held))
                if not free and there and self._cluster is None:
                    free = sorted(there, key=self._held.count)
                if free:
                    self._held.append(free[0])
                    return free[0]
                if self._cluster is not None and len(there) < self._workers:
                    since = self._grown(since)
            stop.wait(LOOK_SECONDS)
        return None

    def _there(self) -> list[str]:
        """Return the workers that are there, without those that are gone and still listed."""
        return [one for one in workers_there(self._client) if one not in self._ended]

    def _grown(self, since: float) -> float:
        """Ask for a worker in place of one that Dask does not start again."""
        now = time.monotonic()
        if now - since <= RESTART or self._cluster is None:
            return since
        self._cluster.scale(self._workers)
        return now

    def _give_back(self, address: str) -> None:
        with self._lock, suppress(ValueError):
            self._held.remove(address)

    def end(self, hosted: Hosted) -> None:
        """End a worker, whatever it does; another takes its place."""
        if self._cluster is not None:
            self._ended.add(hosted.address)
            with suppress(ProcessLookupError):
                os.kill(hosted.pid, signal.SIGKILL)
        elif hosted.address in self._there():
            with suppress(KeyError, OSError, TimeoutError):  # it went by itself at that very moment
                self._client.restart_workers([hosted.address], timeout=START_SECONDS, raise_for_error=False)
        self.forget(hosted)

    def forget(self, hosted: Hosted) -> None:
        """Let others have a worker."""
        self._give_back(hosted.address)


@contextmanager
def open_pool(where: ClientOptions, processors: int, memory: int, listen: Listener) -> Iterator[Pool]:
    """Give workers for so many processors, and close what was opened for them.

    Parameters
    ----------
    where
        A running scheduler, or how many workers of a local cluster: one for each processor if it is not said.
    processors
        How many there are.
    memory
        Bytes that a processor may take, of a local cluster.
    listen
        Is told where the cluster is.

    Raises
    ------
    SessionError
        When the scheduler does not answer or has no workers.
    """
    if where.scheduler is not None:
        from mrcz_dask.engine.memory import MemoryEstimate

        with connected(where, MemoryEstimate(PROCESS, 1), listen) as connection:
            _warn_of_few(connection.client, processors, listen)
            yield Pool(connection.client, None)
        return
    with _local(where, processors, memory, listen) as pool:
        yield pool


def _warn_of_few(client: Client, processors: int, listen: Listener) -> None:
    there = len(workers_there(client))
    if there < processors:
        listen(
            Warned(
                f"{processors} processors share {there} workers of this scheduler: what one of them does can "
                "slow or stop another; start as many workers as there are processors"
            )
        )


@contextmanager
def _local(where: ClientOptions, processors: int, memory: int, listen: Listener) -> Iterator[Pool]:
    settings = {
        "distributed.nanny.pre-spawn-environ": ONE_THREAD,
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 1.0,
    }
    with (
        local_cluster(
            processors,
            settings,
            again=False,
            direct=True,
            threads_per_worker=1,
            memory_limit=memory + PROCESS,
            dashboard_address=where.dashboard or f"{LOOPBACK}:0",
            silence_logs="CRITICAL",
            scheduler_kwargs={"allowed_failures": 0},  # not in the configuration, which others share
        ) as (cluster, client),
    ):
        listen(ClusterReady(processors, 1, cluster.scheduler_address, cluster.dashboard_link))
        yield Pool(client, memory, cluster, processors)

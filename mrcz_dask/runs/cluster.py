"""Where tasks run: in this process, on a local cluster, or on a scheduler that runs already."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrcz_dask.runs.allocator import environment, give_back
from mrcz_dask.runs.executors import DaskExecutor, Executor, SerialExecutor
from mrcz_dask.runs.memory import Crew, Need, crew
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.events import ClusterReady, Listener

if TYPE_CHECKING:
    from distributed import Client, WorkerPlugin

# One thread for each task: stacks run side by side, and more threads would wait for each other.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS"), "1")
# Workers hold nothing that could be spilled. What was used once stays with the process (see `allocator`), so
# that a worker that pauses would never go on; one that is above its limit is ended, and its task tried again.
WORKER_MEMORY = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 1.0,
}
# Of the limit of somebody else's workers: they pause above, if nothing else is configured.
SHARE = 0.8
LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 30
# Beside what Dask compares itself: what decides about the bytes of the outputs.
SAME_VERSIONS = ["mrcz_dask", "numpy", "scipy", "blosc2", "numcodecs", "zarr"]


@dataclass(frozen=True, slots=True)
class Where:
    """Where tasks are to run.

    Attributes
    ----------
    workers
        Processes of a local cluster; 0 = no cluster, one stack after the other in this process; None = one
        for each core, or as many as the memory allows.
    threads
        Of each worker of a local cluster.
    memory
        Limit of a worker of a local cluster, bytes; None = the machine's memory, shared out.
    scheduler
        Address of a scheduler that runs already, whose workers have their own threads and limits.

    Raises
    ------
    ParameterError
        When a scheduler is given together with workers or memory.
    """

    workers: int | None = None
    threads: int = 1
    memory: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        given = [f"--{name}" for name in ("workers", "memory") if getattr(self, name) is not None]
        if self.scheduler is not None and given:
            raise ParameterError(
                f"{' and '.join(given)} size a local cluster and --scheduler names another one; "
                "give one of them"
            )


def local_crew(where: Where, needed: Need) -> Crew | None:
    """Return the workers of a local cluster; None where a scheduler is given, which has its own.

    Raises
    ------
    SessionError
        When there is too little memory; with the numbers that would do.
    """
    if where.scheduler is not None:
        return None
    from distributed.system import MEMORY_LIMIT

    return crew(needed, MEMORY_LIMIT, cores(), where.workers, where.threads, where.memory)


@contextmanager
def open_executor(where: Where, needed: Need, listen: Listener) -> Iterator[Executor]:
    """Give an executor, and close what was opened for it.

    Parameters
    ----------
    where
        What is to be opened.
    needed
        Memory of a worker.
    listen
        Is told where the cluster is.

    Raises
    ------
    SessionError
        When there is too little memory; when the scheduler does not answer, has no workers, or these have
        other versions.
    """
    planned = local_crew(where, needed)
    if planned is None:
        assert where.scheduler is not None
        with _connected(where.scheduler, needed, listen) as executor:
            yield executor
    elif planned.workers == 0:
        try:
            yield SerialExecutor()
        finally:
            give_back()
    else:
        with _local(planned, needed, listen) as executor:
            yield executor


def cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def _local(planned: Crew, needed: Need, listen: Listener) -> Iterator[Executor]:
    import dask
    from distributed import Client, LocalCluster

    settings = {"distributed.nanny.pre-spawn-environ": environment() | ONE_THREAD, **WORKER_MEMORY}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=planned.workers,
            threads_per_worker=planned.threads,
            memory_limit=planned.limit,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            silence_logs="ERROR",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_deaf_to_interrupts())
        address = cluster.scheduler_address
        listen(ClusterReady(planned.workers, planned.threads, address, cluster.dashboard_link))
        yield DaskExecutor(client, needed)


def _deaf_to_interrupts() -> WorkerPlugin:
    """Return what makes workers ignore Ctrl-C, which a terminal sends to them, too: we end them in order."""
    from distributed import WorkerPlugin

    class DeafToInterrupts(WorkerPlugin):
        def setup(self, worker: object) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return DeafToInterrupts()


@contextmanager
def _connected(scheduler: str, needed: Need, listen: Listener) -> Iterator[Executor]:
    with _client(scheduler) as client:
        threads = _threads(client, scheduler)
        executor = DaskExecutor(client, needed, SHARE)
        listen(ClusterReady(len(threads), max(threads.values()), scheduler, client.dashboard_link))
        try:
            yield executor
        finally:
            with suppress(OSError, TimeoutError, ValueError):  # workers that are gone need nothing
                client.run(give_back, on_error="ignore")


def _client(scheduler: str) -> Client:
    from distributed import Client

    if not re.fullmatch(r"([a-z+]+://)?[^/:]+(:\d+)?(:\d+)?", scheduler) or ":" not in scheduler:
        raise ParameterError(
            f"--scheduler is {scheduler!r}; expected an address such as tcp://host:8786, as `dask scheduler` "
            "prints it"
        )
    try:
        return Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SessionError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({error or 'no answer'}); expected an "
            "address such as tcp://host:8786; start one with `dask scheduler`"
        ) from error


def _threads(client: Client, scheduler: str) -> dict[str, int]:
    """Return the threads of every worker; there must be one, of the same versions as this process."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        client.get_versions(check=True, packages=SAME_VERSIONS)
    except TimeoutError as error:
        raise SessionError(
            f"--scheduler {scheduler}: no worker is there; start some with `dask worker {scheduler}`"
        ) from error
    except ValueError as error:
        raise SessionError(
            f"--scheduler {scheduler}: install the same versions everywhere: {error}"
        ) from error
    return dict(client.nthreads())

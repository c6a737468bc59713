"""Where tasks run: in this process, on a local cluster, or on a scheduler that runs already."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mrcz_dask.runs.executors import DaskExecutor, Executor, SerialExecutor
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.events import ClusterReady, Listener

if TYPE_CHECKING:
    from distributed import Client, WorkerPlugin

# The nanny's own default (64 KiB) makes malloc return every frame-sized buffer to the system at once, and
# touching fresh pages costs as much as decoding a frame.
WORKER_ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}
LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 30
# Beside what Dask compares itself: what decides about the bytes of the outputs.
SAME_VERSIONS = ["mrcz_dask", "numpy", "scipy", "blosc2", "numcodecs", "zarr"]


@contextmanager
def open_executor(
    workers: int | None, threads: int, scheduler: str | None, listen: Listener
) -> Iterator[Executor]:
    """Give an executor, and close what was opened for it.

    Parameters
    ----------
    workers
        Processes of a local cluster; 0 = no cluster, one stack after the other in this process; None = one
        for each core.
    threads
        Of each worker of a local cluster.
    scheduler
        Address of a scheduler that runs already; then `workers` and `threads` are its own.
    listen
        Is told where the cluster is.

    Raises
    ------
    ParameterError
        When a scheduler is given together with workers.
    SessionError
        When the scheduler does not answer, has no workers, or these have other versions.
    """
    if scheduler is not None and workers is not None:
        raise ParameterError(
            "--workers sizes a local cluster and --scheduler names another one; give one of them"
        )
    if workers == 0:
        yield SerialExecutor()
    elif scheduler is not None:
        with _connected(scheduler, listen) as executor:
            yield executor
    else:
        with _local(workers or cores(), threads, listen) as executor:
            yield executor


def cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def _local(workers: int, threads: int, listen: Listener) -> Iterator[Executor]:
    import dask
    from distributed import Client, LocalCluster

    settings = {"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            silence_logs="ERROR",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_deaf_to_interrupts())
        listen(ClusterReady(workers, threads, cluster.scheduler_address, cluster.dashboard_link))
        yield DaskExecutor(client)


def _deaf_to_interrupts() -> WorkerPlugin:
    """Return what makes workers ignore Ctrl-C, which a terminal sends to them, too: we end them in order."""
    from distributed import WorkerPlugin

    class DeafToInterrupts(WorkerPlugin):
        def setup(self, worker: object) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return DeafToInterrupts()


@contextmanager
def _connected(scheduler: str, listen: Listener) -> Iterator[Executor]:
    with _client(scheduler) as client:
        threads = _threads(client, scheduler)
        listen(ClusterReady(len(threads), max(threads.values()), scheduler, client.dashboard_link))
        yield DaskExecutor(client)


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

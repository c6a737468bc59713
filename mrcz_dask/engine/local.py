"""Starts Dask workers on this machine; Ctrl-C ends their start at once."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from mrcz_dask.engine.hosts import LOOPBACK, guard_dashboard
from mrcz_dask.formats.libraries import library
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.stopping import check_stop

if TYPE_CHECKING:
    from distributed import Client, LocalCluster, WorkerPlugin

START_SECONDS = 300


def wait_for_workers(client: Client, number: int, seconds: float) -> None:
    """Wait until `number` workers have started; Ctrl-C or another signal ends the waiting.

    Raises
    ------
    TimeoutError
        When they are not there for long.
    """
    begun = time.monotonic()
    while number:
        check_stop()
        with suppress(TimeoutError):
            client.wait_for_workers(number, timeout=0.1)
            return
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"{number} workers have not started within {seconds:g} s")


@contextmanager
def local_cluster(
    number: int, settings: dict[str, Any], *, again: bool, direct: bool | None = None, **options: Any
) -> Iterator[tuple[LocalCluster, Client]]:
    """Start `number` workers on this machine for a ``with`` block; give the cluster and a client of it.

    Parameters
    ----------
    number
        Number of workers.
    settings
        Settings of Dask while the cluster runs.
    again
        Whether a worker that ends while it starts is started again, which Dask does for others alone.
    direct
        Whether the client talks to workers itself.
    options
        As `distributed.LocalCluster` takes them.

    Raises
    ------
    SessionError
        The workers do not start.
    MissingLibraryError
        Dask's configuration asks for encryption, and cryptography is not installed.
    """
    import dask
    from distributed import (
        Client,
        LocalCluster,
        Security,
    )  # before its configuration is changed, which it brings along

    check_stop()  # after what takes seconds to load
    security = None
    if dask.config.get("distributed.comm.require-encryption"):
        library("cryptography", "hpc", "encrypted connections")
        security = Security.temporary()
    with _killing() as kill, dask.config.set(settings):
        with _deaf_to_interrupts():
            started = LocalCluster(n_workers=0, host=LOOPBACK, security=security, **options)
        with (
            started as cluster,
            Client(cluster, set_as_default=False, direct_to_workers=direct) as client,
        ):
            guard_dashboard(cluster, options["dashboard_address"])
            try:
                cluster.scale(number)
                if again:
                    cluster.adapt(minimum=number, maximum=number)
                wait_for_workers(client, number, START_SECONDS)
                while len(cluster.workers) < number:  # it notes them a moment after the scheduler does
                    check_stop()
                    time.sleep(0.01)
            except TimeoutError as error:
                kill()
                raise SessionError(f"{error}; give fewer --workers, or run again") from error
            except BaseException:
                kill()
                raise
            client.register_plugin(quiet_ends())
            yield cluster, client


@contextmanager
def _killing() -> Iterator[Callable[[], None]]:
    """Give what kills the processes that are started in the block, until it ends: Dask waits for them."""
    before, over = set(multiprocessing.active_children()), threading.Event()
    quiet = logging.root.manager.disable

    def kill() -> None:
        """Kill each new process as it starts."""
        while not over.wait(0.05):
            for process in set(multiprocessing.active_children()) - before:
                process.kill()

    def begin() -> None:
        """Start killing, without a word from Dask."""
        logging.disable(logging.CRITICAL)  # what Dask writes of workers that it could not start
        threading.Thread(target=kill, daemon=True).start()

    try:
        yield begin
    finally:
        over.set()
        logging.disable(quiet)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let threads that are started in the block, and all processes that they start, take no Ctrl-C.

    These are Dask's loop and its workers, from their first moment on; the command ends them in order.
    """
    resource_tracker.ensure_running()  # it would let Ctrl-C through again in the thread that starts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def quiet_ends() -> WorkerPlugin:
    """Return a Dask plugin for workers that ignores Ctrl-C, and a heartbeat that fails as the scheduler ends.

    The command ends workers in order. A scheduler that is lost is said by the command itself.
    """
    from distributed import WorkerPlugin

    class QuietEnds(WorkerPlugin):
        """Makes a worker ignore Ctrl-C, and say nothing of its last heartbeat."""

        def setup(self, worker: object) -> None:
            """Ignore SIGINT from now on, and filter the log."""
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            logging.getLogger("distributed.worker").addFilter(
                lambda record: "during heartbeat" not in record.getMessage()
            )

    return QuietEnds()

"""Opens clients that run tasks: in this process, on a local cluster, in queue jobs,
or on a running scheduler.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mrcz_dask.engine.client import Client as TaskClient
from mrcz_dask.engine.client import DaskClient, SerialClient
from mrcz_dask.engine.hosts import LOOPBACK, guard_dashboard, is_loopback
from mrcz_dask.engine.jobs import (
    ALLOWED_FAILURES,
    ONE_THREAD,
    WORKER_MEMORY,
    adapt,
    begin_jobs,
    open_cluster,
    show_jobs,
)
from mrcz_dask.engine.local import local_cluster, quiet_ends, wait_for_workers
from mrcz_dask.engine.memory import MemoryEstimate, WorkerPlan, environment, give_back, plan_workers
from mrcz_dask.engine.queues import ADDRESS, QueueSettings, hms
from mrcz_dask.values.checks import expect
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.messages import ClusterReady, Listener, Warned
from mrcz_dask.values.stopping import check_stop

if TYPE_CHECKING:
    from dask_jobqueue.core import JobQueueCluster
    from distributed import Client, Security

# Of the limit of somebody else's workers: they pause above, if nothing else is configured.
SHARE = 0.8
CONNECT_SECONDS = 30
# Seconds that a lost worker has to come back before its job is replaced; between two words about jobs that do
# not start, at first.
GRACE, SAY = 30.0, 60.0
# Beside what Dask compares itself: what decides about the bytes of the outputs.
SAME_VERSIONS = ["mrcz_dask", "numpy", "scipy", "blosc2", "numcodecs", "zarr"]


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate files (PEM) for an encrypted connection to a scheduler at a tls:// address.

    Attributes
    ----------
    ca
        Certificate of the authority that signed those of both sides.
    cert
        Certificate of this side.
    key
        Key of this side; None = it is in the file of the certificate.

    Raises
    ------
    ParameterError
        When a file is not there.
    """

    ca: Path
    cert: Path
    key: Path | None = None

    def __post_init__(self) -> None:
        for name in ("ca", "cert", "key"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ParameterError(f"--tls-{name} is {path}; expected a PEM file that is there")


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Options of where tasks run: number and memory of local workers, a queue system,
    or a scheduler's address.

    Attributes
    ----------
    workers
        Processes of a local cluster; 0 = no cluster, one stack after the other in this process; None = one
        for each core, or as many as the memory allows.
    threads
        Threads of each worker of a local cluster.
    memory
        Limit of a worker of a local cluster, bytes; None = the machine's memory, shared out.
    scheduler
        Address of a scheduler that runs already, whose workers have their own threads and limits.
    queue
        Jobs of a queue system.
    tls
        Certificates for the scheduler; None = those of Dask's configuration.
    dashboard
        Address of the dashboard of a cluster that is made; None = loopback, any port, or that of `queue`.

    Raises
    ------
    ParameterError
        When two of scheduler, queue and sizes of a local cluster are given, or what another one needs.
    """

    workers: int | None = None
    threads: int = 1
    memory: int | None = None
    scheduler: str | None = None
    queue: QueueSettings | None = None
    tls: Tls | None = None
    dashboard: str | None = None

    def __post_init__(self) -> None:
        sizes = [f"--{name}" for name in ("workers", "memory") if getattr(self, name) is not None]
        others = {"--scheduler": self.scheduler, "--cluster": self.queue}
        named = [name for name, value in others.items() if value is not None]
        if len(named) == 2:
            raise ParameterError("--scheduler and --cluster both name a cluster; give one of them")
        if named and sizes:
            raise ParameterError(
                f"{' and '.join(sizes)} size a local cluster and {named[0]} names another one; "
                "give one of them"
            )
        if self.scheduler is None and self.tls is not None:
            raise ParameterError("--tls-ca, --tls-cert and --tls-key are for --scheduler tls://...")
        if self.scheduler is not None and self.dashboard is not None:
            raise ParameterError("--dashboard-address is for a new cluster; --scheduler has its own")
        if self.dashboard is not None and not re.fullmatch(ADDRESS, self.dashboard):
            raise ParameterError(
                f"--dashboard-address is {self.dashboard!r}; expected HOST:PORT such as 127.0.0.1:8787"
            )


def plan_local_workers(options: ClientOptions, estimate: MemoryEstimate) -> WorkerPlan | None:
    """Return how many workers fit into this machine or one queue job; None for a running scheduler.

    Raises
    ------
    SessionError
        When there is too little memory; with the numbers that would do.
    """
    if options.scheduler is not None:
        return None
    if options.queue is not None:
        return options.queue.plan_workers(estimate)
    from distributed.system import MEMORY_LIMIT

    return plan_workers(estimate, MEMORY_LIMIT, cores(), options.workers, options.threads, options.memory)


@contextmanager
def open_client(
    options: ClientOptions | Client, estimate: MemoryEstimate, listen: Listener
) -> Iterator[TaskClient]:
    """Open a client that runs tasks, for the length of a ``with`` block;
    starts and closes its workers if need be.

    Parameters
    ----------
    options
        Options of the client, or a connected client of `distributed`, which stays open.
    estimate
        Memory of a worker.
    listen
        Gets messages: the address of the cluster, and warnings.

    Raises
    ------
    SessionError
        When there is too little memory; when the scheduler does not answer, has no workers, or these have
        other versions; when the queue system takes no job, or none starts for long.
    """
    if not isinstance(options, ClientOptions):
        import distributed

        expect("client", options, distributed.Client, "a client of Dask, ClientOptions or None")
        yield DaskClient(options, estimate, SHARE)
        return
    planned = plan_local_workers(options, estimate)
    if planned is None:
        with connected(options, estimate, listen) as client:
            yield client
    elif options.queue is not None:
        with _queued(options, options.queue, estimate, listen) as client:
            yield client
    elif planned.workers == 0:
        try:
            yield SerialClient()
        finally:
            give_back()
    else:
        with _local(planned, options, estimate, listen) as client:
            yield client


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def _local(
    planned: WorkerPlan, options: ClientOptions, estimate: MemoryEstimate, listen: Listener
) -> Iterator[TaskClient]:
    config = {"distributed.nanny.pre-spawn-environ": environment() | ONE_THREAD, **WORKER_MEMORY}
    dashboard, workers, tasks = options.dashboard or f"{LOOPBACK}:0", planned.workers, planned.tasks
    with local_cluster(
        workers,
        config,
        again=True,
        threads_per_worker=tasks,
        memory_limit=planned.limit,
        dashboard_address=dashboard,
        silence_logs="ERROR",
        scheduler_kwargs={"allowed_failures": ALLOWED_FAILURES},
    ) as (cluster, client):
        _warn_of_dashboard(dashboard, listen)
        listen(ClusterReady(workers, tasks, cluster.scheduler_address, cluster.dashboard_link))
        yield DaskClient(client, estimate, slots=workers * tasks)


@contextmanager
def _queued(
    options: ClientOptions, settings: QueueSettings, estimate: MemoryEstimate, listen: Listener
) -> Iterator[TaskClient]:
    import dask
    from distributed import Client

    dashboard = options.dashboard or settings.dashboard
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": f"{GRACE}s"}),
        open_cluster(settings, estimate, dashboard) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        address = cluster.scheduler_address
        guard_dashboard(cluster, dashboard)
        _warn_of_dashboard(dashboard, listen)
        _warn_of_plain(address, listen)
        client.register_plugin(quiet_ends())
        begin_jobs(cluster, settings)
        _wait_for_a_job(client, cluster, settings, listen)
        adapt(cluster, settings, settings.jobs[0])
        _check_versions(client)
        each, most = settings.plan_workers(estimate), settings.jobs[1]
        slots = each.workers * each.tasks * most
        task_client = DaskClient(
            client, estimate, slots=slots, wait=settings.wait, reason=partial(show_jobs, cluster, settings)
        )
        # the dashboard need not listen where the scheduler does
        port, host = client.scheduler_info()["services"].get("dashboard"), dashboard.rpartition(":")[0]
        link = f"http://{host}:{port}/status" if port and host else str(client.dashboard_link)
        listen(ClusterReady(len(task_client.room()), each.tasks, address, link))
        yield task_client


def _wait_for_a_job(
    client: Client, cluster: JobQueueCluster, settings: QueueSettings, listen: Listener
) -> None:
    """Return as soon as there is a worker; say now and then what the queue system shows of the jobs.

    Raises
    ------
    SessionError
        When there is none for long; with how to look at the jobs, and what is seen.
    """
    begun, pause = time.monotonic(), SAY
    while (passed := time.monotonic() - begun) < settings.wait:
        check_stop()
        if passed > pause:
            pause *= 5
            listen(Warned(f"no job has started yet; {show_jobs(cluster, settings)}"))
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=min(1.0, settings.wait - passed))
            return
    raise SessionError(
        f"no job has started within {hms(settings.wait)} (`wait` in the queue settings); "
        f"{show_jobs(cluster, settings)}; their logs are in {settings.folder / 'logs'}; finished outputs "
        "stay: run again to go on"
    )


@contextmanager
def connected(options: ClientOptions, estimate: MemoryEstimate, listen: Listener) -> Iterator[DaskClient]:
    """Connect to a Dask scheduler that runs already, and give a client for the length of a ``with`` block.

    Raises
    ------
    SessionError
        It does not answer, has no workers, or these have other versions.
    """
    scheduler = options.scheduler or ""
    with _client(scheduler, options.tls) as client:
        _warn_of_plain(scheduler, listen)
        try:
            wait_for_workers(client, 1, CONNECT_SECONDS)
        except TimeoutError as error:
            raise SessionError(
                f"--scheduler {scheduler}: no worker is there; start some with `dask worker {scheduler}`"
            ) from error
        _check_versions(client)
        threads, task_client = dict(client.nthreads()), DaskClient(client, estimate, SHARE)
        listen(ClusterReady(len(threads), max(threads.values()), scheduler, client.dashboard_link))
        try:
            yield task_client
        finally:
            with suppress(OSError, TimeoutError, ValueError):  # workers that are gone need nothing
                client.run(give_back, on_error="ignore")


def _client(scheduler: str, tls: Tls | None) -> Client:
    from distributed import Client

    if not re.fullmatch(r"([a-z+]+://)?[^/:]+(:\d+)?(:\d+)?", scheduler) or ":" not in scheduler:
        raise ParameterError(
            f"--scheduler is {scheduler!r}; expected an address such as tcp://host:8786, as `dask scheduler` "
            "prints it"
        )
    security = _security(scheduler, tls)
    try:
        return Client(scheduler, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SessionError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({error or 'no answer'}); expected an "
            "address such as tcp://host:8786, or tls://host:8786 with certificates of the same authority; "
            "start one with `dask scheduler`"
        ) from error


def _security(scheduler: str, tls: Tls | None) -> Security | None:
    """Return the certificates for a scheduler; None where it needs none."""
    from distributed import Security

    if not scheduler.startswith("tls://"):
        if tls is not None:
            raise ParameterError(
                f"--scheduler is {scheduler}, which is not encrypted, and certificates are given; expected "
                "tls://host:port, or no --tls-ca, --tls-cert and --tls-key"
            )
        return None
    if tls is not None:
        names = {"tls_ca_file": tls.ca, "tls_client_cert": tls.cert, "tls_client_key": tls.key}
        files = {name: str(path) for name, path in names.items() if path is not None}
        return Security(require_encryption=True, **files)
    configured = Security(require_encryption=True)
    files = configured.get_tls_config_for_role("client")
    if not (files["ca_file"] and files["cert"]):
        raise ParameterError(
            f"--scheduler {scheduler}: no certificates; expected --tls-ca, --tls-cert and --tls-key, or "
            "distributed.comm.tls in Dask's configuration"
        )
    return configured


def _check_versions(client: Client) -> None:
    try:
        client.get_versions(check=True, packages=SAME_VERSIONS)
    except ValueError as error:
        raise SessionError(f"workers differ: install the same versions everywhere: {error}") from error


def _warn_of_plain(address: str, listen: Listener) -> None:
    if not address.startswith("tls://") and not is_loopback(address):
        text = "is not encrypted, and reached from beyond this machine: whoever reaches its port can run"
        listen(Warned(f"{address} {text} programs as you; use tls://"))


def _warn_of_dashboard(address: str, listen: Listener) -> None:
    if not is_loopback(address):
        text = f"the dashboard listens at {address}, beyond this machine, without a password"
        listen(Warned(f"{text}; use {LOOPBACK} and a tunnel: ssh -L"))

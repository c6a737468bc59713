"""Starts Dask workers as jobs of a queue system such as SLURM.

What a job runs comes from the queue settings and the command line alone. Nothing of a session - no path, no
name, no metadata - is ever part of a job script.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mrcz_dask.engine.hosts import LOOPBACK
from mrcz_dask.engine.memory import MemoryEstimate, environment
from mrcz_dask.engine.queues import PATH, QUEUE_SYSTEMS, QueueSettings, hms
from mrcz_dask.formats import costs
from mrcz_dask.formats.libraries import install
from mrcz_dask.values.choices import System
from mrcz_dask.values.errors import MissingLibraryError, SessionError

if TYPE_CHECKING:
    from dask_jobqueue.core import JobQueueCluster
    from distributed import Security

# One thread for each task: stacks run side by side, and more threads would wait for each other.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS"), "1")
# Workers hold nothing that could be spilled. What was used once stays with the process (`keep_memory`), so
# that a worker that pauses would never go on; one that is above its limit is ended, and its task tried again.
WORKER_MEMORY = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 1.0,
}
# A task fails when its worker was lost this often and once more. Dask blames a loss on all tasks that the
# worker had been given, so that with its default of 3 a few losses in a night make sound stacks fail.
ALLOWED_FAILURES = 10
# Seconds between Dask's looks at how many jobs the work asks for.
LOOK = 2.0
# Seconds after which a job that was refused is submitted again: queues are full, or away for a while.
AGAIN = 30.0
# Seconds that a worker looks for its scheduler.
DEATH_TIMEOUT = 60
_LOOK_SECONDS, _LOOK_LINES = 20, 12
_PEM, _ROLES = ("ca_file", "cert", "key"), ("client", "scheduler", "worker")


@contextmanager
def open_cluster(
    settings: QueueSettings, estimate: MemoryEstimate, dashboard: str | None = None
) -> Iterator[JobQueueCluster]:
    """Open a Dask cluster whose workers are queue jobs; none is submitted yet.
    Closed after the ``with`` block.

    Parameters
    ----------
    settings
        Queue settings of the jobs.
    estimate
        Memory of a worker.
    dashboard
        Address of the dashboard; None = that of the queue settings.

    Raises
    ------
    SessionError
        When dask-jobqueue is not installed, the commands of the system are not here, the folder for logs
        cannot be made, or not one stack fits into a job.
    """
    cls = _cluster_class(settings.system)
    if shutil.which(submit := cls.job_cls.submit_command) is None:
        raise SessionError(
            f"{submit}: not found on this machine; expected a node from which jobs of {settings.system} can "
            "be submitted; log in to one, or choose another --cluster"
        )
    if not re.fullmatch(PATH, str(settings.folder)):
        raise SessionError(
            f"{settings.folder}: expected a folder whose name needs no quotes in a job script (characters of "
            f"{PATH}); choose another as `directory` in the queue settings"
        )
    try:
        (settings.folder / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SessionError(
            f"{settings.folder}: {error.strerror}; expected a folder that all nodes see, for logs and "
            "certificates; choose another as `directory` in the queue settings"
        ) from error
    options = {
        "dashboard_address": dashboard or settings.dashboard,
        "allowed_failures": ALLOWED_FAILURES,
    }
    with (
        _certificates(settings) as security,
        cls(
            **_job(settings, estimate),
            job_cls=_exact(settings, estimate, cls.job_cls),
            n_workers=0,
            security=security,
            scheduler_options=options,
            silence_logs="ERROR",
        ) as cluster,
    ):
        yield cluster


def begin_jobs(cluster: JobQueueCluster, settings: QueueSettings) -> None:
    """Submit the first queue jobs, and keep at least one in the queue until `adapt` allows fewer.

    A queue may let the first job wait for hours, and without work Dask would take it back.

    Raises
    ------
    SessionError
        When the queue system takes no job; with what it says.
    """
    low = max(1, settings.jobs[0])
    try:
        cluster.sync(_submit, cluster, low)
    except RuntimeError as error:
        shown = re.search(r"stderr:\n(.*)", str(error), re.DOTALL)
        text = "; ".join((shown[1] if shown else str(error)).strip().splitlines())
        raise SessionError(
            f"{settings.system} takes no job: {text}; compare the queue settings with what your "
            "cluster expects (`mrcz-dask cluster script` prints the job)"
        ) from None
    adapt(cluster, settings, low)
    cluster.sync(_submit_again, cluster)


def adapt(cluster: JobQueueCluster, settings: QueueSettings, low: int) -> None:
    """Let Dask submit queue jobs as there is work, and end those without work, down to `low` jobs."""
    cluster.adapt(minimum_jobs=low, maximum_jobs=settings.jobs[1], interval=f"{LOOK}s")


async def _submit(cluster: JobQueueCluster, number: int) -> None:
    # not with `scale`, in whose own task an error is lost
    while len(cluster.worker_spec) < number:
        cluster.worker_spec.update(cluster.new_worker_spec())
    await cluster


async def _submit_again(cluster: JobQueueCluster) -> None:
    """Submit jobs again now and then that were refused: `adapt` takes them for submitted ever after."""
    from distributed.core import Status
    from tornado.ioloop import PeriodicCallback

    async def again() -> None:
        """Submit refused jobs again, until the cluster closes."""
        if cluster.status != Status.running:
            callback.stop()
            return
        with suppress(RuntimeError):
            await cluster

    callback = PeriodicCallback(again, AGAIN * 1000)
    callback.start()


def show_jobs(cluster: JobQueueCluster, settings: QueueSettings) -> str:
    """Return the queue system's list of this run's jobs, for messages."""
    numbers = [str(job.job_id) for job in list(cluster.workers.values()) if job.job_id]
    return look(settings.system, numbers) if numbers else "no job is in the queue"


def job_script(settings: QueueSettings, estimate: MemoryEstimate) -> str:
    """Return the shell script submitted for a job, with placeholders for the
    scheduler's address and certificates.
    """
    job = _exact(settings, estimate, _cluster_class(settings.system).job_cls)
    placeholder = job(
        f"{_scheme(settings)}SCHEDULER:PORT",
        name=f"{settings.name}-0",
        security=_security("CA", "CERTIFICATE", "KEY") if settings.tls else None,
        **_job(settings, estimate),
    )
    return str(placeholder.job_script())


def look(system: System, jobs: Sequence[str]) -> str:
    """Return the command that lists jobs of a queue system, and its present output."""
    command = QUEUE_SYSTEMS[system].look(jobs)
    shown = ""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LOOK_SECONDS,
            check=False,
        )
        shown = "; ".join((done.stdout + done.stderr).strip().splitlines()[:_LOOK_LINES])
    return f"`{shlex.join(command)}` says: {shown or 'nothing'}"


def _cluster_class(system: System) -> Any:
    before = signal.getsignal(signal.SIGINT)  # dask-jobqueue takes Ctrl-C for itself when it is imported
    try:
        import cryptography  # noqa: F401 - Dask makes certificates with it
        import dask_jobqueue
    except ImportError as error:
        raise MissingLibraryError(
            f"--cluster {system} needs {error.name}, which is not installed; install it: {install('hpc')}"
        ) from error
    finally:
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)
    return getattr(dask_jobqueue, QUEUE_SYSTEMS[system].cluster)


def _exact(settings: QueueSettings, estimate: MemoryEstimate, job: Any) -> Any:
    """Return a kind of job whose workers have one thread each, and their limit to the byte."""

    async def close(self: Any) -> None:
        """End the job, and mark it as closed."""
        from distributed.core import Status

        await job.close(self)
        self.status = Status.closed  # a cluster that closes insists on it

    limit = settings.plan_workers(estimate).limit
    own = {"worker_process_threads": 1, "worker_process_memory": f"{limit}B", "close": close}
    return type(job.__name__, (job,), own)


def _job(settings: QueueSettings, estimate: MemoryEstimate) -> dict[str, Any]:
    """Return a job's arguments for dask-jobqueue."""
    life, spread = settings.lives
    memory = {f"DASK_{name.upper().replace('.', '__')}": str(value) for name, value in WORKER_MEMORY.items()}
    variables = environment() | ONE_THREAD | memory | costs.limit_for_workers()
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return {
        "cores": settings.cores,
        "processes": settings.plan_workers(estimate).workers,
        "memory": f"{settings.job_memory(estimate)}B",
        "job_name": settings.name,
        "walltime": hms(settings.walltime),
        "job_extra_directives": list(settings.directives),
        "queue": settings.queue,
        "interface": settings.interface,
        "protocol": _scheme(settings),
        "log_directory": str(settings.folder / "logs"),
        "local_directory": settings.local_directory,
        "python": shlex.quote(settings.python or sys.executable),
        "shebang": "#!/usr/bin/env bash",
        "job_script_prologue": [*exports, *settings.prologue],
        "job_directives_skip": [],
        "death_timeout": DEATH_TIMEOUT,
        # Workers have pages of their own, which would listen everywhere.
        "worker_extra_args": [
            *("--lifetime", f"{life}s", "--lifetime-stagger", f"{spread}s"),
            *("--no-dashboard", "--dashboard-address", f"{LOOPBACK}:0"),
        ],
    } | QUEUE_SYSTEMS[settings.system].arguments(settings, settings.job_memory(estimate))


def _scheme(settings: QueueSettings) -> str:
    return "tls://" if settings.tls else "tcp://"


@contextmanager
def _certificates(settings: QueueSettings) -> Iterator[Security | None]:
    """Make certificates for a run, and remove them afterwards; only their owner can read them."""
    from distributed import Security

    if not settings.tls:
        yield None
        return
    texts = Security.temporary().get_tls_config_for_role("worker")
    with TemporaryDirectory(prefix=".tls-", dir=settings.folder) as folder:
        files = [Path(folder) / f"{name}.pem" for name in _PEM]
        for path, name in zip(files, _PEM, strict=True):
            path.touch(mode=0o600)
            path.write_text(texts[name])
        yield _security(*map(str, files))


def _security(ca: str, cert: str, key: str) -> Security:
    from distributed import Security

    both = {f"tls_{role}_{name}": path for role in _ROLES for name, path in (("cert", cert), ("key", key))}
    return Security(require_encryption=True, tls_ca_file=ca, **both)

"""Options about where tasks run, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mrcz_dask.cli.console import print_json, say
from mrcz_dask.values.errors import ParameterError

if TYPE_CHECKING:
    from mrcz_dask.correction.plan import Plan
    from mrcz_dask.counting.plan import CountPlan
    from mrcz_dask.engine.clusters import ClientOptions, Tls
    from mrcz_dask.engine.queues import QueueSettings

WHERE = "Running"
Running = Callable[[], "ClientOptions"]


def _option(name: str, text: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=WHERE, show_default=False)


Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Worker processes of the local cluster; 0 runs without one. Default: one for each core, or "
        "as many as there is memory for.",
        rich_help_panel=WHERE,
    ),
]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each local worker.", rich_help_panel=WHERE)]
Memory = Annotated[
    str | None,
    _option(
        "--memory",
        "Memory of each local worker at most, such as 4GB: so many stacks at a time in each as fit. "
        "Default: the machine's, shared out.",
    ),
]
Cluster = Annotated[
    Literal["slurm", "sge", "pbs", "lsf"] | None,
    _option("--cluster", "Run in jobs of a queue system: slurm, sge, pbs or lsf (needs the extra hpc)."),
]
ProfileFile = Annotated[
    Path | None,
    _option("--profile-file", "TOML file about the cluster, see `cluster init`; options win over it."),
]
Jobs = Annotated[str | None, _option("--jobs", "N, or MIN:MAX: as many as there are stacks for. Default: 1.")]
Cores = Annotated[
    int | None, _option("--cores", "Cores of each job; one worker for each, if memory allows. Default: 1.")
]
JobMemory = Annotated[
    str | None, _option("--job-memory", "Memory of each job, such as 16GB. Default: what the stacks need.")
]
Walltime = Annotated[
    str | None, _option("--walltime", "Wall time of each job: 90m, 8h, 1d 12h, 08:00:00. Default: 4h.")
]
Queue = Annotated[str | None, _option("--queue", "Queue or partition of the jobs.")]
Account = Annotated[str | None, _option("--account", "Account or project of the jobs.")]
Interface = Annotated[
    str | None, _option("--interface", "Network interface of scheduler and workers, such as ib0.")
]
DashboardAddress = Annotated[
    str | None,
    _option("--dashboard-address", "HOST:PORT of the dashboard. Default: 127.0.0.1, any free port."),
]
Scheduler = Annotated[
    str | None,
    _option("--scheduler", "Address of a Dask scheduler that runs already: tcp://... or tls://..."),
]
TlsCa = Annotated[
    Path | None, _option("--tls-ca", "Certificate of the authority, PEM, for a tls:// scheduler.")
]
TlsCert = Annotated[Path | None, _option("--tls-cert", "Certificate of this side, PEM.")]
TlsKey = Annotated[
    Path | None, _option("--tls-key", "Key of this side, PEM. Default: in the file of --tls-cert.")
]


def running(
    workers: Workers = None,
    threads: Threads = 1,
    memory: Memory = None,
    cluster: Cluster = None,
    profile_file: ProfileFile = None,
    jobs: Jobs = None,
    cores: Cores = None,
    job_memory: JobMemory = None,
    walltime: Walltime = None,
    queue: Queue = None,
    account: Account = None,
    interface: Interface = None,
    dashboard_address: DashboardAddress = None,
    scheduler: Scheduler = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> "ClientOptions":  # noqa: UP037 - `grouped` evaluates the annotations
    """Return where tasks run, from the options.

    Raises
    ------
    ParameterError
        When a value is out of its range, or options do not go together.
    """
    from mrcz_dask.engine.clusters import ClientOptions
    from mrcz_dask.engine.memory import parse_memory

    queued = queue_settings(
        cluster,
        profile_file,
        jobs=jobs,
        cores=cores,
        memory=job_memory,
        walltime=walltime,
        queue=queue,
        account=account,
        interface=interface,
    )
    tls = tls_files(tls_ca, tls_cert, tls_key)
    limit = None if memory is None else parse_memory(memory)
    return ClientOptions(workers, threads, limit, scheduler, queued, tls, dashboard_address)


def queue_settings(cluster: str | None, file: Path | None, **options: object) -> QueueSettings | None:
    """Return the queue settings of a file and options, which win; None where neither names a queue system.

    Parameters
    ----------
    cluster
        The system.
    file
        A file of queue settings.
    options
        Fields of the queue settings; None where they were not given.

    Raises
    ------
    ParameterError
        When a value is out of its range, or options of jobs come without a queue system.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if cluster is None and file is None:
        if given:
            names = " and ".join(_NAMES.get(name, f"--{name}") for name in given)
            raise ParameterError(f"{names} is of jobs; give --cluster or --profile-file, too")
        return None
    from mrcz_dask.engine.queues import QueueSettings, read_queue_settings

    said = read_queue_settings(file) if file is not None else {}
    return QueueSettings.of(said | given | ({"system": cluster} if cluster is not None else {}))


def tls_files(ca: Path | None, cert: Path | None, key: Path | None) -> Tls | None:
    """Return the certificates of the options; None where none is given.

    Raises
    ------
    ParameterError
        When one is missing.
    """
    if ca is None and cert is None and key is None:
        return None
    if ca is None or cert is None:
        raise ParameterError("--tls-ca and --tls-cert belong together; give both, and --tls-key")
    from mrcz_dask.engine.clusters import Tls

    return Tls(ca, cert, key)


def show_plan(plan: Plan | CountPlan, where: ClientOptions, *, as_json: bool) -> None:
    """Print what a run would do, and on which workers.

    Raises
    ------
    SessionError
        When there is too little memory.
    """
    from mrcz_dask.engine.clusters import plan_local_workers

    crew = plan_local_workers(where, plan.memory_estimate())
    if as_json:
        queue = where.queue and where.queue.to_dict()
        print_json(plan.to_dict() | {"crew": crew and crew.to_dict(), "queue": queue})
        return
    for shown in (plan, where.queue, crew):
        if shown:
            say(str(shown))


_NAMES = {"memory": "--job-memory"}

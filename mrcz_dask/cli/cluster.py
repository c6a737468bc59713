"""`mrcz-dask cluster`: settings of a queue system, the job that comes of it, and whether it works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcz_dask.cli import where as on
from mrcz_dask.cli.console import print_json, say
from mrcz_dask.cli.exits import DONE, PARTLY
from mrcz_dask.cli.options import AsJson
from mrcz_dask.cli.progress import Bars
from mrcz_dask.values.errors import OutputExistsError, ParameterError

if TYPE_CHECKING:
    from mrcz_dask.engine.check_cluster import Report

HELP = "Use a queue system: write its settings, see the job script, check whether it works."
PROFILE = Path("cluster.toml")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help=HELP)
    for command in (init, script, check):
        group.command(command.__name__)(command)
    app.add_typer(group, name="cluster")


def init(
    file: Annotated[Path, typer.Argument(help="The file that is written.")] = PROFILE,
) -> None:
    """Write queue settings with comments, to be edited; a file that is there is left alone."""
    from mrcz_dask.engine.queue_template import TEMPLATE

    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(TEMPLATE)
    except FileExistsError:
        raise OutputExistsError(f"{file} is there and is left as it is; choose another name") from None
    say(f"{file}: edit it, then `mrcz-dask cluster check --profile-file {file}`")


def script(
    cluster: on.Cluster = None,
    profile_file: on.ProfileFile = None,
    jobs: on.Jobs = None,
    cores: on.Cores = None,
    job_memory: on.JobMemory = None,
    walltime: on.Walltime = None,
    queue: on.Queue = None,
    account: on.Account = None,
    interface: on.Interface = None,
) -> None:
    """Print the job that would be submitted; without memory in the queue settings, as for K2 movies."""
    settings = on.queue_settings(
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
    if settings is None:
        raise ParameterError("no queue system; give --profile-file or --cluster")
    from mrcz_dask.engine.check_cluster import K2
    from mrcz_dask.engine.jobs import job_script

    say(job_script(settings, K2).rstrip())


def check(
    folder: Annotated[Path, typer.Argument(help="Of a session or its outputs.")] = Path(),
    cluster: on.Cluster = None,
    profile_file: on.ProfileFile = None,
    cores: on.Cores = None,
    job_memory: on.JobMemory = None,
    walltime: on.Walltime = None,
    queue: on.Queue = None,
    account: on.Account = None,
    interface: on.Interface = None,
    dashboard_address: on.DashboardAddress = None,
    scheduler: on.Scheduler = None,
    tls_ca: on.TlsCa = None,
    tls_cert: on.TlsCert = None,
    tls_key: on.TlsKey = None,
    as_json: AsJson = False,
) -> None:
    """Submit one small job, or ask a scheduler, and say what works and what does not.

    Exit code: 0 all fine, 3 something is not, 2 wrong usage.
    """
    settings = on.queue_settings(
        cluster,
        profile_file,
        cores=cores,
        memory=job_memory,
        walltime=walltime,
        queue=queue,
        account=account,
        interface=interface,
    )
    from mrcz_dask.engine.check_cluster import check_cluster
    from mrcz_dask.engine.clusters import ClientOptions

    tls = on.tls_files(tls_ca, tls_cert, tls_key)
    where = ClientOptions(scheduler=scheduler, queue=settings, tls=tls, dashboard=dashboard_address)
    with Bars() as bars:
        report = check_cluster(where, folder, bars)
    print_json(report.to_dict()) if as_json else _show(report)
    raise typer.Exit(DONE if report.ok else PARTLY)


def _show(report: Report) -> None:
    for one in report.findings:
        say(f"{'ok' if one.ok else 'NOT OK':<7} {one.name:<11} {one.found}")
        if one.remedy:
            say(f"{'':<19} -> {one.remedy}")

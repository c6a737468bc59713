"""`mrcz-dask cluster`: writes queue settings, prints the job script made from them, and tests a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrcz_dask.cli.console import print_json, say, say_lines
from mrcz_dask.cli.exits import DONE, PARTLY
from mrcz_dask.cli.options.declare import command
from mrcz_dask.cli.options.running import JobGroup, SchedulerGroup
from mrcz_dask.cli.options.shared import AsJson
from mrcz_dask.cli.progress import Bars
from mrcz_dask.values.errors import OutputExistsError, ParameterError

if TYPE_CHECKING:
    from mrcz_dask.engine.check_cluster import Report


def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("cluster.toml"),
) -> None:
    """Write a file of queue settings with comments, to be edited; an existing file is left alone."""
    from mrcz_dask.engine.queue_template import TEMPLATE

    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(TEMPLATE)
    except FileExistsError:
        raise OutputExistsError(f"{file} is there and is left as it is; choose another name") from None
    say(f"{file}: edit it, then `mrcz-dask cluster check --queue-file {file}`")


@command()
def script(*, queue: JobGroup) -> None:
    """Print the script of the queue job that would be submitted, with memory for K2 movies if none is set."""
    settings = queue.queue_settings()
    if settings is None:
        raise ParameterError("no queue system; give --queue-file or --cluster")
    from mrcz_dask.engine.check_cluster import K2
    from mrcz_dask.engine.jobs import job_script

    say_lines(job_script(settings, K2).rstrip())


@command(leave_out=("jobs",))
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of a session or of its outputs.")] = Path(),
    *,
    queue: JobGroup,
    scheduler: SchedulerGroup,
    as_json: AsJson = False,
) -> None:
    """Submit one small job, or ask a scheduler, and print whether each part of the cluster works.

    Exit code: 0 all fine, 3 something is not, 2 wrong usage.
    """
    from mrcz_dask.engine.check_cluster import check_cluster

    where = replace(scheduler.where(), queue=queue.queue_settings())
    with Bars() as bars:
        report = check_cluster(where, folder, bars)
    print_json(report.to_dict()) if as_json else _show(report)
    raise typer.Exit(DONE if report.ok else PARTLY)


def _show(report: Report) -> None:
    for finding in report.findings:
        say(f"{'ok' if finding.ok else 'NOT OK':<7} {finding.name:<11} {finding.found}")
        if finding.remedy:
            say(f"{'':<19} -> {finding.remedy}")

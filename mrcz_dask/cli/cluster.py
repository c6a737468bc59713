"""`mrcz-dask cluster`: writes queue settings, prints the job script made from them, and tests a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from mrcz_dask.cli.console import DONE, PARTLY, print_json, say, say_lines
from mrcz_dask.cli.options.declare import command
from mrcz_dask.cli.options.running import JobGroup, SchedulerGroup
from mrcz_dask.cli.options.shared import AsJson
from mrcz_dask.cli.progress import Bars
from mrcz_dask.values.choices import System
from mrcz_dask.values.errors import OutputExistsError, ParameterError

if TYPE_CHECKING:
    from mrcz_dask.engine.check_cluster import Report

TEMPLATE = f"""\
# How mrcz-dask uses your cluster. Edit, then:
#
#   mrcz-dask cluster script --queue-file FILE     the job that would be submitted
#   mrcz-dask cluster check --queue-file FILE      submits one small job, says what works and what does not
#   mrcz-dask koma SESSION --queue-file FILE       the run; options on the command line win over this file
#
# Lines with # before a name show its default.

system = "slurm"                # {", ".join(get_args(System))}

# Jobs: so many, or "MIN:MAX", as many as there are stacks for.
jobs = "1:4"
# Of each job. One worker for each core; without memory a job asks for what the stacks of the session need
# (K2 movies: 1.5 GB for each core).
cores = 4
# memory = "8GB"
walltime = "4h"                 # 90m, 8h, 1d 12h, 08:00:00

# queue = "night"               # partition of SLURM; the system's default without
# account = "lab"               # project of SGE and LSF
# interface = "ib0"             # network between the nodes; that of the default route without
# name = "mrcz-dask"            # of the jobs

# Workers end by themselves before the wall-time, not all at once: others go on with their stacks, and a new
# job takes their place. By default a tenth of the wall-time before its end (30 s to 15 min).
# lifetime = "3h 40m"
# stagger = "5m"

# A run ends when it has had no worker for so long.
# wait = "1h"

# A folder that all nodes see, for the logs of jobs and the certificates of a run.
# directory = "~/.mrcz-dask"
# A folder of the node for what workers put aside, such as "/scratch/${{USER}}".
# local_directory = ""
# Interpreter of the workers; the one that runs the command without.
# python = ""

# Lines of shell before the workers start, and more for the head of the script (without #SBATCH).
# prologue = ["module load python/3.12"]
# directives = ["--exclusive", "--constraint=avx2"]
# SGE and PBS: what -l asks for, instead of cores and memory. SGE: where several cores of a node are given.
# resources = "h_vmem=2G"
# parallel_environment = "smp"

# Connections are encrypted, with certificates made for each run. Without, whoever reaches a port of the
# scheduler or a worker can run programs as you.
# tls = true
# The dashboard listens on loopback, at any free port: `cluster check` prints the tunnel to it.
# dashboard = "127.0.0.1:0"
"""


def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("cluster.toml"),
) -> None:
    """Write a file of queue settings with comments, to be edited; an existing file is left alone."""
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

    client_options = replace(scheduler.client_options(), queue=queue.queue_settings())
    with Bars() as bars:
        report = check_cluster(client_options, folder, bars)
    print_json(report.to_dict()) if as_json else _show(report)
    raise typer.Exit(DONE if report.ok else PARTLY)


def _show(report: Report) -> None:
    for finding in report.findings:
        say(f"{'ok' if finding.ok else 'NOT OK':<7} {finding.name:<11} {finding.found}")
        if finding.remedy:
            say(f"{'':<19} -> {finding.remedy}")

"""Each queue system: its class in dask-jobqueue, the command that shows jobs, what a job asks it for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mrcz_dask.engine.queues import MEBI, QueueSettings, clock
from mrcz_dask.values.choices import System


@dataclass(frozen=True, slots=True)
class QueueSystem:
    """Facts about a queue system.

    Attributes
    ----------
    cluster
        Name of its class in dask-jobqueue.
    look
        Returns the command that shows jobs, given their numbers.
    arguments
        Returns the arguments that this class names in its own way, for settings and a job's memory in bytes.
    """

    cluster: str
    look: Callable[[Sequence[str]], list[str]]
    arguments: Callable[[QueueSettings, int], dict[str, Any]]


def _slurm(settings: QueueSettings, memory: int) -> dict[str, Any]:
    return {"account": settings.account, "job_mem": f"{memory // MEBI}M"} | _common(settings)


def _sge(settings: QueueSettings, memory: int) -> dict[str, Any]:
    resources = settings.resources or f"mem_free={memory // MEBI}M"
    several = [f"-pe {settings.parallel_environment} {settings.cores}"] if settings.cores > 1 else []
    return {"project": settings.account, "resource_spec": resources} | _common(settings, several)


def _pbs(settings: QueueSettings, memory: int) -> dict[str, Any]:
    resources = settings.resources or f"select=1:ncpus={settings.cores}:mem={memory // MEBI}mb"
    return {"account": settings.account, "resource_spec": resources} | _common(settings)


def _lsf(settings: QueueSettings, memory: int) -> dict[str, Any]:
    whole_minutes = clock(math.ceil(settings.walltime / 60) * 60)[:-3]  # hours and minutes
    return {"project": settings.account, "mem": memory} | _common(settings) | {"walltime": whole_minutes}


def _common(settings: QueueSettings, directives: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "walltime": clock(settings.walltime),
        "job_extra_directives": [*directives, *settings.directives],
    }


QUEUE_SYSTEMS: Mapping[System, QueueSystem] = {
    "slurm": QueueSystem(
        "SLURMCluster",
        lambda jobs: ["squeue", "--noheader", "--format", "%i %T %M %r", "--jobs", ",".join(jobs)],
        _slurm,
    ),
    "sge": QueueSystem("SGECluster", lambda jobs: ["qstat", "-j", ",".join(jobs)], _sge),
    "pbs": QueueSystem("PBSCluster", lambda jobs: ["qstat", *jobs], _pbs),
    "lsf": QueueSystem("LSFCluster", lambda jobs: ["bjobs", *jobs], _lsf),
}

"""Settings of a queue system such as SLURM, from a TOML file, from options, or both."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, get_args

from mrcz_dask.engine.memory import MemoryEstimate, WorkerPlan, parse_memory, plan_workers
from mrcz_dask.formats.metadata import LARGEST, parse_toml
from mrcz_dask.formats.source import read_file
from mrcz_dask.values.checks import one_of, parse_seconds, raise_all, whole
from mrcz_dask.values.choices import System
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.texts import readable

SYSTEMS: tuple[System, ...] = get_args(System)
LOOPBACK = "127.0.0.1"
# Of a job, beside its workers: the process that starts and watches them.
JOB_BYTES = 150_000_000
# Seconds: the shortest job that makes sense, and how soon before the wall-time its workers end.
SHORTEST, LEAST_MARGIN, MOST_MARGIN = 60, 30, 900
MEBI = 1 << 20

# What goes into a script as it is: nothing that a shell or a queue system would take for more than a word.
_WORD = r"[\w.@%+:,=/-]+"
PATH = r"[\w.@%+:,=/~-]+"
_NODE_PATH = r"[\w.@%+:,=/~${}-]+"
ADDRESS = r"(\[[0-9a-fA-F:]+\]|[\w.-]*):\d{1,5}"
_PATTERNS = {
    "queue": _WORD,
    "account": _WORD,
    "interface": _WORD,
    "name": r"[A-Za-z][\w.-]*",
    "resources": r"[\w.@%+:,=/*<>&|!\[\] -]+",
    "parallel_environment": _WORD,
    "directory": PATH,
    "local_directory": _NODE_PATH,
    "python": r"[^\n\r\0]+",
    "dashboard": ADDRESS,
}


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Settings of queue jobs in which workers run: system, number, cores, memory, wall time.

    Attributes
    ----------
    system
        Name of the queue system, one of `System`.
    jobs
        Fewest and most at a time; as many as there is work for in between.
    cores
        Cores of a job: as many workers of one thread, or fewer if memory is short.
    memory
        Memory of a job, bytes; None = as much as the session's stacks need on all cores.
    walltime
        Wall time of a job, seconds.
    queue, account
        Queue (partition) and account (project); None = the system's default.
    interface
        Network interface for scheduler and workers, such as ib0; None = that of the default route.
    name
        Name of the jobs.
    lifetime, stagger
        Seconds after which a worker ends by itself, give or take; None = so that it does before its job.
    wait
        Seconds without any worker after which a run ends.
    directory
        Folder that all nodes see, for the jobs' logs and the certificates of a run.
    local_directory
        Folder of a node for what workers keep beside their memory; None = its temporary folder.
    python
        Interpreter of the workers; None = this one.
    prologue
        Lines of shell before the workers start.
    directives
        Further lines for the head of the script, without the ``#SBATCH``.
    resources
        Request with ``-l`` for ``sge`` and ``pbs``, instead of cores and memory.
    parallel_environment
        Environment of ``sge`` that gives several cores of one node.
    tls
        Whether the connections are encrypted, with certificates made for the run.
    dashboard
        Address of the dashboard; port 0 = any that is free.

    Raises
    ------
    ParameterError
        With every value that is out of its range.
    """

    system: System
    jobs: tuple[int, int] = (1, 1)
    cores: int = 1
    memory: int | None = None
    walltime: int = 4 * 3600
    queue: str | None = None
    account: str | None = None
    interface: str | None = None
    name: str = "mrcz-dask"
    lifetime: int | None = None
    stagger: int | None = None
    wait: int = 3600
    directory: str = "~/.mrcz-dask"
    local_directory: str | None = None
    python: str | None = None
    prologue: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    resources: str | None = None
    parallel_environment: str = "smp"
    tls: bool = True
    dashboard: str = f"{LOOPBACK}:0"

    def __post_init__(self) -> None:
        raise_all("jobs of a queue system", self._problems())

    def _problems(self) -> Iterator[str]:
        yield from one_of("system", self.system, SYSTEMS)
        low, high = self.jobs
        if not 0 <= low <= high <= 10_000 or high < 1:
            yield f"jobs is {low}:{high}; expected MIN:MAX with 0 <= MIN <= MAX, MAX in 1 to 10000"
        yield from whole("cores", self.cores, 1, 4096)
        yield from whole("walltime", self.walltime, SHORTEST, 366 * 86400, unit=" s")
        yield from whole("wait", self.wait, 1, 366 * 86400, unit=" s")
        if self.memory is not None:
            yield from whole("memory", self.memory, 1, 1 << 50, unit=" bytes")
        yield from one_of("tls", self.tls, (True, False))
        for name, pattern in _PATTERNS.items():
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and re.fullmatch(pattern, value)):
                yield f"{name} is {value!r}; expected characters of {pattern} only"
        for name in ("prologue", "directives"):
            for line in getattr(self, name):
                if not isinstance(line, str) or re.search(r"[\n\r\0]", line):
                    yield f"{name} holds {line!r}; expected one line of text for each entry"
        for name, least in (("lifetime", 1), ("stagger", 0)):
            if getattr(self, name) is not None:
                yield from whole(name, getattr(self, name), least, 366 * 86400, unit=" s")
        if isinstance(self.walltime, int) and self.walltime >= SHORTEST:
            life, spread = self.lives
            if not spread < life <= self.walltime - spread:
                yield (
                    f"lifetime is {life} s, give or take {spread} s; expected an end before the wall-time of "
                    f"{self.walltime} s; leave lifetime and stagger out, or make them smaller"
                )

    @property
    def lives(self) -> tuple[int, int]:
        """Seconds after which a worker ends by itself, before its job does; and their random spread."""
        margin = min(max(self.walltime // 10, LEAST_MARGIN), MOST_MARGIN)
        life = self.walltime - margin if self.lifetime is None else self.lifetime
        spread = min(margin // 3, life // 4) if self.stagger is None else self.stagger
        return life, spread

    @property
    def folder(self) -> Path:
        """Absolute path of the folder for logs and certificates of jobs."""
        return Path(self.directory).expanduser().absolute()

    def plan_workers(self, estimate: MemoryEstimate) -> WorkerPlan:
        """Return how many workers run in one job, and with how much memory.

        Raises
        ------
        SessionError
            When not one stack fits into a job; with the memory that would do.
        """
        memory = self.job_memory(estimate)
        if memory < estimate.of(1) + JOB_BYTES:
            raise SessionError(
                f"a stack needs {readable(estimate.of(1))} of memory in a worker, and {readable(JOB_BYTES)} "
                f"are for the job itself; a job has {readable(memory)}: ask for more with --job-memory "
                f"{math.ceil((estimate.of(1) + JOB_BYTES) / 1e8) / 10:g}GB, or leave it out"
            )
        return plan_workers(estimate, memory - JOB_BYTES, self.cores, None, 1, None)

    def job_memory(self, estimate: MemoryEstimate) -> int:
        """Return the memory to request for a job: bytes, a whole number of MiB."""
        memory = self.cores * estimate.of(1) + JOB_BYTES if self.memory is None else self.memory
        return math.ceil(memory / MEBI) * MEBI

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Make queue settings from the text of a file or of options, such as ``4GB``, ``8h``, ``MIN:MAX``.

        Raises
        ------
        ParameterError
            For a key that is not known, or a value that is none.
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ParameterError(f"{', '.join(unknown)}: unknown; expected some of {', '.join(known)}")
        if "system" not in values:
            raise ParameterError(f"system is missing; expected one of {', '.join(SYSTEMS)} (--cluster)")
        return cls(
            **{name: _READ[name](name, value) if name in _READ else value for name, value in values.items()}
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, from which `of` makes them again."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        lists = {name: list(getattr(self, name)) for name in ("prologue", "directives")}
        return known | lists | {"jobs": "{}:{}".format(*self.jobs)}

    def __str__(self) -> str:
        low, high = self.jobs
        many = f"{high}" if low == high else f"{low} to {high}"
        return f"jobs: {many} of {self.system}, of {self.cores} cores for {hms(self.walltime)} each"


def read_queue_settings(path: Path) -> dict[str, Any]:
    """Read queue settings from a TOML file as a dictionary for `QueueSettings.of`; empty texts are left out.

    Raises
    ------
    ParameterError
        When the file cannot be read, or is no TOML.
    """
    try:
        data = read_file(path, LARGEST)
    except OSError as error:
        raise ParameterError(
            f"--queue-file {path}: {error.strerror}; `mrcz-dask cluster init {path}` writes one"
        ) from error
    values = parse_toml(data, f"--queue-file {path}", "correct the file", ParameterError)
    return {name: value for name, value in values.items() if value != ""}


def parse_duration(name: str, value: object) -> int:
    """Convert a duration to seconds: a number, ``90m``, ``1d 12h``, ``08:00:00`` or ``1-12:00:00``.

    Raises
    ------
    ParameterError
        If it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if clocked := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text):
        days, hours, minutes, seconds = (int(part or 0) for part in clocked.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    try:
        return round(sum(parse_seconds(part, name) for part in text.split() or [text]))
    except ParameterError:
        raise ParameterError(
            f"{name} is {value!r}; expected a duration such as 90m, 8h, 1d 12h or 08:00:00"
        ) from None


def parse_jobs(name: str, value: object) -> tuple[int, int]:
    """Read the smallest and largest number of jobs from ``N`` or ``MIN:MAX``.

    Raises
    ------
    ParameterError
        If it is neither.
    """
    numbers = re.fullmatch(r"(\d+)(?::(\d+))?", str(value).strip())
    if numbers is None or isinstance(value, bool):
        raise ParameterError(f"{name} is {value!r}; expected a number such as 4, or MIN:MAX such as 1:8")
    return int(numbers[1]), int(numbers[2] or numbers[1])


def hms(seconds: int) -> str:
    """Return a number of seconds as HH:MM:SS, the form that queue systems take; hours may exceed 24."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _size(name: str, value: Any) -> Any:
    try:
        return value if isinstance(value, int) else parse_memory(str(value))
    except ParameterError:
        raise ParameterError(f"{name} is {value!r}; expected a size such as 16GB or 12GiB") from None


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ParameterError(f'{name} is {value!r}; expected a list of texts such as ["a", "b"]')
    return tuple(value)


_READ = {
    "jobs": parse_jobs,
    "memory": _size,
    **dict.fromkeys(("walltime", "lifetime", "stagger", "wait"), parse_duration),
    **dict.fromkeys(("prologue", "directives"), _texts),
}


@dataclass(frozen=True, slots=True)
class QueueSystem:
    """Record of one queue system, such as Slurm: how jobs are described to dask-jobqueue, and shown.

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
    return {"account": settings.account, "job_mem": f"{memory // MEBI}M"}


def _sge(settings: QueueSettings, memory: int) -> dict[str, Any]:
    resources = settings.resources or f"mem_free={memory // MEBI}M"
    several = [f"-pe {settings.parallel_environment} {settings.cores}"] if settings.cores > 1 else []
    directives = [*several, *settings.directives]
    return {"project": settings.account, "resource_spec": resources, "job_extra_directives": directives}


def _pbs(settings: QueueSettings, memory: int) -> dict[str, Any]:
    resources = settings.resources or f"select=1:ncpus={settings.cores}:mem={memory // MEBI}mb"
    return {"account": settings.account, "resource_spec": resources}


def _lsf(settings: QueueSettings, memory: int) -> dict[str, Any]:
    whole_minutes = hms(math.ceil(settings.walltime / 60) * 60)[:-3]  # hours and minutes
    return {"project": settings.account, "mem": memory, "walltime": whole_minutes}


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

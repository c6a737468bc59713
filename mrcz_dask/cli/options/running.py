"""Options that choose where tasks run: on this machine, in queue jobs, or on a Dask scheduler."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mrcz_dask.cli.options.declare import OptionGroup, option
from mrcz_dask.values.choices import System
from mrcz_dask.values.errors import ParameterError

if TYPE_CHECKING:
    from mrcz_dask.engine.clusters import ClientOptions, Tls
    from mrcz_dask.engine.queues import QueueSettings


class LocalGroup(OptionGroup, panel="Running"):
    """Options of Dask workers on this machine: number, threads, memory."""

    workers: int | None = option(
        None,
        "Worker processes of the local cluster; 0 runs without one.",
        min=0,
        metavar="N",
        often=True,
        unset="one for each core, or as many as there is memory for",
    )
    threads: int = option(1, "Threads of each local worker.", min=1, metavar="N")
    memory: str | None = option(
        None,
        "Largest memory of each local worker, such as 4GB: it holds as many stacks at a time as fit.",
        unset="the machine's, shared out",
    )

    def client_options(self) -> ClientOptions:
        """Return number, threads and memory of local workers as `ClientOptions`.

        Raises
        ------
        ParameterError
            When a value is out of its range.
        """
        from mrcz_dask.engine.clusters import ClientOptions
        from mrcz_dask.engine.memory import parse_memory

        return ClientOptions(
            self.workers, self.threads, None if self.memory is None else parse_memory(self.memory)
        )


class JobGroup(OptionGroup, panel="Running"):
    """Options for running workers in jobs of a queue system (SLURM, SGE, PBS, LSF)."""

    cluster: System | None = option(
        None, "Run in jobs of this queue system (needs the extra hpc).", often=True
    )
    queue_file: Path | None = option(
        None, "Queue settings, TOML; `cluster init` writes such a file. Options win over it."
    )
    jobs: str | None = option(
        None,
        "Number of jobs; MIN:MAX: as many as there are stacks for.",
        metavar="N|MIN:MAX",
        unset="1",
        numbers=True,
    )
    cores: int | None = option(
        None, "Cores of each job; one worker for each, if memory allows.", unset="1", metavar="N"
    )
    job_memory: str | None = option(
        None, "Memory of each job, such as 16GB.", unset="as much as the stacks need"
    )
    walltime: str | None = option(None, "Wall time of each job: 90m, 8h, 1d 12h, 08:00:00.", unset="4h")
    queue: str | None = option(None, "Queue or partition of the jobs.")
    account: str | None = option(None, "Account or project of the jobs.")
    interface: str | None = option(None, "Network interface of scheduler and workers, such as ib0.")

    def queue_settings(self) -> QueueSettings | None:
        """Return the queue settings of file and options, which win; None if no queue system is named.

        Raises
        ------
        ParameterError
            When a value is out of its range, or options of jobs come without a queue system.
        """
        names = ("jobs", "cores", "job_memory", "walltime", "queue", "account", "interface")
        options = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.cluster is None and self.queue_file is None:
            if options:
                flags = " and ".join(f"--{name.replace('_', '-')}" for name in options)
                raise ParameterError(f"{flags}: only for queue jobs; give --cluster or --queue-file, too")
            return None
        from mrcz_dask.engine.queues import QueueSettings, read_queue_settings

        settings = {} if self.queue_file is None else read_queue_settings(self.queue_file)
        settings |= {name.removeprefix("job_"): value for name, value in options.items()}
        return QueueSettings.of(settings | ({} if self.cluster is None else {"system": self.cluster}))


class SchedulerGroup(OptionGroup, panel="Running"):
    """Options for using a Dask scheduler that runs already: its address, and TLS certificates."""

    dashboard_address: str | None = option(
        None, "HOST:PORT of the dashboard.", unset="127.0.0.1, any free port"
    )
    scheduler: str | None = option(
        None, "Address of a Dask scheduler that runs already: tcp://... or tls://...", often=True
    )
    tls_ca: Path | None = option(None, "Certificate of the authority, PEM, for a tls:// scheduler.")
    tls_cert: Path | None = option(None, "Certificate of this side, PEM.")
    tls_key: Path | None = option(None, "Key of this side, PEM.", unset="in the file of --tls-cert")

    def tls(self) -> Tls | None:
        """Return the paths of the TLS certificates that the options name; None if they name none.

        Raises
        ------
        ParameterError
            When one is missing.
        """
        if self.tls_ca is None and self.tls_cert is None and self.tls_key is None:
            return None
        if self.tls_ca is None or self.tls_cert is None:
            raise ParameterError("--tls-ca and --tls-cert belong together; give both, and --tls-key")
        from mrcz_dask.engine.clusters import Tls

        return Tls(self.tls_ca, self.tls_cert, self.tls_key)

    def client_options(self) -> ClientOptions:
        """Return address, certificates and dashboard of the scheduler as `ClientOptions`.

        Raises
        ------
        ParameterError
            When options do not go together.
        """
        from mrcz_dask.engine.clusters import ClientOptions

        return ClientOptions(scheduler=self.scheduler, tls=self.tls(), dashboard=self.dashboard_address)


class RunningGroup(SchedulerGroup, JobGroup, LocalGroup):
    """Options that choose where tasks run: local workers, queue jobs, or a Dask scheduler."""

    def client_options(self) -> ClientOptions:
        """Return the choice of local workers, queue jobs or scheduler as `ClientOptions`.

        Raises
        ------
        ParameterError
            When a value is out of its range, or options do not go together.
        """
        return replace(
            LocalGroup.client_options(self),
            scheduler=self.scheduler,
            queue=self.queue_settings(),
            tls=self.tls(),
            dashboard=self.dashboard_address,
        )

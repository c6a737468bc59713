"""SLURM as one node on this machine, without systemd and cgroups; from Debian's packages if it is not there.

python tests/cluster/slurm.py        starts it, prints what to export, and ends it with Ctrl-C
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
NODE, PARTITION = "here", "night"
# What SLURM gives away, whatever this machine has.
CORES = 4
# Seconds.
INSTALL, START, END = 600, 60, 30
# apt starts no service: daemons of its own would take the ports, and need a configuration.
NO_SERVICES = Path("/usr/sbin/policy-rc.d")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={hostname}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=300
InactiveLimit=0
MailProg=/bin/true
NodeName={node} NodeHostname={hostname} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName={partition} Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running SLURM.

    Attributes
    ----------
    folder
        With its state and logs.
    environment
        That its commands need.
    cores
        Of its node.
    """

    folder: Path
    environment: dict[str, str]
    cores: int = CORES

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def jobs(self, *options: str) -> list[str]:
        return self.run("squeue", "--noheader", "--format", "%i", *options).split()

    def state(self, job: str) -> str:
        """Return the state of a job, also of one that is over."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job)
        return shown.partition("JobState=")[2].split()[0]


def missing() -> str:
    """Return why SLURM cannot run here; empty if it can, perhaps after an installation."""
    if all(shutil.which(name, path=_path()) for name in PROGRAMS):
        return "" if os.geteuid() == 0 else "SLURM's daemons have to be started as root"
    if shutil.which("apt-get") is None:
        return "neither SLURM nor apt-get is there"
    return "" if os.geteuid() == 0 else "SLURM is not there, and apt-get needs root"


def install() -> None:
    """Install Debian's packages, unless the programs are there."""
    if all(shutil.which(name, path=_path()) for name in PROGRAMS):
        return
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
    with _no_services():
        for more in (["update"], ["install", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(
                [*apt, *more],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INSTALL,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"apt-get {more}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


@contextmanager
def running() -> Iterator[Slurm]:
    """Install and start SLURM in a folder of its own, wait until its node is idle, and end it afterwards."""
    install()
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: sockets have short names
    slurm = Slurm(folder, {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()})
    _configure(folder)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for command in _daemons(folder):
            stack.enter_context(_daemon(command, slurm))
        _wait_until_idle(slurm)
        stack.callback(_end_jobs, slurm)
        yield slurm


@contextmanager
def _no_services() -> Iterator[None]:
    if NO_SERVICES.exists():
        yield
        return
    NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
    NO_SERVICES.chmod(0o755)
    try:
        yield
    finally:
        NO_SERVICES.unlink()


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def _configure(folder: Path) -> None:
    folder.chmod(0o755)  # munge wants to know who may write above its socket
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    controller, daemon = _free_ports()
    text = CONFIGURATION.format(
        folder=folder,
        node=NODE,
        partition=PARTITION,
        hostname=socket.gethostname().split(".")[0],
        user="root",
        controller=controller,
        daemon=daemon,
        cores=CORES,
        memory=_memory_mib(),
    )
    (folder / "slurm.conf").write_text(text)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def _memory_mib() -> int:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return int(pages * size * 0.95) >> 20


def _daemons(folder: Path) -> list[list[str]]:
    munge = {name: f"{folder}/munge.{name}" for name in ("socket", "key", "log", "pid", "seed")}
    munged = ["munged", "--foreground", "--force", "--socket", munge["socket"], "--key-file", munge["key"]]
    munged += ["--log-file", munge["log"], "--pid-file", munge["pid"], "--seed-file", munge["seed"]]
    return [munged, ["slurmctld", "-D", "-i"], ["slurmd", "-D", "-N", NODE]]


@contextmanager
def _daemon(command: list[str], slurm: Slurm) -> Iterator[None]:
    with (slurm.folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(
            command, env=slurm.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_idle(slurm: Slurm) -> None:
    end = time.monotonic() + START
    shown = ""
    while time.monotonic() < end:
        try:
            shown = slurm.run("sinfo", "--noheader", "--format", "%T").strip()
        except RuntimeError as error:
            shown = str(error)
        if shown == "idle":
            return
        time.sleep(0.5)
    raise RuntimeError(f"no idle node after {START} s: {shown}\n{_logs(slurm.folder)}")


def _logs(folder: Path) -> str:
    return "\n".join(
        f"{one.name}:\n{one.read_text(errors='replace')[-2000:]}" for one in folder.glob("*.out")
    )


def _end_jobs(slurm: Slurm) -> None:
    """Cancel what is left, and wait for it: daemons that end leave processes of jobs behind."""
    for job in slurm.jobs():
        slurm.run("scancel", "--signal=KILL", "--full", job)
        slurm.run("scancel", job)
    end = time.monotonic() + END
    while slurm.jobs() and time.monotonic() < end:
        time.sleep(0.2)


if __name__ == "__main__":
    with running() as one:
        print(f"export SLURM_CONF={one.environment['SLURM_CONF']}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass

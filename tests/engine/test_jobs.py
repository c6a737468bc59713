"""Job scripts of the four systems, as text; and what is said when a system is not there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.engine.jobs import ONE_THREAD, WORKER_MEMORY, job_script, look, open_cluster
from mrcz_dask.engine.memory import MemoryEstimate, environment
from mrcz_dask.engine.queues import SYSTEMS, QueueSettings
from mrcz_dask.values.errors import MissingLibraryError, SessionError

NEED = MemoryEstimate(300_000_000, 1_100_000_000)
HEADS = {
    "slurm": [
        "#SBATCH -J mrcz-dask",
        "#SBATCH -p night",
        "#SBATCH -A lab",
        "#SBATCH -n 1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=7630M",
        "#SBATCH -t 36:00:00",
    ],
    "sge": [
        "#$ -N mrcz-dask",
        "#$ -q night",
        "#$ -P lab",
        "#$ -l mem_free=7630M",
        "#$ -l h_rt=36:00:00",
        "#$ -pe smp 4",
    ],
    "pbs": [
        "#PBS -N mrcz-dask",
        "#PBS -q night",
        "#PBS -A lab",
        "#PBS -l select=1:ncpus=4:mem=7630mb",
        "#PBS -l walltime=36:00:00",
    ],
    "lsf": ["#BSUB -J mrcz-dask", "#BSUB -q night", '#BSUB -P "lab"', "#BSUB -n 4", "#BSUB -W 36:00"],
}
MARKS = {"slurm": "#SBATCH", "sge": "#$", "pbs": "#PBS", "lsf": "#BSUB"}


def settings(system: Any, folder: Path, **more: Any) -> QueueSettings:
    usual = {"cores": 4, "memory": 8_000_000_000, "walltime": 36 * 3600, "queue": "night", "account": "lab"}
    return QueueSettings(system, directory=str(folder), **(usual | more))


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_head_asks_for_what_the_settings_say(system: str, tmp_path: Path) -> None:
    lines = job_script(settings(system, tmp_path, directives=("--fast yes",)), NEED).splitlines()
    assert set(HEADS[system]) <= set(lines)
    assert f"{MARKS[system]} --fast yes" in lines
    assert sum(f"{tmp_path}/logs" in line for line in lines if line.startswith(MARKS[system])) == 2


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_script_is_shell_and_starts_workers(system: str, tmp_path: Path) -> None:
    script = job_script(settings(system, tmp_path, prologue=("module load x",)), NEED)
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    *_, prologue, command = script.splitlines()
    assert prologue == "module load x"
    words = command.split()
    options = dict(zip(words[4::2], words[5::2], strict=False))
    assert words[:4] == [sys.executable, "-m", "distributed.cli.dask_worker", "tls://SCHEDULER:PORT"]
    assert (options["--nthreads"], options["--nworkers"]) == ("1", "4")
    assert "--lifetime 128700s --lifetime-stagger 300s" in command
    assert command.count("--tls-") == 3 and "--protocol tls://" in command


def test_a_worker_has_its_share_to_the_byte(tmp_path: Path) -> None:
    one = settings("slurm", tmp_path)
    assert f"--memory-limit {one.plan_workers(NEED).limit}B" in job_script(one, NEED)


def test_workers_have_the_environment_of_local_ones(tmp_path: Path) -> None:
    script = job_script(settings("pbs", tmp_path), NEED)
    for name, value in (environment() | ONE_THREAD).items():
        assert f"export {name}={value}\n" in script
    exports = "\n".join(line for line in script.splitlines() if line.startswith("export "))
    code = f"import dask; print([dask.config.get(k) for k in {list(WORKER_MEMORY)!r}])"
    done = subprocess.run(
        ["bash", "-c", f'{exports}\n"$0" -c "$1"', sys.executable, code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(list(WORKER_MEMORY.values()))


def test_a_worker_listens_nowhere_with_pages(tmp_path: Path) -> None:
    script = job_script(settings("slurm", tmp_path), NEED)
    assert "--no-dashboard --dashboard-address 127.0.0.1:0" in script


def test_without_tls_there_are_no_certificates(tmp_path: Path) -> None:
    script = job_script(settings("slurm", tmp_path, tls=False, interface="ib0"), NEED)
    assert "tcp://SCHEDULER" in script and "tls://" not in script and "--tls" not in script
    assert "--interface ib0" in script


def test_resources_replace_memory_and_cores(tmp_path: Path) -> None:
    sge = job_script(settings("sge", tmp_path, resources="h_vmem=2G", parallel_environment="mpi"), NEED)
    assert "#$ -l h_vmem=2G\n" in sge and "mem_free" not in sge and "#$ -pe mpi 4\n" in sge
    pbs = job_script(settings("pbs", tmp_path, resources="nodes=1:ppn=4"), NEED)
    assert "#PBS -l nodes=1:ppn=4\n" in pbs and "select" not in pbs


def test_an_interpreter_in_an_odd_folder_is_quoted(tmp_path: Path) -> None:
    script = job_script(settings("slurm", tmp_path, python="/a b/$(touch x)/python"), NEED)
    assert "'/a b/$(touch x)/python' -m distributed" in script


@given(walltime=st.integers(60, 10**6))
def test_minutes_of_lsf_are_not_fewer_than_asked_for(walltime: int) -> None:
    script = job_script(QueueSettings("lsf", walltime=walltime), NEED)
    hours, minutes = map(int, re.search(r"#BSUB -W (\d+):(\d+)", script).groups())  # type: ignore[union-attr]
    assert 0 <= (hours * 60 + minutes) * 60 - walltime < 60


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(MissingLibraryError, match=r"pip install .*\[hpc\]"):
        job_script(settings("slurm", tmp_path), NEED)


def test_ctrl_c_is_left_as_it_is() -> None:
    code = (
        "import signal; signal.signal(signal.SIGINT, mine := lambda *_: None)\n"
        "from mrcz_dask.engine.jobs import _cluster_class\n"
        "_cluster_class('slurm'); assert signal.getsignal(signal.SIGINT) is mine"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_machine_without_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(SessionError, match=r"bsub: not found .* jobs of lsf"),
        open_cluster(settings("lsf", tmp_path), NEED),
    ):
        pass


def test_a_folder_that_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sbatch").touch(mode=0o755)
    (tmp_path / "file").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "a b"))
    for folder, said in (
        (tmp_path / "file", "`directory` in the queue"),
        (Path("~/x"), "needs no quotes"),
    ):
        with pytest.raises(SessionError, match=said), open_cluster(settings("slurm", folder), NEED):
            pass


def test_certificates_last_as_long_as_the_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sbatch").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with open_cluster(settings("slurm", tmp_path / "shared"), NEED) as cluster:
        files = list((tmp_path / "shared").rglob("*.pem"))
        assert len(files) == 3 and {path.stat().st_mode & 0o777 for path in files} == {0o600}
        assert {path.parent.stat().st_mode & 0o777 for path in files} == {0o700}
        assert all(f" {path}" in cluster.job_script() for path in files)
        assert cluster.scheduler_address.startswith("tls://")
    assert list((tmp_path / "shared").rglob("*.pem")) == []


@pytest.mark.parametrize(
    ("system", "name"), [("slurm", "squeue"), ("sge", "qstat"), ("pbs", "qstat"), ("lsf", "bjobs")]
)
def test_how_to_look_at_jobs(system: Any, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\necho 12 PENDING\necho 13 gone >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = look(system, ["12", "13"])
    numbers = "12,13" if system in ("slurm", "sge") else "12 13"
    assert shown.startswith(f"`{name} ") and f" {numbers}`" in shown
    assert shown.endswith("says: 12 PENDING; 13 gone")
    program.unlink()
    assert look(system, ["12"]).endswith("says: nothing")

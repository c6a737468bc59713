"""`mrcz-dask cluster`, and the options of `koma` about where it runs."""

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.engine.check_cluster import K2
from mrcz_dask.engine.client import DaskClient
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.engine.queues import JOB_BYTES
from mrcz_dask.values.messages import silent


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with open_client(ClientOptions(1, memory=4 * 10**9), MemoryEstimate(10**8, 10**6), silent) as executor:
        assert isinstance(executor, DaskClient)
        yield executor.client.scheduler.address


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mrcz: Any) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "cluster.toml"
    assert mrcz("cluster", "init", path).code == 0
    return path


def test_init_writes_and_does_not_overwrite(settings: Path, mrcz: Any) -> None:
    before = settings.read_text()
    again = mrcz("cluster", "init", settings)
    assert again.code == 2 and "left as it is" in again.err
    assert settings.read_text() == before


def test_script_prints_what_would_be_submitted(settings: Path, mrcz: Any) -> None:
    shown = mrcz("cluster", "script", "--queue-file", settings)
    assert shown.code == 0
    assert "#SBATCH --cpus-per-task=4\n" in shown.out
    asked = re.search(r"#SBATCH --mem=(\d+)M\n", shown.out)
    assert asked and int(asked[1]) == math.ceil((4 * K2.of(1) + JOB_BYTES) / 2**20)
    assert not any(line.endswith(" ") for line in shown.out.splitlines())


def test_options_win_over_the_file(settings: Path, mrcz: Any) -> None:
    options = ("--cores", 2, "--job-memory", "9GB", "--walltime", "90m", "--queue", "q", "--account", "a")
    shown = mrcz(
        "cluster", "script", "--queue-file", settings, *options, "--cluster", "pbs", "--interface", "ib0"
    )
    assert "#PBS -l select=1:ncpus=2:mem=8584mb\n" in shown.out
    assert "#PBS -l walltime=01:30:00\n" in shown.out and "#PBS -q q\n#PBS -A a\n" in shown.out
    assert "--interface ib0" in shown.out


def test_without_queue_settings(mrcz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "#BSUB -n 1\n" in mrcz("cluster", "script", "--cluster", "lsf").out
    for command in (("script",), ("check",)):
        shown = mrcz("cluster", *command)
        assert shown.code == 2 and "--queue-file" in shown.err


def test_options_of_jobs_need_a_queue_system(mrcz: Any, night: Path) -> None:
    shown = mrcz("koma", night, "--job-memory", "4GB", "--walltime", "1h")
    assert shown.code == 2
    assert "--job-memory and --walltime: only for queue jobs; give --cluster or --queue-file" in shown.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--cluster", "slurm", "--workers", 2),
            "--workers size a local cluster and --cluster names another",
        ),
        (("--cluster", "slurm", "--scheduler", "x:1"), "give one of them"),
        (("--cluster", "slurm", "--jobs", "8:1"), "jobs is 8:1"),
        (("--cluster", "slurm", "--queue", "$(touch x)"), "queue is '$(touch x)'"),
        (("--queue-file", "none.toml"), "cluster init none.toml"),
        (("--tls-ca", "ca.pem"), "--tls-ca and --tls-cert belong together"),
        (("--tls-ca", "ca.pem", "--tls-cert", "c.pem"), "--tls-ca is ca.pem; expected a PEM file"),
        (("--scheduler", "tls://127.0.0.1:9"), "no certificates; expected --tls-ca"),
        (("--scheduler", "127.0.0.1:9", "--dashboard-address", ":1"), "--scheduler has its own"),
        (("--dashboard-address", "8787"), "expected HOST:PORT"),
    ],
)
def test_what_does_not_go_together(options: tuple[object, ...], said: str, mrcz: Any, night: Path) -> None:
    shown = mrcz("koma", night, *options)
    assert shown.code == 2, shown.err
    assert said in " ".join(shown.err.split())


def test_a_dry_run_shows_the_jobs(mrcz: Any, night: Path, settings: Path) -> None:
    shown = mrcz("koma", night, "--queue-file", settings, "--jobs", "1:8", "--dry-run")
    assert shown.code == 0
    assert "jobs: 1 to 8 of slurm, of 4 cores for 04:00:00 each\nworkers: 4, each of at most" in shown.out
    as_json = json.loads(mrcz("koma", night, "--queue-file", settings, "--dry-run", "--json").out)
    assert as_json["queue"]["jobs"] == "1:4" and as_json["crew"]["workers"] == 4
    assert not (night / "koma").exists()


def test_a_missing_system_is_an_error_of_the_run(
    mrcz: Any, night: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    shown = mrcz("koma", night, "--queue-file", settings)
    assert shown.code == 1 and "sbatch: not found" in shown.err


def test_check_of_a_scheduler(mrcz: Any, night: Path, scheduler: str) -> None:
    shown = mrcz("cluster", "check", night, "--scheduler", scheduler)
    assert shown.code == 0, shown
    assert [line.split()[:2] for line in shown.out.splitlines()][:2] == [
        ["ok", "scheduler"],
        ["ok", "folder"],
    ]
    assert json.loads(mrcz("cluster", "check", night, "--scheduler", scheduler, "--json").out)["ok"] is True


def test_check_that_finds_something(
    mrcz: Any, night: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    shown = mrcz("cluster", "check", night, "--queue-file", settings)
    assert shown.code == 3
    assert shown.out.startswith("NOT OK  job") and "-> nothing else can be checked" in shown.out

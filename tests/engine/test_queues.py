"""Settings of queue systems: what is taken, what is refused, and what the numbers promise."""

import json
import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.cli.cluster import TEMPLATE
from mrcz_dask.engine.memory import MemoryEstimate
from mrcz_dask.engine.queues import (
    JOB_BYTES,
    MEBI,
    SHORTEST,
    SYSTEMS,
    QueueSettings,
    hms,
    parse_duration,
    parse_jobs,
    read_queue_settings,
)
from mrcz_dask.values.errors import ParameterError, SessionError

K2 = MemoryEstimate(320_000_000, 1_139_000_000)
# Lines of the template that show a field's default behind a #.
SHOWN = re.compile(r"^# (?=\w+ = )", re.MULTILINE)


@given(seconds=st.integers(0, 10**7))
def test_durations_come_back_from_their_clock(seconds: int) -> None:
    assert parse_duration("walltime", hms(seconds)) == seconds
    assert parse_duration("walltime", seconds) == seconds
    assert parse_duration("walltime", f"{seconds}s") == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("8h", 28800), ("1d 12h", 129600), ("1-12:00:00", 129600), ("1.5h", 5400), ("45", 45)],
)
def test_durations_as_people_write_them(text: str, seconds: int) -> None:
    assert parse_duration("walltime", text) == seconds


@pytest.mark.parametrize("text", ["", "8 hours", "1:2", "h", "-5m", "8h;rm -r /", True])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ParameterError, match=r"walltime is .*expected a duration"):
        parse_duration("walltime", text)


@given(low=st.integers(0, 999), more=st.integers(0, 999))
def test_jobs_are_a_number_or_two(low: int, more: int) -> None:
    assert parse_jobs("jobs", f"{low}:{low + more}") == (low, low + more)
    assert parse_jobs("jobs", low) == parse_jobs("jobs", f" {low} ") == (low, low)


@pytest.mark.parametrize("text", ["", "a", "1:", ":8", "1:2:3", "-1", "1.5", True])
def test_what_is_no_number_of_jobs_is_refused(text: object) -> None:
    with pytest.raises(ParameterError, match=r"jobs is .*MIN:MAX"):
        parse_jobs("jobs", text)


@given(walltime=st.integers(SHORTEST, 10**7))
def test_workers_live_and_end_before_their_job(walltime: int) -> None:
    life, spread = QueueSettings("slurm", walltime=walltime).lives
    assert 0 < life - spread <= life + spread < walltime
    assert walltime - life <= walltime / 2


@given(
    cores=st.integers(1, 64),
    memory=st.none() | st.integers(JOB_BYTES, 10**12),
    task=st.integers(1, 8_000_000_000),
)
def test_the_workers_of_a_job_fit_into_its_memory(cores: int, memory: int | None, task: int) -> None:
    settings, needed = QueueSettings("slurm", cores=cores, memory=memory), MemoryEstimate(320_000_000, task)
    asked = settings.job_memory(needed)
    assert asked % MEBI == 0 and asked >= (memory or 0)
    try:
        crew = settings.plan_workers(needed)
    except SessionError:
        assert memory is not None and asked < needed.of(1) + JOB_BYTES
        return
    assert crew.workers * crew.limit + JOB_BYTES <= asked
    assert 1 <= crew.workers <= cores and crew.tasks == crew.threads == 1
    assert crew.limit >= needed.of(1)
    assert memory is not None or crew.workers == cores


def test_too_little_memory_says_what_would_do() -> None:
    with pytest.raises(SessionError, match=r"--job-memory 1.7GB") as raised:
        QueueSettings("slurm", memory=10**9).plan_workers(K2)
    assert "1.46 GB" in str(raised.value)
    assert QueueSettings("slurm", memory=1_700_000_000).plan_workers(K2).workers == 1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("system", "condor", "'slurm', 'sge', 'pbs', 'lsf'"),
        ("jobs", "8:1", "8:1; expected MIN:MAX"),
        ("jobs", 0, "0:0; expected MIN:MAX"),
        ("cores", 0, "cores is 0"),
        ("cores", "four", "cores is 'four'"),
        ("memory", "much", "memory is 'much'; expected a size"),
        ("walltime", "10s", "walltime is 10 s"),
        ("lifetime", "9h", "expected an end before the wall-time"),
        ("queue", "a b", "queue is 'a b'"),
        ("account", "x\n#SBATCH --uid=0", "account is"),
        ("interface", "ib0;reboot", "interface is"),
        ("name", "$(touch x)", "name is"),
        ("name", "-p", "name is"),
        ("directory", "/a b", "directory is"),
        ("local_directory", "$(touch x)", "local_directory is"),
        ("dashboard", "8787", "dashboard is"),
        ("prologue", "module load x", "expected a list of texts"),
        ("prologue", ["a\nb"], "one line of text"),
        ("directives", [3], "one line of text"),
        ("tls", "no", "tls is 'no'"),
    ],
)
def test_what_is_out_of_range_is_named_with_what_was_expected(field: str, value: Any, said: str) -> None:
    with pytest.raises(ParameterError) as raised:
        QueueSettings.of({"system": "slurm", field: value})
    assert said in str(raised.value)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ParameterError, match=r"cores is 0.*queue is 'a b'"):
        QueueSettings("slurm", cores=0, queue="a b")


def test_unknown_and_missing_keys() -> None:
    with pytest.raises(ParameterError, match=r"core: unknown; expected some of .*cores"):
        QueueSettings.of({"system": "slurm", "core": 4})
    with pytest.raises(ParameterError, match=r"system is missing; .*--cluster"):
        QueueSettings.of({"cores": 4})


def test_local_folders_may_hold_variables_of_the_node() -> None:
    assert QueueSettings("slurm", local_directory="/scratch/${USER}/$SLURM_JOB_ID").local_directory


def test_the_template_is_read(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(TEMPLATE)
    settings = QueueSettings.of(read_queue_settings(tmp_path / "cluster.toml"))
    assert (settings.system, settings.jobs, settings.cores) == ("slurm", (1, 4), 4)


def test_the_template_names_every_field_and_its_default() -> None:
    said = tomllib.loads(SHOWN.sub("", TEMPLATE))
    assert set(said) == {f.name for f in fields(QueueSettings)}
    shown, plain = QueueSettings.of({k: v for k, v in said.items() if v != ""}), QueueSettings("slurm")
    for name in ("name", "wait", "directory", "parallel_environment", "tls", "dashboard", "walltime"):
        assert getattr(shown, name) == getattr(plain, name), name


@pytest.mark.parametrize("system", SYSTEMS)
def test_queue_settings_are_plain_values(system: Any) -> None:
    settings = QueueSettings(system, jobs=(1, 3), prologue=("module load x",))
    assert QueueSettings.of(json.loads(json.dumps(settings.to_dict()))) == settings
    assert str(settings) == f"jobs: 1 to 3 of {system}, of 1 cores for 04:00:00 each"


def test_a_file_that_is_missing_or_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="cluster init"):
        read_queue_settings(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("system = slurm")
    with pytest.raises(ParameterError, match=r"bad.toml: expected TOML, .*line 1"):
        read_queue_settings(tmp_path / "bad.toml")


def test_the_workflow_for_slurm_is_sound() -> None:
    folder = Path(__file__).parents[2] / "workflows" / "slurm"
    assert QueueSettings.of(read_queue_settings(folder / "queue.toml")).system == "slurm"
    assert subprocess.run(["sh", "-n", folder / "koma.sbatch"], check=False).returncode == 0
    assert len((folder / "koma.sbatch").read_text().splitlines()) <= 80

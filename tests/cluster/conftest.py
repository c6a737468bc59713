"""A session, its outputs as the serial run makes them, and the command line as a process of its own."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session

RADIUS = 3
# What a shell would run, if any were given it.
ODD = "night $(touch ran) `touch ran`; touch ran"


def _harness() -> Any:
    spec = importlib.util.spec_from_file_location("slurm", Path(__file__).parent / "slurm.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["slurm"] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Done:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture(scope="session")
def slurm() -> Iterator[Any]:
    """A SLURM that runs; skips where it can neither be found nor installed."""
    harness = _harness()
    if why := harness.missing():
        pytest.skip(why)
    with harness.running() as running:
        yield running


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session whose folder and one stack have names that a shell must not see."""
    folder = tmp_path_factory.mktemp("shared") / ODD
    params = named("standard", shape=(384, 360), frames=6, stacks=16, seed=3, hot=(0.005, 0.01), dose=2)
    first = write_session(folder, params)[0]
    first.rename(folder / f"{ODD}.mrcz")
    Path(f"{first}.mdoc").rename(folder / f"{ODD}.mrcz.mdoc")
    return folder


@pytest.fixture(scope="session")
def serial(night: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The outputs of the serial run."""
    out = tmp_path_factory.mktemp("serial") / "out"
    done = run_command("koma", night, "-o", out, "--radius", RADIUS, "--no-report", "--workers", 0)
    assert done.code == 0, done
    return contents(out)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and working folder of its own, where jobs leave their logs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mrcz() -> Command:
    """run(*arguments, **environment): the command line."""
    return run_command


@pytest.fixture
def outputs() -> Callable[[Path], dict[str, bytes]]:
    """contents(folder): every file of a run but its events and its lock."""
    return contents


def run_command(*arguments: object, **environment: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "mrcz_dask.cli.app", *map(str, arguments)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def contents(folder: Path) -> dict[str, bytes]:
    left_out = ("events.jsonl", "report.html", "leave-out.txt", ".koma.lock")  # they tell of the run
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in left_out]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

"""A small session, and the command line as a user runs it, without starting a process for each test."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrcz_dask.cli import app
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session

NIGHT = named("standard", shape=(64, 80), frames=6, stacks=5, seed=3, hot=(0.005, 0.01), dead=0.001, dose=2)


@dataclass(frozen=True)
class Shown:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Shown]


@pytest.fixture
def mrcz(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """run(*arguments, report=False): the console script's entry point; a report takes seconds."""

    def run(*arguments: object, report: bool = False) -> Shown:
        without = ["--no-report"] if arguments[:1] == ("koma",) and not report else []
        monkeypatch.setattr("sys.argv", ["mrcz-dask", *map(str, arguments), *without])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            app.main()
        shown = capsys.readouterr()
        return Shown(int(exit_.value.code or 0), shown.out, shown.err)

    return run


@pytest.fixture(scope="session")
def simulated_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "night"
    write_session(folder, NIGHT)
    return folder


@pytest.fixture
def night(simulated_night: Path, tmp_path: Path) -> Path:
    """A private copy of a session of five small stacks."""
    return Path(shutil.copytree(simulated_night, tmp_path / "night"))

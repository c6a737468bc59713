"""A small session, and the command line as a user runs it, without starting a process for each test."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
from typer.main import get_command

from mrcz_dask.cli import app


@dataclass(frozen=True)
class Shown:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Shown]
all_commands = cache(get_command)  # made of the same options for each call


@pytest.fixture
def mrcz(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """run(*arguments, report=False): the console script's entry point; a report takes seconds."""

    def run(*arguments: object, report: bool = False) -> Shown:
        without = ["--no-report"] if arguments[:1] == ("koma",) and not report else []
        if not {"-h", "--help", "--help-all"} & {*map(str, arguments)}:  # which change the options
            monkeypatch.setattr("typer.main.get_command", all_commands)
        monkeypatch.setattr("sys.argv", ["mrcz-dask", *map(str, arguments), *without])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            app.main()
        shown = capsys.readouterr()
        return Shown(int(exit_.value.code or 0), shown.out, shown.err)

    return run

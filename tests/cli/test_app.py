"""What holds for every command."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import mrcz_dask
from mrcz_dask.cli.app import app

ROOT: Any = typer.main.get_command(app)
COMMANDS = sorted(ROOT.commands)
ISSUE = {
    "koma",
    "info",
    "provenance",
    "verify",
    "recompress",
    "decompress",
    "outliers",
    "simulate",
    "reproduce",
}


def test_the_commands_are_all_there() -> None:
    assert set(COMMANDS) >= ISSUE


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_a_help_text(name: str) -> None:
    command = ROOT.commands[name]
    assert command.help and command.help.strip().endswith((".", "all", "changed."))
    bare = [p.name for p in command.params if not getattr(p, "help", None) and p.name != "help"]
    assert bare == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_works(name: str, mrcz: Any) -> None:
    shown = mrcz(name, "--help")
    assert shown.code == 0
    assert "Usage" in shown.out
    assert "\x1b" not in shown.out
    assert mrcz(name, "-h").out == shown.out


@pytest.mark.parametrize("name", sorted(ISSUE - {"simulate"}))
def test_every_command_has_json(name: str) -> None:
    assert any("--json" in p.opts for p in ROOT.commands[name].params)


def test_options_of_the_issue_are_there() -> None:
    options = {option for p in ROOT.commands["koma"].params for option in p.opts}
    assert options >= {
        "--radius", "-o", "--write", "--dtype", "--form", "--rule", "--method", "--codec", "--include",
        "--exclude",
        "--recursive", "--overwrite", "--workers", "--scheduler", "--dry-run", "--json",
    }  # fmt: skip
    options = {option for p in ROOT.commands["simulate"].params for option in p.opts}
    assert options >= {"--stacks", "--frames", "--shape", "--dose", "--seed"}


def test_defaults_of_the_issue() -> None:
    found = {
        p.name: p.default for p in ROOT.commands["koma"].params if isinstance(p.default, str | int | Path)
    }
    expected = {"write": "auto", "form": "subtract", "rule": "fdr"}
    assert found.items() >= (expected | {"method": "fit", "codec": "auto", "session": Path()}).items()


def test_version(mrcz: Any) -> None:
    shown = mrcz("--version")
    assert (shown.code, shown.out.strip()) == (0, mrcz_dask.__version__)


def test_no_such_command(mrcz: Any) -> None:
    shown = mrcz("komma")
    assert shown.code == 2
    assert "komma" in shown.err


def test_the_checkout_has_a_front_door() -> None:
    door = Path(__file__).parents[2] / "typer_cli.py"
    done = subprocess.run([sys.executable, door, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, mrcz_dask.__version__)


def test_a_closed_pipe_is_no_traceback(night: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "mrcz_dask.cli.app", "provenance", *sorted(night.glob("*.mrcz"))]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert "Traceback" not in done.stderr

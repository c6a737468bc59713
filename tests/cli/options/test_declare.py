"""One declaration of each option; a short help, and one of all options; shells complete them."""

import os
import re
import subprocess
import sys
from typing import Annotated, Any

import pytest
import typer

from mrcz_dask.cli.app import app
from mrcz_dask.cli.options.declare import Command, OptionGroup, command, option

ROOT: Any = typer.main.get_command(app)
STAY = {
    "--radius", "--output", "--write", "--dtype", "--format", "--workers", "--scheduler", "--recursive",
    "--follow", "--dry-run", "--gain", "--exclude",
}  # fmt: skip


def names_in(text: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z0-9-]+", text.partition("Examples:")[0]))


def commands() -> list[str]:
    groups = [(name, one.commands) for name, one in ROOT.commands.items() if hasattr(one, "commands")]
    below = [f"{name} {other}" for name, inner in groups for other in inner if name != "bench"]
    return sorted(set(ROOT.commands) - {name for name, _ in groups}) + below


@pytest.mark.parametrize("name", commands())
def test_help_shows_at_most_twenty_names(name: str, mrcz: Any) -> None:
    assert 1 <= len(names_in(mrcz(*name.split(), "--help").out)) <= 20


def test_the_help_of_koma_has_what_people_use_and_all_with_help_all(mrcz: Any) -> None:
    short, full = mrcz("koma", "--help"), mrcz("koma", "--help-all")
    assert full.code == 0
    assert names_in(short.out) >= STAY | {"--help-all", "--settings", "--overwrite"}
    options = {o for p in ROOT.commands["koma"].params for o in p.opts}
    assert names_in(full.out) >= {o for o in options if o.startswith("--")} > STAY
    assert len(options) > 60


def test_what_is_not_shown_is_taken_all_the_same(night: Any, mrcz: Any) -> None:
    assert mrcz("koma", night, "--breaks", "none", "--no-follow", "--dry-run").code == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("koma --gain-", "--gain-gamma"),
        ("koma --write re", "recompressed"),
        ("ini", "init"),
        ("sta", "status"),
    ],
)
def test_shells_complete_commands_options_and_values(words: str, expected: str) -> None:
    environment = os.environ | {
        "_MRCZ_DASK_COMPLETE": "complete_bash",
        "COMP_WORDS": f"mrcz-dask {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    code = "import sys; sys.argv = ['mrcz-dask']; from mrcz_dask.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert expected in done.stdout.split(), done.stderr


class SizeGroup(OptionGroup, panel="Size"):
    """Two options."""

    height: int = option(3, "Height.")
    flat: bool = option(False, "Flat.", "-f", "--flat")


class BoxGroup(SizeGroup):
    """One more."""

    width: int | None = option(None, "Width.", unset="as the height")


def run(function: Any, *words: str) -> None:
    small = typer.Typer(pretty_exceptions_enable=False)
    small.command(cls=Command)(function)
    small(list(words), standalone_mode=False)


def test_a_group_is_one_parameter_of_the_command_and_its_options_one_each() -> None:
    boxes: list[Any] = []

    def paint(color: Annotated[str, typer.Argument()] = "red", *, box: BoxGroup) -> None:
        boxes.append((color, box))

    run(command()(paint), "--width", "5", "-f")
    assert boxes == [("red", BoxGroup(height=3, flat=True, width=5))]


def test_a_command_leaves_options_out_and_has_defaults_of_its_own() -> None:
    boxes: list[Any] = []
    high = BoxGroup(height=9)

    def paint(*, box: BoxGroup = high) -> None:
        boxes.append(box)

    leave = command(leave_out=("width",))(paint)
    run(leave)
    assert boxes == [high]
    with pytest.raises(Exception, match="--width"):
        run(leave, "--width", "3")

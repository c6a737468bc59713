"""Help texts reach the terminal whole."""

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import typer.main

from mrcz_dask.cli.app import app
from mrcz_dask.cli.examples import EXAMPLES, examples_of


def texts(command: Any) -> list[str]:
    """Return the help of all options of a command and of those below it."""
    own = [text for one in command.params if (text := getattr(one, "help", None))]
    return own + [text for other in getattr(command, "commands", {}).values() for text in texts(other)]


def test_no_help_text_has_what_is_taken_for_markup_and_not_shown() -> None:
    found = texts(typer.main.get_command(app))
    assert len(found) > 100
    assert [text for text in found if re.search(r"(?<!\\)\[[a-z#/@][^[]*?\]", text)] == []


def named(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a command and those below it with the names by which they are called."""
    yield name, command
    for one, below in getattr(command, "commands", {}).items():
        yield from named(below, f"{name} {one}".strip())


def test_examples_are_of_every_command_and_can_be_parsed() -> None:
    commands = dict(named(typer.main.get_command(app)))
    assert EXAMPLES.keys() == commands.keys() - {"bench codecs"}  # the benchmark has its own help
    for name in EXAMPLES:
        lines = examples_of(name)
        assert len(lines) == len(set(lines)) == 3, name
        for line in lines:
            program, *words = shlex.split(re.split(r" [>|] ", line)[0])
            called = max((one for one in commands if words[: len(one.split())] == one.split()), key=len)
            assert program == "mrcz-dask" and called and called.startswith(name), line
            rest = words[len(called.split()) :]
            if called != "bench codecs":
                commands[called].make_context(called, rest)


def test_the_help_ends_with_examples_and_the_list_of_commands_has_groups(mrcz: Callable[..., Any]) -> None:
    for words in ((), ("koma",), ("gain",), ("gain", "orient")):
        shown = mrcz(*words, "--help").out
        assert shown.rstrip().endswith(examples_of(" ".join(words))[-1])
    shown = mrcz("--help").out
    groups = ("Every night", "Archive", "Look closer", "While recording", "Set up and try")
    assert [one for one in re.findall(r"─ ([A-Z][\w ]+) ─", shown) if one != "Options"] == [*groups]

"""Write docs/reference/cli.md from the program itself; a test holds that it is not stale."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from mrcz_dask.cli.app import app
from mrcz_dask.cli.examples import examples_of

PAGE = Path(__file__).parent / "reference" / "cli.md"
WORDS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH", list[str]: "TEXT", list[int]: "N"}
MADE = "<!-- made by docs/generate.py (make docs); do not edit -->"


SETTINGS = """`--help` of a command shows the options that people use, `--help-all` all of them. Options can
stand in a [settings file](../how-to/settings.md); on the command line, `--no-NAME` turns off a flag that is
true there."""


def cli_reference() -> str:
    """Return the commands with their help, arguments and options."""
    parts = ["# Command line", MADE, f"    {app.info.name} COMMAND ...", str(app.info.help), SETTINGS]
    for name, command in _commands():
        parts += [
            f"## `mrcz-dask {name}`",
            inspect.cleandoc(command.callback.__doc__ or ""),
            *(["\n".join(f"    {line}" for line in examples)] if (examples := examples_of(name)) else []),
            "\n".join(_parameters(command.callback)),
        ]
    return "\n\n".join(parts) + "\n"


def _commands() -> Iterator[tuple[str, Any]]:
    """Yield the commands, then those of groups, with the names by which they are called."""
    yield from ((str(one.name), one) for one in app.registered_commands)
    for group in app.registered_groups:
        for one in group.typer_instance.registered_commands if group.typer_instance else ():
            yield f"{group.name} {one.name}", one


def _parameters(function: Any) -> Iterator[str]:
    """Yield a line of a list for each argument and option."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "context":
            continue
        kind, *_, info = get_args(hints[name])
        kind = get_args(kind)[0] if NoneType in get_args(kind) else kind
        default = parameter.default
        if isinstance(info, typer.models.ArgumentInfo):
            names, values = f"`{name.upper()}`", ""
        else:
            # without names of its own, an option has the parameter's; of a flag that is on, both are shown
            known = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str)]
            known = [one if default is True else one.split("/")[0] for one in known]
            names = ", ".join(f"`{one}`" for one in known or [f"--{name.replace('_', '-')}"])
            word = "|".join(get_args(kind)) if get_origin(kind) is Literal else WORDS.get(kind, "")
            values = f" {word}" if word else ""
        if default is parameter.empty:
            shown = " (required)"
        elif default is None or isinstance(default, bool):
            shown = f" (default: {info.show_default})" if isinstance(info.show_default, str) else ""
        else:
            shown = f" (default `{default}`)"
        yield f"- {names}{values}{shown}: {info.help}"


if __name__ == "__main__":
    PAGE.write_text(cli_reference(), encoding="utf-8")

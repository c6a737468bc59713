"""Write docs/reference/cli.md from the program itself; a test holds that it is not stale."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from mrcz_dask.cli.app import app

PAGE = Path(__file__).parent / "reference" / "cli.md"
WORDS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH", list[str]: "TEXT", list[int]: "N"}
MADE = "<!-- made by docs/generate.py (make docs); do not edit -->"


def cli_reference() -> str:
    """Return the commands with their help, arguments and options."""
    parts = ["# Command line", MADE, f"    {app.info.name} COMMAND ...", str(app.info.help)]
    for name, command in _commands():
        parts += [
            f"## `mrcz-dask {name}`",
            inspect.cleandoc(command.callback.__doc__ or ""),
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
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, info = get_args(hints[name])[:2]
        yield f"- {_names(name, info)}{_values(kind, info)}{_default(parameter)} {info.help or ''}".rstrip()


def _names(name: str, info: Any) -> str:
    if isinstance(info, typer.models.ArgumentInfo):
        return f"`{name.upper()}`"
    # an OptionInfo without names of its own keeps the parameter's
    given = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str)]
    return ", ".join(f"`{one}`" for one in given or [f"--{name.replace('_', '-')}"])


def _values(kind: Any, info: Any) -> str:
    if get_origin(kind) is Literal:
        return f" {'|'.join(get_args(kind))}"
    plain = [one for one in get_args(kind) if one is not NoneType]
    word = WORDS.get(plain[0] if plain else kind, "")
    return "" if isinstance(info, typer.models.ArgumentInfo) or not word else f" {word}"


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return " (required):"
    silent = parameter.default is None or isinstance(parameter.default, bool)
    return ":" if silent else f" (default `{parameter.default}`):"


if __name__ == "__main__":
    PAGE.write_text(cli_reference(), encoding="utf-8")

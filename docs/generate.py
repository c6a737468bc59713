"""Write docs/reference/cli.md and python.md from the program itself; a test holds that they are not stale."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

import mrcz_dask
from mrcz_dask.cli.app import app

REFERENCE = Path(__file__).parent / "reference"
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


def python_reference() -> str:
    """Return the public names with their signatures and docstrings."""
    parts = ["# Python", MADE, f"    import mrcz_dask    # {mrcz_dask.__doc__.splitlines()[0]}"]
    for name in mrcz_dask.__all__:
        thing = getattr(mrcz_dask, name)
        call = "" if _is_error(thing) else _signature(thing)
        parts += [
            f"## `{name}`",
            f"    mrcz_dask.{name}{call}",
            f"```text\n{inspect.cleandoc(thing.__doc__)}\n```",
            *_members(name, thing),
        ]
    return "\n\n".join(parts) + "\n"


def _members(name: str, thing: Any) -> Iterator[str]:
    """Yield the methods and properties that a class of its own has, with their docstrings."""
    for member, found in vars(thing).items() if isinstance(thing, type) else ():
        if member.startswith("_") or not isinstance(found, (property, FunctionType)):
            continue
        call = "" if isinstance(found, property) else _signature(found)
        text = inspect.cleandoc(found.__doc__ or "")
        yield f"### `{name}.{member}`\n\n    {name}.{member}{call}\n\n```text\n{text}\n```"


def _is_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Exception)


def _signature(thing: Any) -> str:
    bare = [p.replace(annotation=p.empty) for p in inspect.signature(thing).parameters.values()]
    return re.sub(r"<function (\w+) at \w+>", r"\1", str(inspect.Signature(bare)))


PAGES = {"cli.md": cli_reference, "python.md": python_reference}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (REFERENCE / page).write_text(make(), encoding="utf-8")

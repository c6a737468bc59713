"""Settings files: TOML in which every option of a command can stand, written and read by its declarations."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from inspect import Parameter
from json import dumps
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import typer

from mrcz_dask.values.errors import ParameterError

# In words for messages, as an example in a new file, and the types that TOML gives.
# Marks the annotation of text such as 12, 60s or auto: a number in the file needs no quotes.
NUMBERS = "numbers"
KINDS: dict[Any, tuple[str, str, tuple[type, ...]]] = {
    bool: ("true or false", "true", (bool,)),
    int: ("a whole number", "N", (int,)),
    float: ("a number", "X", (int, float)),
    str: ("text in quotes", '"TEXT"', (str,)),
    Path: ("a path in quotes", '"PATH"', (str,)),
}


class Setting:
    """An option as a line of a settings file.

    Attributes
    ----------
    key
        Its long name without dashes.
    """

    def __init__(self, parameter: Parameter) -> None:
        kind, *extras = get_args(parameter.annotation)
        if NoneType in get_args(kind):
            kind = get_args(kind)[0]
        self.info = extras[-1]
        self.name, self.default = parameter.name, parameter.default
        self.several = get_origin(kind) is list
        self.kind = get_args(kind)[0] if self.several else kind
        self.choices = get_args(self.kind) if get_origin(self.kind) is Literal else ()
        self.takes_numbers = NUMBERS in extras
        self.key = next(n.split("/")[0][2:] for n in self.info.param_decls if n.startswith("--"))

    def expected(self) -> str:
        """Return the values that a file may give, in words."""
        if self.choices:
            words = f"one of {', '.join(map(dumps, self.choices))}"
        else:
            words = KINDS[self.kind][0] + (" or a number" if self.takes_numbers else "")
        if self.info.min is not None:
            words += f" of at least {self.info.min}"
        return f"a list, such as [{KINDS[self.kind][1]}], of {words}" if self.several else words

    def value(self, value: Any) -> Any:
        """Return a value of a file as the command line would give it.

        Raises
        ------
        ValueError
            When its type or range is wrong.
        """
        if self.several:
            if not isinstance(value, list) or not all(map(self._is_valid, value)):
                raise ValueError
            return [str(one) for one in value]
        if not self._is_valid(value):
            raise ValueError
        return value if self.kind in (bool, int, float) else str(value)

    def _is_valid(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices or (type(value) is int and str(value) in self.choices)
        types = (*KINDS[self.kind][2], *((int, float) if self.takes_numbers else ()))
        low = self.info.min
        return type(value) in types and (low is None or value >= low)

    def lines(self) -> Iterator[str]:
        """Yield the help as comments, and the line with its default, a comment too."""
        help = f"{self.info.help}".replace("\\[", "[")
        if isinstance(self.info.show_default, str):
            help += f" Default: {self.info.show_default}."
        yield from textwrap.wrap(
            help, 98, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        if self.choices:
            yield f"# One of {', '.join(map(dumps, self.choices))}."
        if self.default is None or self.default is Parameter.empty:
            example = dumps(self.choices[0]) if self.choices else KINDS[self.kind][1]
            yield f"#{self.key} = [{example}]" if self.several else f"#{self.key} = {example}"
        else:
            value = str(self.default) if isinstance(self.default, Path) else self.default
            is_number = self.takes_numbers and value.isdecimal()
            yield f"#{self.key} = {value if is_number else dumps(value)}"


def settings_of(parameters: Iterable[Parameter]) -> list[Setting]:
    """Return the options of a command that can stand in a settings file."""
    infos = [(one, get_args(one.annotation)[-1]) for one in parameters]
    return [
        Setting(one) for one, info in infos if isinstance(info, typer.models.OptionInfo) and not info.is_eager
    ]


def settings_text(command: str, parameters: Iterable[Parameter]) -> str:
    """Return a settings file in which every option of a command stands with its help and default."""
    lines = [
        f"# Settings of mrcz-dask {command}, in TOML. Read them with",
        f"#     mrcz-dask {command} ... --settings FILE",
        "# Remove the # before a name to set a value. Options on the command line win over the file;",
        "# there, --no-NAME turns off what is true here.",
        "# Paths are relative to the folder in which the command runs.",
    ]
    panels: dict[str, list[Setting]] = {}
    for one in settings_of(parameters):
        panels.setdefault(one.info.rich_help_panel or "General", []).append(one)
    for panel, settings in panels.items():
        lines += ["", "", f"# ---- {panel} ----"]
        for one in settings:
            lines += ["", *one.lines()]
    return "\n".join(lines) + "\n"


def read_settings(path: Path, command: str, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the values of a settings file by the names of the parameters.

    Raises
    ------
    ParameterError
        When the file cannot be read, or has an unknown key or a wrong value; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        reason = (
            f"{path} cannot be read ({error.strerror}); write one: mrcz-dask init {command} > {path.name}"
        )
        raise ParameterError(reason) from error
    except ValueError as error:  # of UTF-8 or TOML, which says the line
        raise ParameterError(f"{path} is not TOML: {error}; expected lines such as: radius = 12") from error
    settings = {one.key: one for one in settings_of(parameters)}
    found, problems = {}, []
    for key, value in values.items():
        line = rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[=.\]]"""
        number = next((k for k, one in enumerate(text.splitlines(), 1) if re.match(line, one)), 1)
        if key not in settings:
            near = get_close_matches(key.replace("_", "-"), settings, 1)
            remedy = f"did you mean {near[0]}?" if near else f"mrcz-dask init {command} lists all names"
            problems.append(f"{path}, line {number}: mrcz-dask {command} has no option {key}; {remedy}")
            continue
        try:
            found[settings[key].name] = settings[key].value(value)
        except ValueError:
            shown = "a table" if isinstance(value, dict) else dumps(value, default=str, ensure_ascii=False)
            problems.append(f"{path}, line {number}: {key} is {shown}; expected {settings[key].expected()}")
    if problems:
        raise ParameterError("\n".join(problems))
    return found

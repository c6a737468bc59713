"""Reads and writes settings files: TOML files that give the options of a command."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from inspect import Parameter
from json import dumps
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import typer

from mrcz_dask.values.errors import ParameterError

# Marks the annotation of text such as 12, 60s or auto: a number in the file needs no quotes.
NUMBERS = "numbers"
# For each kind of option: its values in words, an example, and the types that TOML gives.
KINDS: dict[Any, tuple[str, str, tuple[type, ...]]] = {
    bool: ("true or false", "true", (bool,)),
    int: ("a whole number", "N", (int,)),
    float: ("a number", "X", (int, float)),
    str: ("text in quotes", '"TEXT"', (str,)),
    NUMBERS: ("text in quotes or a number", '"TEXT"', (str, int, float)),
    Path: ("a path in quotes", '"PATH"', (str,)),
}


class SettingsEntry:
    """One option of a command, as it is written in a settings file and read from it.

    Attributes
    ----------
    name
        Name of the command's parameter.
    key
        Long name of the option, without dashes.
    default
        Value without the option.
    info
        Its description, `typer.Option`.
    """

    def __init__(self, parameter: Parameter) -> None:
        kind, *extras = get_args(parameter.annotation)
        if NoneType in get_args(kind):
            kind = get_args(kind)[0]
        self.name, self.default, self.info = parameter.name, parameter.default, extras[-1]
        self.key = next(n.split("/")[0][2:] for n in self.info.param_decls if n.startswith("--"))
        self._several = get_origin(kind) is list
        kind = get_args(kind)[0] if self._several else kind
        self._is_path = kind is Path
        if get_origin(kind) is Literal:
            self._types: tuple[type, ...] = (str, int)
            self._choices, self._example = get_args(kind), dumps(get_args(kind)[0])
            self._words = f"one of {', '.join(map(dumps, self._choices))}"
        else:
            self._choices = ()
            self._words, self._example, self._types = KINDS[NUMBERS if NUMBERS in extras else kind]
        if self.info.min is not None:
            self._words += f" of at least {self.info.min}"
        if self._several:
            self._words = f"a list, such as [{self._example}], of {self._words}"

    def value(self, value: Any) -> Any:
        """Check a value from a settings file, and return it as the command line would give it.

        Raises
        ------
        ValueError
            When its type or range is wrong; says what was expected.
        """
        values = value if isinstance(value, list) else [value]
        is_valid = self._several == isinstance(value, list)
        for each in values:
            is_valid &= type(each) in self._types and (not self._choices or str(each) in self._choices)
            is_valid = is_valid and (self.info.min is None or bool(each >= self.info.min))
        if not is_valid:
            raise ValueError(f"expected {self._words}")
        if self._several:
            return [str(item) for item in values]
        if self._is_path:
            return str(Path(value).expanduser())
        return str(value) if str in self._types else value

    def lines(self) -> Iterator[str]:
        """Yield the option's lines in a settings file: its help, and its default, both as comments."""
        help = f"{self.info.help}".replace("\\[", "[")
        if isinstance(self.info.show_default, str):
            help += f" Default: {self.info.show_default}."
        yield from (f"# {line}" for line in textwrap.wrap(help, 98, break_on_hyphens=False))
        if self._choices:
            yield f"# {self._words[0].upper()}{self._words[1:]}."
        if self.default is None or self.default is Parameter.empty:
            shown = self._example
        else:
            value = str(self.default) if isinstance(self.default, Path) else self.default
            is_number = isinstance(value, str) and float in self._types and value.isdecimal()
            shown = value if is_number else dumps(value)
        yield f"#{self.key} = [{shown}]" if self._several else f"#{self.key} = {shown}"


def settings_of(parameters: Iterable[Parameter]) -> list[SettingsEntry]:
    """Return those parameters of a command that a settings file can give: its options, not its arguments."""
    infos = ((parameter, get_args(parameter.annotation)[-1]) for parameter in parameters)
    return [
        SettingsEntry(parameter) for parameter, info in infos if isinstance(info, typer.models.OptionInfo)
    ]


def settings_text(command: str, parameters: Iterable[Parameter]) -> str:
    """Return the text of a settings file that lists every option of a command with help and default."""
    lines = [
        f"# Settings of mrcz-dask {command}, in TOML. Read them with",
        f"#     mrcz-dask {command} ... --settings FILE",
        "# Remove the # before a name to set a value. Options on the command line win over the file;",
        "# there, --no-NAME turns off what is true here.",
        "# Paths are relative to the folder in which the command runs.",
    ]
    panels: dict[str, list[SettingsEntry]] = {}
    for setting in settings_of(parameters):
        panels.setdefault(setting.info.rich_help_panel or "General", []).append(setting)
    for panel, settings in panels.items():
        lines += ["", "", f"# ---- {panel} ----"]
        for setting in settings:
            lines += ["", *setting.lines()]
    return "\n".join(lines) + "\n"


def read_settings(path: Path, command: str, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Read the options that a settings file gives to a command; return their values by parameter.

    Raises
    ------
    ParameterError
        When the file cannot be read, or has an unknown key or a wrong value; names the line.
    """
    from mrcz_dask.formats.metadata import LARGEST, parse_toml
    from mrcz_dask.formats.source import read_file

    try:
        data = read_file(path, LARGEST)
    except OSError as error:
        remedy = f"write one: mrcz-dask init {command} > {path.name}"
        raise ParameterError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    table = parse_toml(data, str(path), "write lines such as: radius = 12", ParameterError)
    text = data.decode()
    settings = {setting.key: setting for setting in settings_of(parameters)}
    values, problems = {}, []
    for key, value in table.items():
        pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
        line = next((k for k, row in enumerate(text.splitlines(), 1) if pattern.match(row)), 1)
        if key in settings:
            try:
                values[settings[key].name] = settings[key].value(value)
            except ValueError as error:
                shown = (
                    "a table" if isinstance(value, dict) else dumps(value, default=str, ensure_ascii=False)
                )
                problems.append(f"{path}, line {line}: {key} is {shown}; {error}")
        else:
            near = get_close_matches(key.replace("_", "-"), settings, 1)
            remedy = f"did you mean {near[0]}?" if near else f"mrcz-dask init {command} lists all names"
            problems.append(f"{path}, line {line}: mrcz-dask {command} has no option {key}; {remedy}")
    if problems:
        raise ParameterError("; ".join(problems))
    return values

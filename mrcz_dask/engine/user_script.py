"""Reads and runs users' own Python files, such as live processors and electron detectors."""

from __future__ import annotations

import linecache
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Self

from mrcz_dask.formats.source import open_file
from mrcz_dask.values.errors import ParameterError


def read_script(path: Path) -> str:
    """Return the text of a Python file.

    Raises
    ------
    PlaceError, OSError, UnicodeDecodeError
        It is no regular file, cannot be read, or is not UTF-8.
    """
    with os.fdopen(open_file(path), encoding="utf-8") as file:
        return file.read()


@dataclass(frozen=True, slots=True)
class UserScript:
    """The text of a user's Python file, and the name of the wanted function in it.

    Attributes
    ----------
    path
        Absolute path of the file, for tracebacks and messages.
    name
        Name of the function in it; '' = the only one.
    text
        Text of the file.
    """

    path: str
    name: str
    text: str

    @classmethod
    def read(cls, option: str, flag: str, expected: str) -> Self:
        """Read a user's file from an option ``FILE.py`` or ``FILE.py:NAME``.

        Parameters
        ----------
        option
            Value of the option.
        flag, expected
            Name of the option and its expected form, for the error.

        Raises
        ------
        ParameterError
            The file cannot be read.
        """
        file, _, name = option.rpartition(":")
        if not file or not name.isidentifier():
            file, name = option, ""
        try:
            return cls(str(Path(file).absolute()), name, read_script(Path(file)))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ParameterError(
                f"{flag} {option}: cannot be read ({reason}); expected {expected}"
            ) from error

    def run(self, module_name: str) -> ModuleType:
        """Execute the user's file as a module of the given name,
        so that objects of its classes can be pickled.

        The module takes the place of one with the same name. Whatever the text raises goes on.
        """
        module = ModuleType(module_name)
        module.__file__ = self.path
        sys.modules[module_name] = module
        # tracebacks show the text that ran, which the file may no longer have
        linecache.cache[self.path] = (len(self.text), None, self.text.splitlines(True), self.path)
        exec(compile(self.text, self.path, "exec"), module.__dict__)
        return module

    def trace(self, error: BaseException) -> str:
        """Return an error's traceback as text that begins in the user's file,
        without this package's own lines.
        """
        steps = traceback.extract_tb(error.__traceback__)
        first = next((k for k, step in enumerate(steps) if step.filename == self.path), len(steps))
        shown = traceback.format_list(steps[first:])
        head = ["Traceback (most recent call last):\n"] if shown else []
        text = "".join([*head, *shown, *traceback.format_exception_only(error)]).rstrip()
        return text.replace(f'File "{self.path}"', f'File "{Path(self.path).name}"')

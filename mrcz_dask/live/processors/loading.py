"""Loads processors from ordinary Python files, and loads them again after an edit."""

from __future__ import annotations

import hashlib
import linecache
import sys
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from mrcz_dask.live.processors.declare import MARK, Processor
from mrcz_dask.values.errors import ParameterError, ProcessorError

WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Script:
    """The text of a processor's file.

    Attributes
    ----------
    path
        Absolute path, for tracebacks and messages.
    name
        Name of the processor in the file; '' = the only one.
    text
        Text of the file.
    """

    path: str
    name: str
    text: str

    @property
    def digest(self) -> str:
        """A digest of the text."""
        return hashlib.blake2b(self.text.encode(), digest_size=8).hexdigest()

    @classmethod
    def parse(cls, option: str) -> Script:
        """Read the file of ``FILE.py`` or ``FILE.py:NAME``.

        Raises
        ------
        ParameterError
            The file cannot be read.
        """
        file, _, name = option.rpartition(":")
        if not file or not name.isidentifier():
            file, name = option, ""
        try:
            return cls(str(Path(file).absolute()), name, Path(file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ParameterError(
                f"--processor {option}: cannot be read ({getattr(error, 'strerror', None) or error}); "
                "expected FILE.py or FILE.py:NAME"
            ) from error


def load(script: Script) -> Processor:
    """Run a file and return the processor in it.

    Raises
    ------
    ProcessorError
        The file fails (with its traceback), or does not hold the processor.
    """
    # always under one name, so that states of the file's own classes can be pickled
    module = ModuleType(f"live_processor_{Path(script.path).stem}")
    module.__file__ = script.path
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    # tracebacks show the text that ran, which the file may no longer have
    linecache.cache[script.path] = (len(script.text), None, script.text.splitlines(True), script.path)
    try:
        exec(compile(script.text, script.path, "exec"), module.__dict__)
        return _processor_in(module, script)
    except BaseException as error:
        if before is not None:
            sys.modules[module.__name__] = before
        text = str(error) if isinstance(error, ProcessorError) else trace_of(error, script.path)
        raise ProcessorError(text) from error


def _processor_in(module: ModuleType, script: Script) -> Processor:
    marks = (getattr(value, MARK, None) for value in vars(module).values() if callable(value))
    processors: dict[str, Processor] = {mark.spec.name: mark for mark in marks if mark is not None}
    own = [each for each in processors.values() if each.function.__module__ == module.__name__]
    if script.name and script.name in processors:
        return processors[script.name]
    if not script.name and len(own) == 1:
        return own[0]
    problem = f"no processor {script.name}" if script.name else f"{len(own)} processors"
    names = ", ".join(processors) or "no function is declared one"
    raise ProcessorError(
        f"{script.path}: there is {problem} in it ({names}); "
        "expected a function under @processor(...), and FILE.py:NAME where there are several"
    )


def trace_of(error: BaseException, path: str) -> str:
    """Format a traceback from the user's file on, without our own frames above it."""
    steps = traceback.extract_tb(error.__traceback__)
    first = next((k for k, step in enumerate(steps) if step.filename == path), len(steps))
    shown = traceback.format_list(steps[first:])
    head = ["Traceback (most recent call last):\n"] if shown else []
    text = "".join([*head, *shown, *traceback.format_exception_only(error)]).rstrip()
    return text.replace(f'File "{path}"', f'File "{Path(path).name}"')


class FileWatch:
    """Notices that a file has been edited; it looks twice a second at most."""

    def __init__(self, path: Path) -> None:
        self._path, self._looked = path, 0.0
        self._stamp = self._file_stamp()

    def _file_stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def edited(self, script: Script) -> Script | None:
        """Return the file's new text, if it differs from the script and from the text returned last."""
        if time.monotonic() - self._looked < WATCH_SECONDS:
            return None
        self._looked = time.monotonic()
        stamp = self._file_stamp()
        if stamp is None or stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        return None if text == script.text else replace(script, text=text)

"""Loads processors from users' Python files, and again after each edit."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from mrcz_dask.engine.user_script import UserScript, read_script
from mrcz_dask.live.processors.declare import MARK, Processor
from mrcz_dask.values.errors import ProcessorError

WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Script(UserScript):
    """The text of a user's Python file, and the name of the processor in it."""

    @property
    def digest(self) -> str:
        """Return a digest of the file's text, which is stored with results to tell versions apart."""
        return hashlib.blake2b(self.text.encode(), digest_size=8).hexdigest()

    @classmethod
    def parse(cls, option: str) -> Script:
        """Read a processor's file from an option ``FILE.py`` or ``FILE.py:NAME``.

        Raises
        ------
        ParameterError
            The file cannot be read.
        """
        return cls.read(option, "--processor", "FILE.py or FILE.py:NAME")


def load(script: Script) -> Processor:
    """Execute a user's Python file and return the processor declared in it.

    Raises
    ------
    ProcessorError
        The file fails (with its traceback), or does not hold the processor.
    """
    name = f"live_processor_{Path(script.path).stem}"
    before = sys.modules.get(name)
    try:
        return _processor_in(script.run(name), script)
    except BaseException as error:
        if before is not None:
            sys.modules[name] = before  # states of the old version are still pickled
        text = str(error) if isinstance(error, ProcessorError) else script.trace(error)
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


class FileWatch:
    """Watches a processor's file for edits, so that the new version is loaded;
    looks at most twice a second.
    """

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
        """Return the file's new text once after each edit, else None."""
        if time.monotonic() - self._looked < WATCH_SECONDS:
            return None
        self._looked = time.monotonic()
        stamp = self._file_stamp()
        if stamp is None or stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            text = read_script(self._path)
        except (OSError, ValueError):
            return None
        return None if text == script.text else replace(script, text=text)

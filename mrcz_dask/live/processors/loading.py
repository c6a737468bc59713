"""Processors out of ordinary Python files."""

from __future__ import annotations

import hashlib
import linecache
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

from mrcz_dask.live.processors.declare import MARK, Processor
from mrcz_dask.values.errors import ParameterError, ProcessorError


@dataclass(frozen=True, slots=True)
class Script:
    """A processor's file as it was read.

    Attributes
    ----------
    path
        Of the file, absolute, for tracebacks and messages.
    name
        Of the processor in it; '' = the only one.
    text
        What is in it.
    """

    path: str
    name: str
    text: str

    @property
    def digest(self) -> str:
        """A digest of the text."""
        return hashlib.blake2b(self.text.encode(), digest_size=8).hexdigest()

    @classmethod
    def parse(cls, said: str) -> Script:
        """Read the file of ``FILE.py`` or ``FILE.py:NAME``.

        Raises
        ------
        ParameterError
            There is no such file.
        """
        file, _, name = said.rpartition(":") if said.rpartition(":")[2].isidentifier() else (said, "", "")
        path = Path(file or said)
        try:
            return cls(str(path.absolute()), name if file else "", path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ParameterError(
                f"--processor {said}: cannot be read ({getattr(error, 'strerror', None) or error}); expected "
                "FILE.py or FILE.py:NAME"
            ) from error


def load(script: Script) -> Processor:
    """Run a file and return the processor in it.

    Raises
    ------
    ProcessorError
        It does not run (with its traceback), or the processor is not in it.
    """
    before = sys.modules.get(module_name(script))
    module = _fresh_module(script)
    try:
        exec(_code(script), module.__dict__)
        return _chosen(script, module)
    except BaseException as error:
        if before is not None:
            sys.modules[before.__name__] = before
        text = str(error) if isinstance(error, ProcessorError) else trace_of(error, script.path)
        raise ProcessorError(text) from error


def module_name(script: Script) -> str:
    """Return the name of a file as a module."""
    return f"live_processor_{Path(script.path).stem}"


def _fresh_module(script: Script) -> ModuleType:
    """Return an empty module under the name that this file always has, so that states can be pickled."""
    module = ModuleType(module_name(script))
    module.__file__ = script.path
    sys.modules[module.__name__] = module
    return module


def _code(script: Script) -> CodeType:
    # Tracebacks show the text that ran, not what is in the file by then.
    linecache.cache[script.path] = (len(script.text), None, script.text.splitlines(True), script.path)
    return compile(script.text, script.path, "exec")


def _chosen(script: Script, module: ModuleType) -> Processor:
    marked: list[Processor | None] = [getattr(v, MARK, None) for v in vars(module).values() if callable(v)]
    found = {one.spec.name: one for one in marked if one is not None}
    own = {name: one for name, one in found.items() if one.function.__module__ == module.__name__}
    if script.name and script.name in found:
        return found[script.name]
    if not script.name and len(own) == 1:
        return next(iter(own.values()))
    wanted = f"no processor {script.name}" if script.name else f"{len(own)} processors"
    raise ProcessorError(
        f"{script.path}: there is {wanted} in it ({', '.join(found) or 'no function is declared one'}); "
        "expected a function under @processor(...), and FILE.py:NAME where there are several"
    )


def trace_of(error: BaseException, path: str) -> str:
    """Return a traceback from the user's file on, by its name alone, without our own frames above it."""
    steps = traceback.extract_tb(error.__traceback__)
    first = next((k for k, step in enumerate(steps) if step.filename == path), len(steps))
    shown = traceback.format_list(steps[first:])
    head = ["Traceback (most recent call last):\n"] if shown else []
    text = "".join([*head, *shown, *traceback.format_exception_only(error)]).rstrip()
    return text.replace(f'File "{path}"', f'File "{Path(path).name}"')

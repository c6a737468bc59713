"""Loads processors from users' Python files, again after each edit, and runs them in a worker process."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.engine.user_script import UserScript, read_script
from mrcz_dask.live.frames import FrameInfo
from mrcz_dask.live.processors.declare import MARK, Processor, ProcessorOutput, Spec, Value
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


_EXPECTED = (
    "one number for {}",
    "a 1-D array for {}, or two of one length: positions and values",
    "a 2-D array of real numbers for {}",
)


@dataclass(frozen=True, slots=True)
class ProcessorAnswer:
    """Result of a processor on one frame: its output values or a traceback, and its state afterwards.

    Attributes
    ----------
    values
        By output: a float; (positions, values), both float64; or a float32 image. Empty = no result.
    error
        The traceback of an exception.
    state
        The state afterwards, pickled, if it is to be kept.
    """

    values: dict[str, Any]
    error: str = ""
    state: bytes | None = None


class Host:
    """Runs one processor in a worker process and keeps its state between frames; a Dask actor.

    Parameters
    ----------
    memory
        Bytes that the process may take beyond what it has now; None = as many as there are.
    """

    def __init__(self, memory: int | None = None) -> None:
        self._processor: Processor | None = None
        self._script: Script | None = None
        self._state: Any = None
        # The kernel limits private data on Linux alone: an allocation beyond raises MemoryError. Elsewhere
        # Dask's nanny ends the process.
        if memory is not None and sys.platform.startswith("linux"):
            import resource

            lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
            used = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))
            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            resource.setrlimit(resource.RLIMIT_DATA, (used + memory, hard))

    def process(self) -> int:
        """Return the process number (PID) of this worker, with which a hanging one can be killed."""
        return os.getpid()

    def load(self, script: Script, state: bytes | None = None) -> tuple[Spec | None, str]:
        """Load a processor from its file's text; if that fails, the version loaded before stays in use.

        Parameters
        ----------
        script
            The processor's file.
        state
            Pickled state to go on with; None = a new one.

        Returns
        -------
        spec, error
            Its declaration and ''; or None, and the reason or traceback.
        """
        try:
            processor = load(script)
            first_state = _restored(processor, state)
        except ProcessorError as error:
            return None, str(error)
        except Exception as error:  # noqa: BLE001 - the user's function that makes a state may raise anything
            return None, script.trace(error)
        self._processor, self._script, self._state = processor, script, first_state
        return processor.spec, ""

    def reset(self) -> None:
        """Replace the processor's state by a new one, when a person presses reset on the page."""
        if self._processor is not None:
            self._state = _restored(self._processor, None)

    def run(self, frame: NDArray[Any], info: FrameInfo, values: dict[str, Value]) -> ProcessorAnswer:
        """Run the processor on one frame and return its outputs, or the traceback of its exception.

        Parameters
        ----------
        frame
            (y, x), the region of interest.
        info
            Facts about the frame.
        values
            The processor's parameters.
        """
        processor, script = self._processor, self._script
        assert processor is not None and script is not None, "load comes first"
        before = self._pickled_state()
        try:
            special = {"state": self._state, "info": info}
            returned = processor.function(frame, *(special[name] for name in processor.spec.takes), **values)
            return ProcessorAnswer(as_declared(processor.spec, returned), "", self._pickled_state())
        except BaseException as error:  # noqa: BLE001 - a user's function may raise anything
            self._state = _restored(processor, before)
            return ProcessorAnswer({}, script.trace(error), before)

    def _pickled_state(self) -> bytes | None:
        spec = self._processor.spec if self._processor is not None else None
        if spec is None or "state" not in spec.takes or spec.on_failure != "keep":
            return None
        try:
            return pickle.dumps(self._state, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001 - after a failure a state that cannot be pickled begins anew
            return None


def _restored(processor: Processor, state: bytes | None) -> Any:
    """Return a pickled state, or a new one if there is none or another version of the file wrote it."""
    if state is not None and processor.spec.on_failure == "keep":
        with suppress(Exception):
            return pickle.loads(state)  # noqa: S301 - `Host` wrote it, no file
    return processor.begin() if "state" in processor.spec.takes else None


def as_declared(spec: Spec, returned: Any) -> dict[str, Any]:
    """Return the value that a processor returned as {output name: value},
    after comparing it with the declaration.

    Raises
    ------
    ProcessorError
        The value does not fit the declaration.
    """
    if returned is None:
        return {}
    names = [output.name for output in spec.outputs]
    values = returned if isinstance(returned, dict) else {names[0]: returned}
    expected, unfit = "", returned
    if set(values) != set(names):
        expected = f"a dict of {', '.join(names)}"
        unfit = list(returned) if isinstance(returned, dict) else returned
    else:
        results = {output.name: _as_output(output, values[output.name]) for output in spec.outputs}
        for output in spec.outputs:
            if results[output.name] is None:
                expected, unfit = _EXPECTED[output.ndim].format(output.name), values[output.name]
                break
    if not expected:
        return results
    text = f"ndarray of shape {unfit.shape}" if isinstance(unfit, np.ndarray) else repr(unfit)[:200]
    raise ProcessorError(f"{spec.name} returned {text}; expected {expected}")


def _as_output(output: ProcessorOutput, value: Any) -> Any:
    """Return a value in the type of an output; None if it does not fit."""
    positions = None
    if output.ndim == 1 and isinstance(value, tuple) and len(value) == 2:
        positions, value = value
    array = np.asarray(value)
    if array.dtype.kind not in "iufb":
        return None
    if output.ndim == 0:
        return float(array.reshape(()).item()) if array.size == 1 else None
    if output.ndim == 2:
        return np.ascontiguousarray(array, np.float32) if array.ndim == 2 and array.size else None
    places = np.arange(array.size) if positions is None else np.asarray(positions)
    if array.ndim != 1 or places.shape != array.shape:
        return None
    return places.astype(np.float64), array.astype(np.float64)

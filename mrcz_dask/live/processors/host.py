"""Runs a user's processor inside a worker process."""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.live.frames import FrameInfo
from mrcz_dask.live.processors.declare import Output, Processor, Spec, Value
from mrcz_dask.live.processors.loading import Script, load
from mrcz_dask.values.errors import ProcessorError

_EXPECTED = (
    "one number for {}",
    "a 1-D array for {}, or two of one length: positions and values",
    "a 2-D array of real numbers for {}",
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Result of loading a processor's file: its declaration, or None and the error."""

    spec: Spec | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
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

    def load(self, script: Script, state: bytes | None = None) -> Loaded:
        """Load a processor from its file's text; if that fails, the version loaded before stays in use.

        Parameters
        ----------
        script
            The processor's file.
        state
            Pickled state to go on with; None = a new one.
        """
        try:
            processor = load(script)
            first_state = _restored(processor, state)
        except ProcessorError as error:
            return Loaded(None, str(error))
        except Exception as error:  # noqa: BLE001 - the user's function that makes a state may raise anything
            return Loaded(None, script.trace(error))
        self._processor, self._script, self._state = processor, script, first_state
        return Loaded(processor.spec)

    def reset(self) -> None:
        """Replace the processor's state by a new one, when a person presses reset on the page."""
        if self._processor is not None:
            self._state = _restored(self._processor, None)

    def run(self, frame: NDArray[Any], info: FrameInfo, values: dict[str, Value]) -> Answer:
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
            return Answer(as_declared(processor.spec, returned), "", self._pickled_state())
        except BaseException as error:  # noqa: BLE001 - a user's function may raise anything
            self._state = _restored(processor, before)
            return Answer({}, script.trace(error), before)

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
    if set(values) != set(names):
        shown = list(returned) if isinstance(returned, dict) else returned
        raise _unfit(spec, shown, f"a dict of {', '.join(names)}")
    results = {output.name: _as_output(output, values[output.name]) for output in spec.outputs}
    for output in spec.outputs:
        if results[output.name] is None:
            raise _unfit(spec, values[output.name], _EXPECTED[output.ndim].format(output.name))
    return results


def _as_output(output: Output, value: Any) -> Any:
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


def _unfit(spec: Spec, value: Any, expected: str) -> ProcessorError:
    text = f"ndarray of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)[:200]
    return ProcessorError(f"{spec.name} returned {text}; expected {expected}")

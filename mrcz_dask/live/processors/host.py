"""A processor at work, in a process of its own: what a Dask worker holds for one processor."""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.live.frames import FrameInfo
from mrcz_dask.live.processors.declare import Output, Processor, Profile, Scalar, Spec, Value
from mrcz_dask.live.processors.loading import Script, load, trace_of
from mrcz_dask.values.errors import ProcessorError


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of loading a file: what the processor says of itself, or why there is none."""

    spec: Spec | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a frame.

    Attributes
    ----------
    values
        By output: a float; (places, values), both float64; or a float32 image. Empty = nothing was said.
    error
        The traceback, if it raised.
    state
        The state afterwards, pickled, if it is to be kept.
    seconds
        In the function.
    """

    values: dict[str, Any]
    error: str = ""
    state: bytes | None = None
    seconds: float = 0.0


class Host:
    """Holds one processor and its state; a Dask actor, so that one call follows the other.

    Parameters
    ----------
    memory
        Bytes that the process may take beyond what it has now; None = no limit of ours.
    """

    def __init__(self, memory: int | None = None) -> None:
        self._made: Processor | None = None
        self._path = ""
        self._state: Any = None
        if memory is not None:
            limit_memory(memory)

    def process(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    def load(self, script: Script, state: bytes | None = None) -> Loaded:
        """Take a processor; the old one stays where the new one does not load.

        Parameters
        ----------
        script
            The file.
        state
            With which it goes on; None = a new one.
        """
        try:
            made = load(script)
            begun = self._unpickled(made, state)
        except ProcessorError as error:
            return Loaded(None, str(error))
        except Exception as error:  # noqa: BLE001 - what makes a state is the user's, too
            return Loaded(None, trace_of(error, script.path))
        self._made, self._path, self._state = made, script.path, begun
        return Loaded(made.spec)

    def _unpickled(self, made: Processor, state: bytes | None) -> Any:
        if state is not None and made.spec.on_failure == "keep":
            with suppress(Exception):  # of another version of the file: a new one
                return pickle.loads(state)  # noqa: S301 - made by this class, not by a file
        return made.begin() if "state" in made.spec.takes else None

    def reset(self) -> None:
        """Begin with a new state."""
        if self._made is not None:
            self._state = self._unpickled(self._made, None)

    def run(self, frame: NDArray[Any], info: FrameInfo, values: dict[str, Value]) -> Answer:
        """Return what the processor says of a frame; whatever it raises becomes a traceback.

        Parameters
        ----------
        frame
            (y, x), the region of interest.
        info
            Of the frame.
        values
            Its parameters.
        """
        made = self._made
        assert made is not None, "load comes first"
        before = self._kept(made)
        began = time.perf_counter()
        try:
            given = {"state": self._state, "info": info}
            said = made.function(frame, *(given[name] for name in made.spec.takes), **values)
            checked = as_declared(made.spec, said)
        except BaseException as error:  # noqa: BLE001 - a user's function may raise anything
            self._state = self._unpickled(made, before)
            return Answer({}, trace_of(error, self._path), before)
        return Answer(checked, "", self._kept(made), time.perf_counter() - began)

    def _kept(self, made: Processor) -> bytes | None:
        if "state" not in made.spec.takes or made.spec.on_failure != "keep":
            return None
        try:
            return pickle.dumps(self._state, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001 - a state that cannot be kept begins anew after a failure
            return None


def as_declared(spec: Spec, said: Any) -> dict[str, Any]:
    """Return what a processor returned, as its outputs were declared.

    Raises
    ------
    ProcessorError
        It is something else; says what was expected.
    """
    if said is None:
        return {}
    names = [one.name for one in spec.outputs]
    if not isinstance(said, dict):
        if len(names) > 1:
            raise _unfit(spec, said, f"a dict of {', '.join(names)}")
        said = {names[0]: said}
    if set(said) != set(names):
        raise _unfit(spec, list(said), f"a dict of {', '.join(names)}")
    return {one.name: _CAST[one.ndim](spec, one, said[one.name]) for one in spec.outputs}


def _scalar(spec: Spec, output: Output, said: Any) -> float:
    found = np.asarray(said)
    if found.size != 1 or found.dtype.kind not in "iufb":
        raise _unfit(spec, said, f"one number for {output.name}")
    return float(found.reshape(()).item())


def _profile(spec: Spec, output: Output, said: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pair = said if isinstance(said, tuple) and len(said) == 2 else (None, said)
    values = np.asarray(pair[1])
    places = np.arange(values.size) if pair[0] is None else np.asarray(pair[0])
    if values.ndim != 1 or values.dtype.kind not in "iufb" or places.shape != values.shape:
        raise _unfit(spec, said, f"a 1-D array for {output.name}, or two of one length: places and values")
    return places.astype(np.float64), values.astype(np.float64)


def _image(spec: Spec, output: Output, said: Any) -> NDArray[np.float32]:
    found = np.asarray(said)
    if found.ndim != 2 or found.size == 0 or found.dtype.kind not in "iufb":
        raise _unfit(spec, said, f"a 2-D array of real numbers for {output.name}")
    return np.ascontiguousarray(found, dtype=np.float32)


_CAST: dict[int, Callable[[Spec, Output, Any], Any]] = {
    Scalar.ndim: _scalar,
    Profile.ndim: _profile,
    2: _image,
}


def _unfit(spec: Spec, said: Any, expected: str) -> ProcessorError:
    shape = f" of shape {said.shape}" if isinstance(said, np.ndarray) else ""
    text = f"{type(said).__name__}{shape}" if shape else repr(said)[:200]
    return ProcessorError(f"{spec.name} returned {text}; expected {expected}")


def limit_memory(extra: int) -> None:
    """Let this process take so many bytes more and no others: an allocation beyond raises MemoryError.

    The kernel counts private data (Linux alone does); elsewhere Dask's nanny is what ends the process.
    """
    if not sys.platform.startswith("linux"):
        return
    import resource

    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    used = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:"))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (used + extra, hard))

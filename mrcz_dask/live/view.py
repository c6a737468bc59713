"""State and last results of a live session in plain values, for the web page and the terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

import numpy as np

from mrcz_dask.live.frames import Roi
from mrcz_dask.live.processors.declare import Spec, Value

ProcessorStatus = Literal["starting", "waiting", "running", "paused", "failed", "restarting", "ended"]


@dataclass(frozen=True, slots=True)
class SourceState:
    """Record of the state of a live source: frame counts, rate, shape, pauses, errors.

    Attributes
    ----------
    name
        Name of the source.
    number
        Number of the newest frame; -1 before the first one.
    received, recorded
        Number of frames that have arrived, and that are recorded; `recorded` None = nothing is recorded.
    missing
        Number of frames that the source left out.
    rate
        Frames a second, over the last seconds.
    shape, dtype, pixel_size
        Shape, type and pixel size (Angstrom) of the newest frame.
    roi
        Region of interest of all processors; None = the whole frame, or they have different ones.
    paused
        True if all processors were paused.
    ended
        True if the source has no more frames.
    error
        The error that ended it; '' = none.
    """

    name: str
    number: int = -1
    received: int = 0
    recorded: int | None = None
    missing: int = 0
    rate: float = 0.0
    shape: tuple[int, int] | None = None
    dtype: str = ""
    pixel_size: float | None = None
    roi: Roi | None = None
    paused: bool = False
    ended: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class PanelState:
    """Record of the state of one live processor: status, parameters, frame counts, speed, last error.

    Attributes
    ----------
    name
        Name of the processor in this session; two of one name get numbers.
    file
        Name of its file.
    spec
        Its declaration; None before it is loaded.
    values
        Its parameters.
    status
        ``failed``: its last frame or load raised, or its worker was lost; it goes on with the next frame.
    trace
        The traceback of the last failure, '' after a good frame.
    load_error
        The error in the edited file; the old version goes on.
    version
        Number of versions of the file that were loaded.
    processed, skipped, failed, restarts
        Number of frames that are done; that were not looked at; that raised or lost the worker; number of
        workers that were replaced.
    rate
        Frames a second, over the last seconds.
    lag
        Seconds from a frame's arrival to its result, for the last one.
    behind
        Frames between the source's newest one and the last one done.
    number
        Number of the last frame done; -1 before the first one.
    roi
        Region of interest; None = the whole frame.
    """

    name: str
    file: str
    spec: Spec | None = None
    values: dict[str, Value] = field(default_factory=dict)
    status: ProcessorStatus = "starting"
    trace: str = ""
    load_error: str = ""
    version: int = 0
    processed: int = 0
    skipped: int = 0
    failed: int = 0
    restarts: int = 0
    rate: float = 0.0
    lag: float = 0.0
    behind: int = 0
    number: int = -1
    roi: Roi | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Record of a processor's output values for one frame.

    Attributes
    ----------
    number, time
        Number of the frame, and seconds since 1970.
    values
        By output: a float, a profile (positions (n,), values (n,)) both float64, or an image (y, x) float32.
    """

    number: int
    time: float
    values: dict[str, Any]


SCALARS, IMAGES = 4000, 4
BYTES = 64_000_000
WINDOW = 5.0


class Recent:
    """Keeps a processor's last results in memory for the page: many if they are small, few images."""

    def __init__(self) -> None:
        self._results: deque[Result] = deque()
        self._bytes, self._end, self._lock = 0, 0, Lock()

    def add(self, result: Result) -> None:
        """Add a result, and drop the oldest ones beyond the limits."""
        with self._lock:
            self._results.append(result)
            self._bytes += _nbytes(result)
            self._end += 1
            while len(self._results) > SCALARS or (self._bytes > BYTES and len(self._results) > IMAGES):
                self._bytes -= _nbytes(self._results.popleft())

    def since(self, place: int) -> tuple[int, Sequence[Result]]:
        """Return the number of results so far, and those kept from number `place` on,
        so that a page gets only new ones.
        """
        with self._lock:
            first = self._end - len(self._results)
            skip = max(0, place - first) if place <= self._end else 0
            return self._end, list(self._results)[skip:]

    def clear(self) -> None:
        """Forget all results and number new ones from 0, after a reset."""
        with self._lock:
            self._results.clear()
            self._bytes = self._end = 0


def _nbytes(result: Result) -> int:
    total = 64
    for value in result.values.values():
        parts = value if isinstance(value, tuple) else (value,)
        total += sum(part.nbytes if isinstance(part, np.ndarray) else 8 for part in parts)
    return total


class Rate:
    """Measures how often something happens per second, such as processed frames, over the last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._times: deque[float] = deque(maxlen=10_000)

    def count(self) -> None:
        """Count one frame at the present time."""
        with self._lock:
            self._times.append(self._clock())

    def per_second(self) -> float:
        """Return the number of frames per second, over the last seconds."""
        now = self._clock()
        with self._lock:
            while self._times and now - self._times[0] > WINDOW:
                self._times.popleft()
            if len(self._times) < 2:
                return len(self._times) / WINDOW
            return len(self._times) / max(now - self._times[0], WINDOW / 10)

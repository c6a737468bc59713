"""Keeps a processor's last results in memory for the page, and measures frames per second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from mrcz_dask.live.view import Result

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
        """Count one event at the present time."""
        with self._lock:
            self._times.append(self._clock())

    def per_second(self) -> float:
        """Return the number of events per second, over the last seconds."""
        now = self._clock()
        with self._lock:
            while self._times and now - self._times[0] > WINDOW:
                self._times.popleft()
            if len(self._times) < 2:
                return len(self._times) / WINDOW
            return len(self._times) / max(now - self._times[0], WINDOW / 10)

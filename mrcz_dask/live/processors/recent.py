"""The last results of a processor, for a page; and how many came a second."""

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
    """Keeps the last results: many small ones, few images."""

    def __init__(self) -> None:
        self._kept: deque[Result] = deque()
        self._bytes, self._end, self._lock = 0, 0, Lock()

    def add(self, result: Result) -> None:
        """Add a result."""
        with self._lock:
            self._kept.append(result)
            self._bytes += _size(result)
            self._end += 1
            while len(self._kept) > SCALARS or (self._bytes > BYTES and len(self._kept) > IMAGES):
                self._bytes -= _size(self._kept.popleft())

    def since(self, place: int) -> tuple[int, Sequence[Result]]:
        """Return the place behind the last result, and what is kept from a place on."""
        with self._lock:
            first = self._end - len(self._kept)
            skip = max(0, place - first) if place <= self._end else 0
            return self._end, list(self._kept)[skip:]

    def clear(self) -> None:
        """Forget all, and count from 0."""
        with self._lock:
            self._kept.clear()
            self._bytes = self._end = 0


def _size(result: Result) -> int:
    return 64 + sum(_bytes(value) for value in result.values.values())


def _bytes(value: object) -> int:
    if isinstance(value, tuple):
        return sum(_bytes(one) for one in value)
    return value.nbytes if isinstance(value, np.ndarray) else 8


class Rate:
    """Counts a second over the last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._times: deque[float] = deque(maxlen=10_000)

    def count(self, many: int = 1) -> None:
        """Count some now."""
        with self._lock:
            self._times.extend([self._clock()] * many)

    def per_second(self) -> float:
        """Return how many there were a second."""
        now = self._clock()
        with self._lock:
            while self._times and now - self._times[0] > WINDOW:
                self._times.popleft()
            if len(self._times) < 2:
                return len(self._times) / WINDOW
            return len(self._times) / max(now - self._times[0], WINDOW / 10)

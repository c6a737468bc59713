"""Processes frames in several threads, with results in order and few of them in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

from mrcz_dask.values.stopping import check_stop
from mrcz_dask.values.timing import carried, phase

T = TypeVar("T")


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pipeline(Generic[T]):
    """Runs functions in `nthreads` threads and passes their results on in the order of submission.

    With one thread each job runs at once in the caller's. At most ``2 * nthreads`` results wait, so that
    memory does not depend on the number of jobs. Leaving the ``with`` block waits for all jobs.
    """

    def __init__(self, nthreads: int, consume: Callable[[T], None]) -> None:
        self._consume = consume
        self._limit = 2 * nthreads
        self._waiting: deque[Future[T]] = deque()
        self._pool = ThreadPoolExecutor(nthreads) if nthreads > 1 else None

    def submit(self, job: Callable[[], T]) -> None:
        """Submit a function without arguments; an error of an earlier one may be raised here."""
        check_stop()
        if self._pool is None:
            self._consume(job())
            return
        self._waiting.append(self._pool.submit(carried(job)))
        self._drain_to(self._limit)

    def drain(self) -> None:
        """Wait for all submitted functions and pass their results on."""
        self._drain_to(0)

    def _drain_to(self, limit: int) -> None:
        while len(self._waiting) > limit:
            with phase("blocked"):
                result = self._waiting.popleft().result()
            self._consume(result)

    def close(self) -> None:
        """Stop the threads, and drop results that were not passed on yet."""
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.drain()
        finally:
            self.close()

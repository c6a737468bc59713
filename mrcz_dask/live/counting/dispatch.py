"""Tasks of a stream on workers, one by one: sent straight to a worker, and once more if that is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.counter import Batch
from mrcz_dask.engine.client import LONGEST_WAIT, DaskClient
from mrcz_dask.engine.client import Client as TaskClient
from mrcz_dask.live.counting.shipping import SentTask, count_sent
from mrcz_dask.values.errors import SessionError

if TYPE_CHECKING:
    from distributed import Client

# How often frames are sent again when their worker was lost.
RETRIES = 5
PAUSE = 0.5
_LOST = ("cancelled", "lost")


class Flight(Protocol):
    """A task that is on its way."""

    def done(self) -> bool:
        """Return whether there is a result, or an error."""
        ...

    def result(self) -> Any:
        """Return it, or raise it."""
        ...


class Dispatch:
    """Where tasks of a stream go: to the workers of a scheduler, or to a thread of this process.

    Parameters
    ----------
    client
        Of a scheduler, or serial.
    """

    def __init__(self, client: TaskClient) -> None:
        self._closing = ExitStack()
        self._client = client.client if isinstance(client, DaskClient) else None
        self._pool = self._closing.enter_context(ThreadPoolExecutor(1, "counting"))

    def count(self, task: SentTask) -> Flight:
        """Count frames."""
        if self._client is None:
            return self._pool.submit(count_sent, task)
        return _Sent(self._client, task)

    def run(self, function: Callable[[Any], Any], task: Any) -> Flight:
        """Run something small that needs nothing but its task."""
        if self._client is None:
            made: Future[Any] = self._pool.submit(function, task)
            return made
        return self._client.submit(function, task, pure=False)

    def close(self) -> None:
        """Let what runs in this process end."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Sent:
    """Frames at a worker. Through the scheduler they would take seven times as long.

    What the scheduler does not hold it cannot give to another worker: that is done here.
    """

    def __init__(self, client: Client, task: SentTask) -> None:
        self._client, self._task, self._tries = client, task, 0
        self._future = self._send()

    def _send(self) -> Any:
        blob = np.frombuffer(b"".join(self._task.chunks), np.uint8)
        data = self._scattered(blob)
        sizes = tuple(map(len, self._task.chunks))
        return self._client.submit(_count, replace(self._task, chunks=()), sizes, data, pure=False)

    def _scattered(self, blob: NDArray[np.uint8]) -> Any:
        end = time.monotonic() + LONGEST_WAIT
        while True:
            try:
                return self._client.scatter(blob, direct=True, hash=False)
            except (OSError, TimeoutError, CancelledError) as error:
                if time.monotonic() >= end or self._client.status != "running":
                    raise SessionError(
                        f"no worker takes frames ({error}); what was acknowledged is safe: run again to go on"
                    ) from error
                time.sleep(PAUSE)

    def done(self) -> bool:
        if self._future.status in _LOST and self._tries < RETRIES:
            self._send_again()
        return bool(self._future.done())

    def result(self) -> Any:
        while True:
            try:
                return self._future.result()
            except CancelledError as error:  # also of a worker that is lost between the end and this
                if self._tries == RETRIES:
                    raise SessionError(
                        f"frames were sent to {self._tries + 1} workers that were lost; is there too little "
                        "memory? what was acknowledged is safe: run again to go on"
                    ) from error
                self._send_again()

    def _send_again(self) -> None:
        self._tries += 1
        self._future = self._send()


def _count(task: SentTask, sizes: tuple[int, ...], blob: NDArray[np.uint8]) -> Batch:
    edges = np.cumsum([0, *sizes]).tolist()
    data = np.ascontiguousarray(blob)
    chunks = tuple(data[a:b].tobytes() for a, b in pairwise(edges))
    return count_sent(replace(task, chunks=chunks))

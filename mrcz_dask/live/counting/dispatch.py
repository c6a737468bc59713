"""Sends frames to workers one batch after the other, and again if a worker is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.counter import Batch
from mrcz_dask.engine.client import LONGEST_WAIT, DaskClient
from mrcz_dask.engine.client import Client as TaskClient
from mrcz_dask.live.counting.shipping import SentTask, count_sent
from mrcz_dask.values.errors import SessionError

if TYPE_CHECKING:
    from distributed import Client

RETRIES = 5  # after a lost worker
PAUSE = 0.5
_LOST = ("cancelled", "lost")


class Dispatch:
    """Submits tasks of a stream to the workers of a scheduler, or to a thread of this process.

    Parameters
    ----------
    client
        Client of a scheduler, or a serial one.
    """

    def __init__(self, client: TaskClient) -> None:
        self._client = client.client if isinstance(client, DaskClient) else None
        self._thread = ThreadPoolExecutor(1, "counting")

    def count(self, task: SentTask) -> Future[Any] | SentFrames:
        """Count the electrons of frames."""
        return (
            self._thread.submit(count_sent, task) if self._client is None else SentFrames(self._client, task)
        )

    def run(self, function: Callable[[Any], Any], task: Any) -> Any:
        """Run a small function that needs only its task."""
        if self._client is None:
            return self._thread.submit(function, task)
        return self._client.submit(function, task, pure=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown()


class SentFrames:
    """Frames at a worker, sent straight to it: through the scheduler they would take seven times as long.

    The scheduler does not hold these data, so that this class sends them again if a worker is lost.
    """

    def __init__(self, client: Client, task: SentTask) -> None:
        self._client, self._task, self._retries = client, task, 0
        self._send()

    def _send(self) -> None:
        sizes = tuple(map(len, self._task.chunks))
        blob = np.frombuffer(b"".join(self._task.chunks), np.uint8)
        end = time.monotonic() + LONGEST_WAIT
        while True:
            try:
                data = self._client.scatter(blob, direct=True, hash=False)
                break
            except (OSError, TimeoutError, CancelledError) as error:
                if time.monotonic() >= end or self._client.status != "running":
                    raise SessionError(
                        f"no worker takes frames ({error}); what was acknowledged is safe: run again to go on"
                    ) from error
                time.sleep(PAUSE)
        task = replace(self._task, chunks=())
        self._future = self._client.submit(_count_blob, task, sizes, data, pure=False)

    def done(self) -> bool:
        """Return True if there is a result or an error."""
        if self._future.status in _LOST and self._retries < RETRIES:
            self._send_again()
        return bool(self._future.done())

    def result(self) -> Batch:
        """Return the electrons.

        Raises
        ------
        SessionError
            Too many workers were lost.
        """
        while True:
            try:
                batch: Batch = self._future.result()
                return batch
            except CancelledError as error:  # also of a worker that is lost after `done`
                if self._retries == RETRIES:
                    raise SessionError(
                        f"frames were sent to {RETRIES + 1} workers that were lost; is there too little "
                        "memory? what was acknowledged is safe: run again to go on"
                    ) from error
                self._send_again()

    def _send_again(self) -> None:
        self._retries += 1
        self._send()


def _count_blob(task: SentTask, sizes: tuple[int, ...], blob: NDArray[np.uint8]) -> Batch:
    edges = np.cumsum([0, *sizes]).tolist()
    data = np.ascontiguousarray(blob)
    return count_sent(replace(task, chunks=tuple(data[a:b].tobytes() for a, b in pairwise(edges))))

"""Carrying out tasks: one after the other, or on a Dask cluster; the same results either way.

Tasks come in segments: those of one segment run in order, one at a time, so that the window which a worker
keeps from one stack to the next moves by one; segments run side by side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from mrcz_dask.values.errors import SessionError

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")

Segments = Sequence[Sequence[T]]
# Seconds after which tasks are looked after that may wait for a lost worker.
PATIENCE = 10


class Executor(Protocol):
    """Runs segments of tasks and yields (task, result or the error that a lost worker left).

    Attributes
    ----------
    slots
        How many tasks run at a time.
    threads
        How many of them in one process.
    """

    slots: int
    threads: int

    def describe(self) -> dict[str, Any]:
        """Return what it is, for the journal of runs."""
        ...

    def run(self, function: Callable[[T], R], segments: Segments[T]) -> Iterator[tuple[T, R | Exception]]:
        """Yield every task with its result, in any order."""
        ...


class SerialExecutor:
    """The reference: one task after the other in this process."""

    slots = 1
    threads = 1

    def describe(self) -> dict[str, Any]:
        """Return what it is, for the journal of runs."""
        return {"kind": "serial"}

    def run(self, function: Callable[[T], R], segments: Segments[T]) -> Iterator[tuple[T, R | Exception]]:
        """Yield every task with its result, in order."""
        for segment in segments:
            for task in segment:
                yield task, function(task)


class DaskExecutor:
    """Runs at most one task for each thread of the cluster at a time.

    Parameters
    ----------
    client
        A connected client.
    retries
        How often a task is tried again after its worker was lost.
    """

    def __init__(self, client: Client, retries: int = 3) -> None:
        self._client = client
        self._retries = retries
        threads = client.nthreads()
        self.slots = max(1, sum(threads.values()))
        self.threads = max(threads.values(), default=1)
        self._workers = len(threads)

    def describe(self) -> dict[str, Any]:
        """Return what it is, for the journal of runs."""
        return {"kind": "dask", "workers": self._workers, "threads": self.slots}

    def run(self, function: Callable[[T], R], segments: Segments[T]) -> Iterator[tuple[T, R | Exception]]:
        """Yield every task with its result, as they finish."""
        from distributed import as_completed

        waiting = deque(deque(segment) for segment in segments if segment)
        running: dict[Future[Any], _Running[T]] = {}
        for _ in range(min(self.slots, len(waiting))):
            self._start(function, waiting.popleft(), "", running)
        while running:
            # With results: fetching one of a worker that is lost at that moment is left to Dask's own loop.
            finished = as_completed(
                list(running), loop=self._client.loop, with_results=True, raise_errors=False, timeout=PATIENCE
            )
            try:
                for future, found in finished:
                    done = running.pop(future)
                    where, result = _unpacked(future, found)
                    yield done.task, result
                    if done.rest or waiting:
                        rest, near = (done.rest, where) if done.rest else (waiting.popleft(), "")
                        finished.add(self._start(function, rest, near, running))
            except TimeoutError:
                self._rescue(function, running)

    def _start(
        self, function: Callable[[T], R], rest: deque[T], near: str, running: dict[Future[Any], _Running[T]]
    ) -> Future[Any]:
        """Submit the next task of a segment, on the worker that holds its window where that is known."""
        task = rest.popleft()
        place = {"workers": [near], "allow_other_workers": True} if near else {}
        future = self._client.submit(_here, function, task, pure=False, retries=self._retries, **place)
        running[future] = _Running(task, rest, near)
        return future

    def _rescue(self, function: Callable[[T], R], running: dict[Future[Any], _Running[T]]) -> None:
        """Submit again what waits for a worker that is gone: the scheduler lets it wait for ever."""
        try:
            there = self._client.nthreads()
        except OSError as error:
            raise _lost() from error
        for future, one in list(running.items()):
            if one.near and one.near not in there:
                del running[future]
                one.rest.appendleft(one.task)
                self._start(function, one.rest, "", running)


@dataclass(frozen=True, slots=True)
class _Running(Generic[T]):
    """A task that was submitted, what comes after it, and the worker that was asked for ('' = any)."""

    task: T
    rest: deque[T]
    near: str


def _here(function: Callable[[T], R], task: T) -> tuple[str, R]:
    from distributed import get_worker

    return get_worker().address, function(task)


def _unpacked(future: Future[Any], found: Any) -> tuple[str, Any]:
    """Return worker and result; in the result's place the error of a task that took all its workers along."""
    if isinstance(found, CancelledError):
        raise _lost() from found
    if future.status == "error":
        return "", found[1]
    worker, result = found
    return worker, result


def _lost() -> SessionError:
    return SessionError(
        "the Dask scheduler was lost; what is done stays: run again to go on with the other stacks"
    )


def segments_of(tasks: Sequence[T], slots: int, longest: int = 64) -> list[Sequence[T]]:
    """Return tasks cut into runs of neighbours: one for each slot, or more where these would be long."""
    length = min(longest, -(-len(tasks) // max(1, slots))) or 1
    return [tasks[k : k + length] for k in range(0, len(tasks), length)]

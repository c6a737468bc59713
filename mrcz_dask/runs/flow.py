"""Tasks on their way through the workers of a Dask cluster.

Every slot of a worker works off a line of tasks, one after the other, so that what a task leaves in the
worker's memory serves the next one, and no worker has more tasks at a time than it has memory for. A slot
whose line is at its end takes a waiting one, or the second half of the longest. Lines of a worker that is
lost go on in others.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from mrcz_dask.runs.allocator import keep_memory
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.stopping import check_stop

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")
R = TypeVar("R")

# Front, which stays, and back, which another slot takes (may be empty).
Split = Callable[[Sequence[T]], tuple[Sequence[T], Sequence[T]]]
# Seconds after which lost workers, new ones and a wish to stop are looked for.
PATIENCE = 1
# Seconds without any worker after which a run ends.
LONGEST_WAIT = 600
# A task that takes so much longer than the longest before it, and so many seconds at least, hangs: its worker
# is given up. Workers that say nothing at all are given up by the scheduler (its `worker-ttl`).
MUCH_LONGER, HANGING = 20, 1800.0


class Workers(Protocol):
    """What a flow knows of the workers."""

    client: Client
    retries: int

    def room(self) -> dict[str, int]:
        """Return how many tasks at a time each worker takes."""
        ...

    def give_up(self, worker: str) -> None:
        """Take a worker out of the cluster, whatever it does."""
        ...


@dataclass(slots=True)
class _Line(Generic[T]):
    """Tasks that run one after the other, and how often a worker was lost with the first of them."""

    tasks: deque[T]
    losses: int = 0


@dataclass(frozen=True, slots=True)
class _Running(Generic[T]):
    """A task that was submitted, to which worker and when, and what comes after it."""

    task: T
    worker: str
    losses: int
    line: _Line[T]
    since: float


class Flow(Generic[T, R]):
    """One function over segments of tasks.

    Parameters
    ----------
    workers
        Where, and how many tasks at a time.
    function
        What is done with each task.
    segments
        Each is a line.
    split
        Cuts a line in two.
    """

    def __init__(
        self,
        workers: Workers,
        function: Callable[[T], R],
        segments: Sequence[Sequence[T]],
        split: Split[T],
    ) -> None:
        self._workers = workers
        self._client = workers.client
        self._function = function
        self._split = split
        self._waiting = deque(_Line(deque(segment)) for segment in segments if segment)
        self._running: dict[Future[Any], _Running[T]] = {}
        self._longest = 0.0

    def results(self) -> Iterator[tuple[T, R | Exception]]:
        """Yield every task with its result, as they finish."""
        yield from self._look_after()
        while self._running or self._waiting:
            check_stop()
            if self._running:
                yield from self._finished()
            else:
                self._wait_for_workers()
            yield from self._look_after()

    def _finished(self) -> Iterator[tuple[T, R | Exception]]:
        """Yield what finishes, and fill its place, until nothing has for a while."""
        from distributed import as_completed

        # With results: fetching one of a worker that is lost at that moment is left to Dask's own loop.
        finished = as_completed(
            list(self._running),
            loop=self._client.loop,
            with_results=True,
            raise_errors=False,
            timeout=PATIENCE,
        )
        try:
            for future, found in finished:
                check_stop()
                done = self._running.pop(future)
                self._longest = max(self._longest, time.monotonic() - done.since)
                result = _result(future, found)
                line = done.line if done.line.tasks else self._another()
                if line is not None:
                    finished.add(self._start(line, done.worker))
                yield done.task, result
        except TimeoutError:
            return

    def _start(self, line: _Line[T], worker: str) -> Future[Any]:
        task, losses = line.tasks.popleft(), line.losses
        line.losses = 0
        # As bytes: the scheduler would otherwise make objects of it, and bytes again.
        packed = pickle.dumps((self._function, task))
        future = self._client.submit(_run, packed, workers=[worker], pure=False)
        self._running[future] = _Running(task, worker, losses, line, time.monotonic())
        return future

    def _another(self) -> _Line[T] | None:
        """Return a line for a slot that has none; None where there is nothing left to share."""
        if self._waiting:
            return self._waiting.popleft()
        longest = max((one.line for one in self._running.values()), key=lambda x: len(x.tasks), default=None)
        if longest is None or not longest.tasks:
            return None
        front, back = self._split(list(longest.tasks))
        if not back:
            return None
        longest.tasks = deque(front)
        return _Line(deque(back))

    def _look_after(self) -> Iterator[tuple[T, Exception]]:
        """Take the tasks of lost workers back, and fill free slots; yield tasks that lost too many."""
        room = self._workers.room()
        for worker in self._hanging():
            self._workers.give_up(worker)
            room.pop(worker, None)
        gone = [future for future, one in self._running.items() if one.worker not in room]
        for one in [self._running.pop(future) for future in gone]:
            if one.losses < self._workers.retries:
                one.line.tasks.appendleft(one.task)
                one.line.losses = one.losses + 1
            else:
                yield one.task, _worker_lost(one.losses + 1)
            if one.line.tasks:
                self._waiting.appendleft(one.line)
        for worker in self._free(room):
            line = self._another()
            if line is None:
                return
            self._start(line, worker)

    def _hanging(self) -> set[str]:
        """Return the workers whose tasks do not come to an end."""
        limit = max(HANGING, MUCH_LONGER * self._longest)
        now = time.monotonic()
        return {one.worker for one in self._running.values() if now - one.since > limit}

    def _free(self, room: dict[str, int]) -> list[str]:
        """Return the free slots by their workers: first one of each, then the second of each ..."""
        busy = Counter(one.worker for one in self._running.values())
        slots = [(k, worker) for worker, most in room.items() for k in range(busy[worker], most)]
        return [worker for _, worker in sorted(slots)]

    def _wait_for_workers(self) -> None:
        time.sleep(1)  # those that are there may be about to end
        end = time.monotonic() + LONGEST_WAIT
        while not self._workers.room():  # asking may start new ones
            if time.monotonic() >= end:
                raise SessionError(
                    "all workers were lost; what is done stays: run again to go on with the other stacks"
                )
            check_stop()
            try:
                self._client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError:
                continue
            except OSError as error:
                raise scheduler_lost() from error


def halves(tasks: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Cut tasks in two; the second part is the longer one."""
    return tasks[: len(tasks) // 2], tasks[len(tasks) // 2 :]


def _run(packed: bytes) -> Any:
    keep_memory()
    function, task = pickle.loads(packed)  # noqa: S301 - Dask's own channel, see the security notes there
    return function(task)


def _result(future: Future[Any], found: Any) -> Any:
    """Return the result; in its place the error of a task that could not be run."""
    if isinstance(found, CancelledError):
        raise scheduler_lost() from found
    return found[1] if future.status == "error" else found


def scheduler_lost() -> SessionError:
    """Return what is said when the scheduler is gone."""
    return SessionError(
        "the Dask scheduler was lost; what is done stays: run again to go on with the other stacks"
    )


def _worker_lost(times: int) -> SessionError:
    return SessionError(
        f"its worker was lost {times} times; was there too little memory (--memory)? run again to try again"
    )

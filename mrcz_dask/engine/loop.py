"""The loop of every run: submit the tasks that can run, collect finished ones, until none is left."""

from __future__ import annotations

import errno
import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import count
from operator import add
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from mrcz_dask.engine.client import Client
from mrcz_dask.values.errors import (
    DamagedError,
    DamagedSumError,
    MrczDaskError,
    SessionError,
    error_text,
    is_usage_error,
)
from mrcz_dask.values.records import COPIES, DamagedSum, Failure
from mrcz_dask.values.stopping import check_stop
from mrcz_dask.values.timing import Clock, Timing

# What a network file system says while its server is away, or came back as another.
PASSING = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENOENT,
    errno.ENODEV,
    errno.ENXIO,
}
# Seconds for which a folder that is gone is waited for, and between looks; then how often a task is tried.
LONGEST_OUTAGE = 900.0
PAUSE = 1.0
TRIES = 2


class Named(Protocol):
    """Protocol of a task's argument: the name of its stack, and the files and folders that the task needs."""

    @property
    def name(self) -> str:
        """Name of the stack."""
        ...

    @property
    def places(self) -> tuple[str, ...]:
        """Files and folders that must exist for the task."""
        ...


R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Timed(Generic[R]):
    """Result of a task together with its measured times, or None if they were not measured."""

    result: R
    timing: Timing | None


class CopiesError(SessionError):
    """Most stacks around a stack are copies of the same data, so that no reference can be made for it."""


def attempt(function: Callable[..., R], phase: str, task: Named, *state: Any) -> R | Failure:
    """Run one stack's task and return its result, or a `Failure` record if it raises;
    tries again if that may help.

    Whatever goes wrong with one stack - damaged files, full disks, shapes that nobody foresaw - is its own
    failure with its reason; the other stacks go on. A folder that is gone, as shared ones are for a while, is
    waited for, and the task tried again; so is one that read what may have been passing.
    """
    for left in reversed(range(TRIES)):
        try:
            return function(task, *state)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw is one stack's failure
            if left == 0 or not _may_pass(error, task):
                return failure(task, phase, error)
    raise AssertionError("the last try ends in a result or a failure")


def _may_pass(error: Exception, task: Named) -> bool:
    """Wait for folders that are gone; say whether another try may go better."""
    gone = [place for place in task.places if not is_there(place)]
    if not gone:
        passing = any(
            isinstance(cause, DamagedError) or (isinstance(cause, OSError) and cause.errno in PASSING)
            for cause in _causes(error)
        )
        if passing:
            time.sleep(PAUSE)
            check_stop()
        return passing
    end = time.monotonic() + LONGEST_OUTAGE
    while time.monotonic() < end:
        time.sleep(PAUSE)
        check_stop()
        if all(map(is_there, gone)):
            return True
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_there(place: str) -> bool:
    """Return True if a file or folder can be reached now, such as a network folder after an outage."""
    try:
        Path(place).stat()
    except OSError:
        return False
    return True


def timed(function: Callable[..., R], on: bool, *arguments: Any) -> Timed[R]:
    """Call a function and return its result, with the time spent in each phase if `on`."""
    if not on:
        return Timed(function(*arguments), None)
    with Clock() as clock:
        result = function(*arguments)
    return Timed(result, clock.timing())


def failure(task: Named, phase: str, error: BaseException) -> Failure:
    """Return the `Failure` record of a stack whose task raised an error, with a reason for the user."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        reason = f"{error.filename}: it is gone since the run began; put it back and run again"
    elif isinstance(error, MrczDaskError | OSError) and str(error):
        reason = error_text(error)
    else:
        reason = f"{type(error).__name__}: {error}"
    for cause in _causes(error):
        if isinstance(cause, DamagedSumError):
            return DamagedSum(task.name, phase, reason, stem=cause.stem)
    return Failure(
        task.name, COPIES if isinstance(error, CopiesError) else phase, reason, is_usage_error(error)
    )


# Seconds that the loop waits for a result before it looks round.
TICK = 0.2
# Tasks that are handed over in one go, at least, and seconds until the next go: the scheduler starts tasks
# only when it has read all that has come in.
BURST, MOMENT = 32, 0.01
# States of chains that are kept: tasks come chain by chain, and a state is as large as a task's images. And
# results of shared tasks, which are small.
CHAINS, SHARED = 2, 256


@dataclass(frozen=True, slots=True)
class Step:
    """Description of an intermediate result that a task needs, such as the sum of a window;
    often made from the one before.

    A state is made from the one before it in its chain, on the worker that has that, and again from the
    beginning of the chain where it was lost. Chains are short, as the scheduler keeps all tasks of one.

    Attributes
    ----------
    name
        Name in Dask's dashboard.
    function
        Gets the state before, or None, and the argument; what it was given must stay as it is.
    argument
        Plain values.
    chain
        Name of the chain; None = it is of no chain, and gone when the task is done.
    needs
        Tasks that several states share, whose results the function gets behind the argument.
    """

    name: str
    function: Callable[..., Any]
    argument: Any
    chain: Hashable | None
    needs: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """Description of one task of a stack: name, function, argument, priority,
    and the intermediate result it needs.

    Attributes
    ----------
    name
        Name in Dask's dashboard, such as ``sum-stack``.
    phase
        Name of the phase in messages.
    function
        Gets the argument, and the state of `step` if there is one.
    argument
        Plain values that know the stack's name, and the folders without which it cannot be done.
    priority
        Smaller ones run first.
    step
        The state that it needs, if any.
    """

    name: str
    phase: str
    function: Callable[..., Any]
    argument: Named
    priority: int = 0
    step: Step | None = None


class Job(Protocol):
    """Protocol of jobs, which tell the loop what tasks can run now and receive their results."""

    def take(self, task: Task, result: Timed[Any]) -> None:
        """Receive the result of a task, or its failure."""
        ...

    def ready(self) -> Iterable[Task]:
        """Return tasks that can run now and were not returned before; called again and again."""
        ...

    def over(self) -> bool:
        """Return True if the job has no task left; the loop asks when no task is running."""
        ...


@dataclass(slots=True)
class Loop:
    """Submits the tasks of a job to a client and passes the results back, until none is left.

    Parameters
    ----------
    client
        Where tasks run.
    take_times
        Whether results say where their time went.
    """

    client: Client
    take_times: bool = False
    _waiting: list[tuple[int, int, Task]] = field(default_factory=list)
    _running: dict[Any, Task] = field(default_factory=dict)
    _chains: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)
    _shared: OrderedDict[Named, Any] = field(default_factory=OrderedDict)
    _order: Iterator[int] = field(default_factory=count)

    def run(self, job: Job) -> None:
        """Run all tasks of a job; one that raises becomes a failure of its stack, and the others go on.

        Raises
        ------
        SessionError
            When no task can be done any more: the scheduler, or all workers, are lost.
        """
        for _ in self.steps(job):
            pass

    def steps(self, job: Job) -> Iterator[None]:
        """Run all tasks of a job as a generator, which yields each time results have been received."""
        while True:
            check_stop()
            for task in job.ready():
                heapq.heappush(self._waiting, (task.priority, next(self._order), task))
            room = self.client.ahead - len(self._running)
            for _ in range(min(room, len(self._waiting), max(BURST, self.client.slots))):
                check_stop()
                self._submit(heapq.heappop(self._waiting)[2])
            if not self._running and job.over():
                return
            more = self._waiting and len(self._running) < self.client.ahead
            for future, result in self.client.finished(MOMENT if more else TICK if self._running else 0):
                task = self._running.pop(future)
                if isinstance(result, Exception):
                    result = Timed(failure(task.argument, task.phase, result), None)
                job.take(task, result)
            yield

    def _submit(self, task: Task) -> None:
        work = partial(_work, partial(attempt, task.function, task.phase), self.take_times)
        state = () if task.step is None else (self._state(task.step, task.priority),)
        future = self.client.submit(task.name, work, task.argument, *state, priority=task.priority)
        self._running[future] = task
        self.client.watch(future)

    def _state(self, step: Step, priority: int) -> Any:
        needs = [self._result(task) for task in step.needs]
        before = None if step.chain is None else self._chains.pop(step.chain, None)
        work = partial(_advance, step.function, self.take_times)
        state = self.client.submit(step.name, work, before, step.argument, *needs, priority=priority)
        if step.chain is not None:
            self._chains[step.chain] = state
        while len(self._chains) > CHAINS:
            self._chains.popitem(last=False)
        return state

    def _result(self, task: Task) -> Any:
        if task.argument not in self._shared:
            work = partial(attempt, task.function, task.phase)
            self._shared[task.argument] = self.client.submit(
                task.name, work, task.argument, priority=task.priority
            )
        self._shared.move_to_end(task.argument)
        while len(self._shared) > SHARED:
            self._shared.popitem(last=False)
        return self._shared[task.argument]


def _advance(
    function: Callable[..., Any], on: bool, before: Timed[Any] | None, argument: Any, *needs: Any
) -> Timed[Any]:
    """Make the next state of a chain."""
    return timed(function, on, before and before.result, argument, *needs)


def _work(function: Callable[..., Any], on: bool, argument: Named, *state: Timed[Any]) -> Timed[Any]:
    """Do a task on its state, whose time counts to it."""
    own = timed(function, on, argument, *(before.result for before in state))
    times = [part.timing for part in (own, *state) if part.timing is not None]
    return Timed(own.result, reduce(add, times) if times else None)


@dataclass(slots=True)
class _Tasks:
    """A job of tasks that are all known at its beginning."""

    tasks: Sequence[Task]
    results: list[tuple[Any, Any]] = field(default_factory=list)

    def take(self, task: Task, result: Timed[Any]) -> None:
        """Keep the result of a task."""
        self.results.append((task.argument, result.result))

    def ready(self) -> Iterable[Task]:
        """Return all tasks, the first time."""
        tasks, self.tasks = self.tasks, ()
        return tasks

    def over(self) -> bool:
        """Return True: no task follows from another."""
        return True


def carry_out(client: Client, tasks: Sequence[Task]) -> Iterator[tuple[Any, Any | Failure]]:
    """Run tasks that are all known from the start; yield each task's argument and result as they finish.

    Parameters
    ----------
    client
        Client on which the tasks run.
    tasks
        In any order; those of smaller priority run first.
    """
    job = _Tasks(tasks)
    for _ in Loop(client).steps(job):
        yield from job.results
        job.results.clear()

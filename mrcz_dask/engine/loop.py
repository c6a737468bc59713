"""The loop of every run: submit the tasks that can run, collect finished ones, until none is left."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import count
from operator import add
from typing import Any, Protocol

from mrcz_dask.engine.attempt import Named, Timed, attempt, failure, timed
from mrcz_dask.engine.client import Client
from mrcz_dask.values.records import Failure
from mrcz_dask.values.stopping import check_stop

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
        What Dask's dashboard calls it.
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
        What Dask's dashboard calls it, such as ``sum-stack``.
    phase
        What messages call it.
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
        Where.
    tasks
        In any order; those of smaller priority run first.
    """
    job = _Tasks(tasks)
    for _ in Loop(client).steps(job):
        yield from job.results
        job.results.clear()

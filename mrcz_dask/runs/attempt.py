"""The boundary at which one bad stack is kept from stopping the night."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mrcz_dask.values.errors import MrczDaskError
from mrcz_dask.values.records import Failure
from mrcz_dask.values.timing import Clock, Timing


class Named(Protocol):
    """A task that knows the name of its stack."""

    @property
    def name(self) -> str:
        """Of the stack."""
        ...


T = TypeVar("T", bound=Named)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Timed(Generic[R]):
    """What a task gave, and the time that it took where that was asked for."""

    result: R
    timing: Timing | None


def attempt(function: Callable[[T], R], phase: str, task: T) -> R | Failure:
    """Return function(task), or the failure of this one stack.

    Whatever goes wrong with one stack - damaged files, full disks, shapes that nobody foresaw - is its own
    failure with its reason; the other stacks go on.
    """
    try:
        return function(task)
    except Exception as error:  # noqa: BLE001
        return failure(task, phase, error)


def timed(function: Callable[[T], R], on: bool, task: T) -> Timed[R]:
    """Return what function(task) gives, with the time that it took if that is asked for."""
    if not on:
        return Timed(function(task), None)
    with Clock() as clock:
        result = function(task)
    return Timed(result, clock.timing())


def failure(task: Named, phase: str, error: BaseException) -> Failure:
    """Return the failure of a stack with the error's own words, and its type where the words are not ours."""
    ours = isinstance(error, MrczDaskError | OSError)
    reason = str(error) if ours and str(error) else f"{type(error).__name__}: {error}"
    return Failure(task.name, phase, reason)

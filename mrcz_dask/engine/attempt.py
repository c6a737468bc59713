"""Turns an error in one stack's task into a recorded failure, so that the run goes on with the others."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

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
        except Exception as error:  # noqa: BLE001
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

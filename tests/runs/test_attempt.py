"""One bad stack is its own failure, and its time is known like that of the others."""

from dataclasses import dataclass
from functools import partial

import pytest

from mrcz_dask.runs.attempt import attempt, failure, timed
from mrcz_dask.values.errors import FormatError
from mrcz_dask.values.records import Failure
from mrcz_dask.values.timing import phase


@dataclass(frozen=True)
class Task:
    name: str
    error: Exception | None = None


def work(task: Task) -> str:
    with phase("fit"):
        if task.error is not None:
            raise task.error
    return task.name.upper()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FormatError("a.mrcz: no stack"), "a.mrcz: no stack"),
        (ValueError("odd"), "ValueError: odd"),
        (OSError(), "OSError: "),
    ],
)
def test_an_error_is_the_failure_of_its_stack(error: Exception, reason: str) -> None:
    expected = Failure("a", "correction", reason)
    assert (
        attempt(work, "correction", Task("a", error)) == expected == failure(Task("a"), "correction", error)
    )
    assert attempt(work, "correction", Task("a")) == "A"


def test_times_are_taken_if_asked_for() -> None:
    tried = partial(attempt, work, "correction")
    assert timed(tried, False, Task("a")).timing is None
    for task, result in [
        (Task("a"), "A"),
        (Task("b", ValueError("x")), Failure("b", "correction", "ValueError: x")),
    ]:
        found = timed(tried, True, task)
        assert found.result == result
        assert found.timing is not None
        assert {s.phase for s in found.timing.spent} == {"fit", "other"}

"""One bad stack is its own failure, and its time is known like that of the others."""

import errno
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from mrcz_dask.engine import loop as attempts
from mrcz_dask.engine.loop import attempt, failure, timed
from mrcz_dask.values.errors import DamagedError, FormatError, SpaceError
from mrcz_dask.values.records import Failure
from mrcz_dask.values.timing import phase


@dataclass(frozen=True)
class Task:
    name: str
    error: Exception | None = None
    places: tuple[str, ...] = ()


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


class Fails:
    """Fails with errors, one after the other, and then does not."""

    def __init__(self, *errors: Exception) -> None:
        self.left = list(errors)

    def __call__(self, task: Task) -> str:
        if self.left:
            raise self.left.pop(0)
        return "done"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of them in fact."""
    made: list[float] = []
    monkeypatch.setattr(attempts.time, "sleep", made.append)
    return made


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ESTALE, "Stale file handle"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        DamagedError("a chunk is gone"),
        caused(SpaceError("cannot write"), OSError(errno.EIO, "Input/output error")),
    ],
)
def test_what_may_pass_is_tried_again(error: Exception, pauses: list[float]) -> None:
    assert attempt(Fails(error), "correction", Task("a")) == "done"
    assert isinstance(attempt(Fails(error, error), "correction", Task("a")), Failure)


@pytest.mark.parametrize("error", [ValueError("odd"), OSError(errno.ENOSPC, "full"), FormatError("no stack")])
def test_what_stays_is_not(error: Exception, pauses: list[float]) -> None:
    assert isinstance(attempt(Fails(error), "correction", Task("a")), Failure)
    assert pauses == []


def test_a_folder_that_is_gone_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "share"
    pauses = []

    def come_back(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            place.mkdir()

    monkeypatch.setattr(attempts.time, "sleep", come_back)
    assert attempt(Fails(ValueError("whatever")), "correction", Task("a", places=(str(place),))) == "done"
    assert len(pauses) == 5


def test_a_folder_that_stays_away_is_the_stacks_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LONGEST_OUTAGE", 0.0)
    task = Task("a", places=(str(tmp_path / "nowhere"),))
    assert attempt(Fails(OSError("gone")), "correction", task) == Failure("a", "correction", "gone")


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

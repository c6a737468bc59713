"""Frames that were sent to a worker which is lost before its result is fetched are sent to another one."""

from concurrent.futures import CancelledError
from typing import Any

import pytest

from mrcz_dask.live.counting.dispatch import RETRIES, SentFrames
from mrcz_dask.live.counting.shipping import SentTask
from mrcz_dask.values.errors import SessionError

TASK = SentTask(0, (b"frame",), "<u2", None, False)  # type: ignore[arg-type]


class Losing:
    """A client whose first workers are lost as soon as they are done."""

    status = "running"

    def __init__(self, lost: int) -> None:
        self.lost, self.sent = lost, 0

    def scatter(self, blob: Any, **options: Any) -> Any:
        return blob

    def submit(self, *arguments: Any, **options: Any) -> Any:
        self.sent += 1
        return Finished(self.sent > self.lost)


class Finished:
    status = "finished"

    def __init__(self, sound: bool) -> None:
        self.sound = sound

    def done(self) -> bool:
        return True

    def result(self) -> str:
        if not self.sound:
            raise CancelledError("already forgotten")
        return "counted"


def test_a_result_that_is_lost_before_it_is_fetched_is_made_again() -> None:
    client = Losing(1)
    flight = SentFrames(client, TASK)  # type: ignore[arg-type]
    assert flight.done() and flight.result() == "counted" and client.sent == 2


def test_frames_that_every_worker_is_lost_with_end_the_run() -> None:
    client = Losing(100)
    with pytest.raises(SessionError, match=rf"sent to {RETRIES + 1} workers that were lost"):
        SentFrames(client, TASK).result()  # type: ignore[arg-type]
    assert client.sent == RETRIES + 1

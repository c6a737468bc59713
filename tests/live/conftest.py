"""Processors as a user writes them, a source of numbered frames, and workers that tests share."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.live.frames import Frame, Publish
from mrcz_dask.live.processors.host import Script
from mrcz_dask.live.processors.pool import Pool, open_pool
from mrcz_dask.live.session import LiveParams, LiveSession
from mrcz_dask.values.messages import Message

HEAD = """
import os, sys, time
import numpy as np
from typing import Annotated, Literal
from mrcz_dask.live import Image, Profile, Range, Scalar, processor
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Script]:
    """write(name, body): a processor's file."""

    def make(name: str, body: str) -> Script:
        path = tmp_path / f"{name}.py"
        path.write_text(HEAD + body)
        return Script.parse(str(path))

    return make


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    with open_pool(ClientOptions(), 2, 400_000_000, lambda message: None) as made:
        yield made


class Numbers:
    """A source of frames that wait for each other: frame k holds the number k."""

    name = "numbers"

    def __init__(self, numbers: Sequence[int], shape: tuple[int, int] = (6, 8), seconds: float = 0.0) -> None:
        self._numbers, self._shape, self._seconds = numbers, shape, seconds

    def frame(self, k: int) -> NDArray[Any]:
        made = np.full(self._shape, k, np.uint16)
        made[0] = 0
        return made

    def run(self, publish: Publish, stop: Event) -> None:
        for k in self._numbers:
            if stop.wait(self._seconds):
                return
            publish([Frame(k, 1e9 + k, self.frame(k), "stack", k)])


class Ears:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.told: list[Message] = []

    def __call__(self, message: Message) -> None:
        self.told.append(message)

    def of(self, kind: type) -> list[Any]:
        return [one for one in self.told if isinstance(one, kind)]


def run_all(
    pool: Pool, source: Any, scripts: Sequence[Script], ears: Ears | None = None, **options: Any
) -> LiveSession:
    """Run a session to its end; every processor sees every frame unless told otherwise."""
    params = options.pop("params", LiveParams(every=True, seconds=5))
    session = LiveSession(source, scripts, pool, ears or Ears(), params, **options)
    session.start()
    session.wait()
    session.close()
    return session

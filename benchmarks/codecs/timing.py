"""Wall and processor time of calls that take turns."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from mrcz_dask.values.messages import Message
from mrcz_dask.values.stopping import check_stop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BenchStep(Message):
    """One measurement is done: of which part, of what, and how many there are."""

    part: str
    name: str
    done: int
    of: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds of one call: on the clock, and of all its threads and programs together."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of a call, over its repeats.

    Attributes
    ----------
    wall, cpu
        Medians: on the clock, and of all threads and programs together.
    lowest, highest
        On the clock.
    """

    wall: float
    cpu: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Timing:
        """Return the medians and the range of samples."""
        walls = [one.wall for one in samples]
        return cls(median(walls), median(one.cpu for one in samples), min(walls), max(walls))


def timed(call: Callable[[], T]) -> tuple[T, Sample]:
    """Call, and return what came back and the seconds that it took; no garbage is collected meanwhile."""
    check_stop()
    with _no_garbage_collection():
        cpu, wall = _processor_time(), time.perf_counter()
        result = call()
        wall = time.perf_counter() - wall
        return result, Sample(wall, _processor_time() - cpu)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _processor_time() -> float:
    """Seconds of this process, all threads, and of programs that it started and that ended."""
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + programs.ru_utime + programs.ru_stime


def turns(several: Iterable[T], repeats: int) -> Iterator[tuple[int, T]]:
    """Yield places and things `repeats` times, every other time from the last to the first.

    So what a machine does beside the benchmark, or does to it when it gets warm, meets all alike.
    """
    order = list(enumerate(several))
    for repeat in range(repeats):
        yield from reversed(order) if repeat % 2 else order

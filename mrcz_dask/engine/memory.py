"""Estimates the memory of a task and how many tasks a worker can run; makes malloc keep freed memory."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.texts import readable

# A process before its first stack, and the bytes per image pixel that a task holds (windows, transforms,
# corrections, noise scores, a frame as read and as written); measured with 512 to 11520 pixels a side, and
# with malloc as `keep_memory` sets it. `python -m benchmarks --only estimate` compares it with the peak.
PROCESS_BYTES = 350_000_000
BYTE_PIXEL, WIDE_PIXEL, FLOAT_PIXEL = 80, 115, 140
HALF_OUTPUT = 20
GAIN_PIXEL = 20
# Bytes more for each of the first 4 Mi pixels, which the sums of 48 stacks take side by side.
POOLED_PIXELS, POOLED_BYTE, POOLED_WIDE = 1 << 22, 45, 100


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Estimated peak memory of a worker, in bytes: of the process itself,
    and of each task that runs at a time.

    Attributes
    ----------
    process
        Before its first task, bytes.
    task
        Memory of each task, bytes; the same for any number of stacks and of frames.
    """

    process: int
    task: int

    def of(self, tasks: int) -> int:
        """Return the peak memory in bytes of a worker that runs `tasks` at a time."""
        return self.process + tasks * self.task

    def tasks(self, limit: float, threads: int) -> int:
        """Return how many tasks a worker can run at a time within `limit` bytes; at most one a thread."""
        if limit >= self.of(threads):
            return threads
        return max(0, math.floor((limit - self.process) / self.task))


def estimate_memory(
    shape: tuple[int, int], dtypes: Iterable[np.dtype[Any]], output: str, *, gained: bool = False
) -> MemoryEstimate:
    """Estimate a worker's peak memory for the stacks of a session, from frame size and pixel types.

    Parameters
    ----------
    shape
        (ny, nx) of the frames.
    dtypes
        Types of the stacks' pixels.
    output
        Type of the corrected pixels.
    gained
        Whether a gain is applied.
    """
    kinds = {"f": FLOAT_PIXEL}
    sizes = (kinds.get(each.kind, BYTE_PIXEL if each.itemsize == 1 else WIDE_PIXEL) for each in dtypes)
    pixel = max(sizes) + (HALF_OUTPUT if output == "float16" else 0) + GAIN_PIXEL * gained
    pixels = shape[0] * shape[1]
    pooled = POOLED_BYTE if pixel <= BYTE_PIXEL + HALF_OUTPUT + GAIN_PIXEL else POOLED_WIDE
    return MemoryEstimate(PROCESS_BYTES, max(pixels * pixel, min(pixels, POOLED_PIXELS) * (pixel + pooled)))


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """Record of the workers to start on one machine: their number, threads, memory, and tasks at a time.

    Attributes
    ----------
    workers
        Processes; 0 = this one alone.
    threads
        Threads of each worker.
    limit
        Memory of each worker, bytes.
    tasks
        At a time in each worker.
    """

    workers: int
    threads: int
    limit: int
    tasks: int

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a dictionary of plain values, for JSON."""
        return {
            "workers": self.workers,
            "threads": self.threads,
            "memory_limit": self.limit,
            "tasks_per_worker": self.tasks,
        }

    def __str__(self) -> str:
        if self.workers == 0:
            return f"this process alone, of at most {readable(self.limit)}"
        return (
            f"workers: {self.workers}, each of at most {readable(self.limit)}; threads: {self.threads} each; "
            f"stacks at a time: {self.tasks} each"
        )


def plan_workers(
    estimate: MemoryEstimate, machine: int, cores: int, workers: int | None, threads: int, memory: int | None
) -> WorkerPlan:
    """Return how many workers to start on a machine, and with how much memory, so that all tasks fit.

    Parameters
    ----------
    estimate
        Memory estimate of a worker.
    machine
        Memory of the machine, bytes.
    cores
        Cores of the machine.
    workers
        That are asked for; None = one for each core, or fewer where the memory asks for it.
    threads
        Threads of each worker.
    memory
        Limit of a worker, bytes; None = the machine's, shared out.

    Raises
    ------
    SessionError
        When not one task fits into a worker, or the workers not into the machine; with the number that would.
    """
    least = estimate.of(1)
    if workers is None:
        workers = max(1, min(cores, machine // estimate.of(estimate.tasks(memory, threads) if memory else 1)))
    limit = memory or machine // max(1, workers)
    tasks = estimate.tasks(limit, threads if workers else 1)
    if tasks == 0:
        problem = f"a stack needs {readable(least)} of memory, and a worker has {readable(limit)}"
        if least > machine:
            raise SessionError(f"{problem}; the machine has {readable(machine)}: use one with more memory")
        remedies = [f"--memory {math.ceil(least / 1e8) / 10:g}GB"] if memory is not None else []
        remedies += [f"fewer workers: --workers {machine // least}"] if workers > machine // least else []
        raise SessionError(f"{problem}; use {', and '.join(remedies)}")
    if max(1, workers) * estimate.of(tasks) > machine:
        each = estimate.of(tasks)
        raise SessionError(
            f"{workers} workers need {readable(each)} each, {readable(workers * each)} together; the machine "
            f"has {readable(machine)}; use fewer workers (--workers {max(1, machine // each)}), or less "
            "memory for each (--memory)"
        )
    return WorkerPlan(workers, threads, limit, tasks)


def tasks_per_worker(estimate: MemoryEstimate, workers: Iterable[tuple[float, int]]) -> list[int]:
    """Return how many tasks each worker of a running scheduler can run at a time with its memory.

    Parameters
    ----------
    estimate
        Memory estimate of a worker.
    workers
        Usable memory (0 = no limit) and threads of each.

    Raises
    ------
    SessionError
        When no worker can take any; says what the largest one has, and how much would do.
    """
    known = [(limit or math.inf, threads) for limit, threads in workers]
    tasks = [estimate.tasks(limit, threads) for limit, threads in known]
    if known and not any(tasks):
        raise SessionError(
            f"a stack needs {readable(estimate.of(1))} of memory in a worker; the largest worker of this "
            f"scheduler may use {readable(max(limit for limit, _ in known))}; start workers with more "
            "(dask worker --memory-limit)"
        )
    return tasks


def parse_memory(text: str) -> int:
    """Convert a size such as ``4GB`` or ``3.5 GiB`` to bytes.

    Raises
    ------
    ParameterError
        If it is none.
    """
    from dask.utils import parse_bytes

    try:
        size = int(parse_bytes(text)) if text[:1].isdigit() else 0
    except ValueError:
        size = 0
    if size <= 0:
        raise ParameterError(f"--memory is {text!r}; expected a size such as 4GB or 3.5GiB")
    return size


# Of glibc's malloc, which keeps freed memory for the next frame. Memory that a process touches for the first
# time costs as much as decoding a frame into it, and malloc gives everything above some 128 KiB back to the
# system as soon as it is freed: six stacks of 30 K2 frames make 800 000 page faults, and 80 000 with these
# settings. Threads get arenas of their own, whose heaps hold 64 MiB at most; larger arrays would be mapped
# and unmapped again, so that there is one arena for all. The price: a process keeps its peak until it ends;
# nothing but its peak may be compared with a limit.
# One arena; nothing is mapped on its own; the heap never shrinks, and grows by 64 MiB.
_GROWTH = 64 << 20


# Name in the environment: number for `mallopt`, value (-1 = without bounds), and default.
SETTINGS = {
    "MALLOC_ARENA_MAX": (-8, 1, 0),
    "MALLOC_MMAP_MAX_": (-4, 0, 65536),
    "MALLOC_TRIM_THRESHOLD_": (-1, -1, 128 << 10),
    "MALLOC_TOP_PAD_": (-2, _GROWTH, 128 << 10),
}


def environment() -> dict[str, str]:
    """Return environment variables that make malloc keep freed memory in
    worker processes started with them.
    """
    return {variable: str(value) for variable, (_, value, _) in SETTINGS.items()}


@cache
def keep_memory() -> bool:
    """Make malloc keep freed memory in this process for the next frames; return False if it is not glibc's.

    Threads that have an arena of their own by now keep it.
    """
    return _set({parameter: value for parameter, value, _ in SETTINGS.values()})


def give_back() -> None:
    """Reset malloc to its defaults and return freed memory to the system."""
    keep_memory.cache_clear()
    if _set({parameter: default for parameter, _, default in SETTINGS.values()}):
        ctypes.CDLL(None).malloc_trim(0)


def _set(values: dict[int, int]) -> bool:
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    taken = [library.mallopt(parameter, value) for parameter, value in values.items()]
    return 0 not in taken

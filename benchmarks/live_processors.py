"""What the processors of workflows/live cost a frame, against one real FFT of it, and against their budget.

Seconds are of processors, not of the clock, unless a row says so: others on the machine count less then.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft2

from benchmarks.harness import Amounts, Bench, at_most, row
from mrcz_dask.live import FrameInfo, Roi
from mrcz_dask.live.processors.declare import MARK, Processor

FOLDER = Path(__file__).parents[1] / "workflows" / "live"
NAMES = (
    "mean_dose",
    "phase_change",
    "radial_profile",
    "local_contrast",
    "drift",
    "crystallite_map",
    "particle_tracking",
)
SHAPE, LARGE = (870, 870), (3838, 3710)
ALL_SECONDS = 0.45  # of a processor: what leaves half of two cores at four frames a second
PROFILE_SECONDS = 0.25
LOOKS = 9


@cache
def frames(shape: tuple[int, int]) -> list[NDArray[np.uint16]]:
    """Counts of 20 with a dark particle on every 110 x 110 pixels, that go one way."""
    draws, (ny, nx) = np.random.default_rng(0), shape
    y, x = np.mgrid[:33, :33] - 16
    stamp = 10 * np.exp(-(y**2 + x**2) / 18)
    made = []
    for k in range(4):
        mean = np.full(shape, 20.0)
        for a in range(30 + 2 * k, ny - 40, 110):
            for b in range(30 + k, nx - 40, 110):
                mean[a : a + 33, b : b + 33] -= stamp
        made.append(draws.poisson(mean).astype(np.uint16))
    return made


def look_of(name: str, shape: tuple[int, int]) -> Callable[[], object]:
    """Return what looks at the next frame, to and fro, with the state of the last."""
    spec = importlib.util.spec_from_file_location(f"live_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    processor: Processor = getattr(getattr(module, name), MARK)
    state, number, order = processor.begin(), iter(range(10**9)), (0, 1, 2, 3, 2, 1)

    def look() -> object:
        k = next(number)
        known: dict[str, Any] = {"state": state, "info": _info(k, shape)}
        wanted = {key: known[key] for key in processor.spec.takes}
        return processor.function(frames(shape)[order[k % len(order)]], **wanted)

    return look


def _info(number: int, shape: tuple[int, int]) -> FrameInfo:
    return FrameInfo(number, number / 4, "stack", number, 1.0, {}, Roi(0, shape[0], 0, shape[1]), shape)


def one_of(name: str, shape: tuple[int, int], bench: Bench) -> Amounts:
    frame = frames(shape)[0].astype(np.float32)
    return Amounts(*_medians(time.process_time, look_of(name, shape), lambda: rfft2(frame)))


for _shape in (SHAPE, LARGE):
    for _name in NAMES:
        row(f"live: {_name}, {_shape[0]} x {_shape[1]}", rival="scipy.fft.rfft2 of the frame")(
            partial(one_of, _name, _shape)
        )


def _medians(clock: Callable[[], float], *calls: Callable[[], object]) -> list[float]:
    """Return the median of the seconds of calls in turn, behind two that make tables and buffers."""
    times = [[_seconds(clock, call) for call in calls] for _ in range(LOOKS + 2)][2:]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def _seconds(clock: Callable[[], float], call: Callable[[], object]) -> float:
    start = clock()
    call()
    return clock() - start


@row("live: all processors, 870 x 870, processor seconds", rival=f"{ALL_SECONDS} s", goal=at_most(1))
def all_processors(bench: Bench) -> Amounts:
    looks = [look_of(name, SHAPE) for name in NAMES]
    return Amounts(sum(_medians(time.process_time, *looks)), ALL_SECONDS)


@row("live: radial_profile, 3838 x 3710, by the clock", rival=f"{PROFILE_SECONDS} s", goal=at_most(1))
def profile(bench: Bench) -> Amounts:
    look = look_of("radial_profile", LARGE)
    return Amounts(*_medians(time.perf_counter, look), PROFILE_SECONDS)

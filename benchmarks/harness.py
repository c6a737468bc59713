"""Rows, their goals, and how a pair is timed."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Goal:
    """What a ratio must be: at least a speed, or at most a cost."""

    value: float
    kind: str  # "at least" or "at most"

    def met(self, ratio: float) -> bool:
        return ratio >= self.value if self.kind == "at least" else ratio <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.kind == 'at least' else '<='} {self.value:g}"


def at_least(value: float) -> Goal:
    """The rival's seconds over ours."""
    return Goal(value, "at least")


def at_most(value: float) -> Goal:
    """Our seconds, bytes or whatever over the rival's."""
    return Goal(value, "at most")


@dataclass(frozen=True)
class Pair:
    """Two things to time; `before` runs ahead of each, untimed."""

    ours: Callable[[], object]
    theirs: Callable[[], object]
    before: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Amounts:
    """Two numbers that need no repetition, such as sizes."""

    ours: float
    theirs: float


@dataclass(frozen=True)
class Row:
    name: str
    rival: str
    goal: Goal | None
    make: Callable[[Bench], Pair | Amounts]


ROWS: list[Row] = []
BEFORE = "an earlier commit (--before)"


def row(name: str, *, rival: str, goal: Goal | None = None) -> Callable[[Any], Any]:
    """Register a function of a `Bench` as a row; without a goal the ratio is our cost over the rival's."""

    def register(make: Callable[[Bench], Pair | Amounts]) -> Callable[[Bench], Pair | Amounts]:
        ROWS.append(Row(name, rival, goal, make))
        return make

    return register


def counts(dose: float, shape: tuple[int, ...], seed: int = 1) -> NDArray[np.int8]:
    """Return Poisson counts."""
    return np.random.default_rng(seed).poisson(dose, shape).astype(np.int8)


def movie(shape: tuple[int, int, int], seed: int) -> NDArray[np.int8]:
    """Return a stack (n, y, x) of 1 e-/pix with 3 % of fixed pattern, the same for all seeds.

    Pixels are independent between frames: frames that repeat would make sums wider than counting does, and
    patterns of nothing would make outputs that compress better than real ones.
    """
    n, ny, nx = shape
    detector, draws = np.random.default_rng(0), np.random.default_rng((1, seed))
    pixels = detector.standard_normal((ny, nx), dtype=np.float32)
    columns = detector.standard_normal(nx, dtype=np.float32)
    extra = np.clip(0.1 * (1 + 0.25 * pixels + 0.15 * columns), 0, 1).reshape(-1)
    pool = [draws.poisson(0.9, ny * nx).astype(np.int8) for _ in range(min(n, 8))]
    stack = np.empty((n, ny * nx), np.int8)
    for k, frame in enumerate(stack):
        frame[:] = np.roll(pool[k % len(pool)], draws.integers(ny * nx))
        frame += draws.random(ny * nx, dtype=np.float32) < extra
    return stack.reshape(shape)


@dataclass
class Bench:
    """What rows share: a folder for files, the size of the stacks, the number of threads, a checkout of an
    earlier commit.
    """

    folder: Path
    quick: bool
    threads: int
    repeats: int
    before: Path | None = None
    shape: tuple[int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.shape = (24, 1919, 1855) if self.quick else (60, 3838, 3710)

    @cached_property
    def stack(self) -> NDArray[np.int8]:
        """(n, ny, nx) at 1 e-/pix: a few frames of noise, shifted against each other."""
        frames = [counts(1.0, self.shape[1:], seed) for seed in range(6)]
        stack = np.empty(self.shape, np.int8)
        for i, frame in enumerate(stack):
            frame[:] = np.roll(frames[i % len(frames)], 7919 * i)
        return stack


@dataclass(frozen=True)
class Result:
    name: str
    rival: str
    goal: str
    ratio: float
    lowest: float
    highest: float
    ours: float
    theirs: float
    met: bool | None


def measure(one: Row, bench: Bench) -> Result:
    """Measure a row: the median of the ratios of alternating pairs."""
    made = one.make(bench)
    pairs = [(made.ours, made.theirs)] if isinstance(made, Amounts) else _timed(made, bench)
    faster = one.goal is not None and one.goal.kind == "at least"
    ratios = [theirs / ours if faster else ours / theirs for ours, theirs in pairs]
    ratio = statistics.median(ratios)
    return Result(
        one.name,
        one.rival,
        str(one.goal) if one.goal else "",
        ratio,
        min(ratios),
        max(ratios),
        statistics.median(ours for ours, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
        one.goal.met(ratio) if one.goal else None,
    )


def _timed(pair: Pair, bench: Bench) -> list[tuple[float, float]]:
    pair.ours(), pair.theirs()
    found = []
    for k in range(bench.repeats):
        if k % 2:
            theirs, ours = _seconds(pair.theirs, pair, bench), _seconds(pair.ours, pair, bench)
        else:
            ours, theirs = _seconds(pair.ours, pair, bench), _seconds(pair.theirs, pair, bench)
        found.append((ours, theirs))
    return found


def _seconds(call: Callable[[], object], pair: Pair, bench: Bench) -> float:
    pair.before()
    gc.collect()
    touch_memory(int(np.prod(bench.shape)) * 3 // 2)
    start = time.perf_counter()
    result = call()
    elapsed = time.perf_counter() - start
    del result
    return elapsed


def touch_memory(nbytes: int) -> None:
    """Touch as much memory as a call needs.

    A virtual machine may hand pages that were free for two seconds back to its host; touching them again then
    takes ten times as long as decoding into them, and whichever side comes first pays.
    """
    np.empty(nbytes, np.uint8)[::4096] = 1


def table(results: Iterable[Result]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| what | against | goal | measured | from pairs | ours / theirs | |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in results:
        verdict = {True: "met", False: "**missed**", None: ""}[one.met]
        spread = "" if one.lowest == one.highest else f"{one.lowest:.2f}-{one.highest:.2f}"
        amounts = f"{one.ours:.4g} / {one.theirs:.4g}"
        cells = (one.name, one.rival, one.goal, f"{one.ratio:.3f}", spread, amounts, verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)

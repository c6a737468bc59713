"""Held-out correlated noise of the five named sessions, method by method; prints a Markdown table.

Usage: python docs/study/koma_table.py [SEED ...]     (default: seeds 0 to 3; some minutes)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.bands import make_bands
from mrcz_dask.numerics.contrast import BlockMeans, block_means, judge
from mrcz_dask.numerics.correction import make_correction
from mrcz_dask.numerics.koma import Finder
from mrcz_dask.numerics.neighbours import near_another
from mrcz_dask.numerics.noise import correlated_noise
from mrcz_dask.numerics.outliers import outlier_mask
from mrcz_dask.numerics.parts import MeanImage, References, look
from mrcz_dask.numerics.references import Member, WindowSum
from mrcz_dask.numerics.regression import fit_bands, pattern_of
from mrcz_dask.numerics.simulate import SESSIONS, named, simulate_session
from mrcz_dask.numerics.sums import StackSum, sum_stack
from mrcz_dask.numerics.weights import is_masked
from mrcz_dask.values.params import ContrastParams, KomaParams
from mrcz_dask.values.windows import koma_window, long_window

STACKS = (5, 20, 30, 45, 59)
METHODS = ("raw", "filter only", "plain", "fit", "limit", "true pattern")
PARAMS = KomaParams(radius=12)

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """What is kept of a stack that is scored."""

    frames: NDArray[np.integer]
    truth: Image


@dataclass(frozen=True)
class Session:
    """First pass over a session: the members of windows, who is usable, and the stacks to score."""

    members: list[Member]
    usable: list[bool]
    scored: dict[int, Scored]


def first_pass(name: str, seed: int) -> Session:
    """Simulate a session and find the masks of its stacks."""
    members, scored = [], {}
    grids: list[BlockMeans | None] = []
    for i, stack in enumerate(simulate_session(named(name, seed=seed, shape=(384, 384)))):
        total = sum_stack(stack.frames)
        found = outlier_mask(total)
        masked = np.flatnonzero(is_masked(found.weight255))
        members.append(Member(total.values, total.exponent, masked, found.mean, total.n))
        grids.append(block_means(total.total(), found.mask, ContrastParams().blocks))
        if i in STACKS:
            scored[i] = Scored(stack.frames, stack.truth.pattern)
    verdicts = judge(grids, PARAMS.radius, ContrastParams())
    return Session(members, [v.usable for v in verdicts], scored)


def references(session: Session, i: int) -> list[Image]:
    """Return the references of the short and of the long window of stack i."""
    usable, n = session.usable, len(session.members)
    short = koma_window(i, n, PARAMS.radius, usable)
    windows = [short, long_window(i, short[-1], PARAMS.long_window, usable)]
    found = []
    for window in windows if windows[1] != short else windows[:1]:
        total: WindowSum[int] = WindowSum(session.members[0].values.shape)
        total.move_to(window, 0, session.members.__getitem__)
        found.append(total.reference())
    return found


def patterns(
    even: StackSum, mask: NDArray[np.bool_], dose: float, refs: list[Image], truth: Image
) -> Iterator[Image]:
    """Yield what each method after `raw` takes off, counts per frame."""
    mean = MeanImage(even.values, 2.0**-even.exponent / even.n)
    bands = make_bands(even.shape, PARAMS.min_modes)
    yield np.zeros(even.shape, np.float32)
    yield Finder(refs, KomaParams(radius=12, method="plain")).find(mean, dose, mask).image
    yield Finder(refs, PARAMS).find(mean, dose, mask).image
    made = References.of(refs, bands)
    fits = fit_bands(look(MeanImage(truth), made, mask, bands), bands)
    yield pattern_of(fits, made, bands) * np.float32(dose)
    yield (truth - np.float32(1)) * np.float32(dose)


def scores(session: Session, i: int) -> list[float]:
    """Return R of each method on frames 1, 3, 5, ...; mask and coefficients are from frames 0, 2, 4, ..."""
    frames, truth = session.scored[i].frames, session.scored[i].truth
    even = sum_stack(frames[::2])
    found = outlier_mask(even)
    weight = found.weight255
    mask = is_masked(weight)
    near = near_another(mask, 2)
    result = [correlated_noise(frames[1::2])]
    for image in patterns(even, mask, found.mean / even.n, references(session, i), truth):
        mean = MeanImage(even.values, 2.0**-even.exponent / even.n)
        correction = make_correction("subtract", image, mean, weight, near)
        ready = correction.ready()
        result.append(correlated_noise(ready.apply(f) for f in frames[1::2]))
    return result


def main(seeds: list[int]) -> None:
    """Print the table."""
    table = {}
    for name in SESSIONS:
        rows = []
        for seed in seeds:
            session = first_pass(name, seed)
            rows += [scores(session, i) for i in STACKS]
            print(f"{name}, seed {seed}: {sum(session.usable)} usable", file=sys.stderr, flush=True)
        table[name] = np.array(rows) * 1e3
    print("| | " + " | ".join(SESSIONS) + " |")
    print("|---|" + "---|" * len(SESSIONS))
    for k, method in enumerate(METHODS):
        print(f"| {method} | " + " | ".join(f"{table[n][:, k].mean():.2f}" for n in SESSIONS) + " |")
    for k in (2, 3, 4):
        print(f"| removed by {METHODS[k]}, % | " + " | ".join(share(table[n], k) for n in SESSIONS) + " |")


def share(rows: NDArray[np.float64], k: int) -> str:
    """Return how much of what the true pattern removes method k removes; s.e. over stacks."""
    removable = (rows[:, 1] - rows[:, 5]).mean()
    if removable < 0.05:
        return "-"
    each = (rows[:, 1] - rows[:, k]) / removable * 100
    return f"{each.mean():.0f} ± {each.std(ddof=1) / np.sqrt(len(each)):.0f}"


if __name__ == "__main__":
    main([int(s) for s in sys.argv[1:]] or [0, 1, 2, 3])

"""What `fit` does to stacks with carbon edges or thick ice: error against the true pattern; a Markdown table.

Usage: python docs/study/carbon_table.py      (some two minutes; no option)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.reference.koma import PatternFit
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.numerics.reference.window import Member, WindowSum
from mrcz_dask.numerics.session.contrast import BlockMeans, block_means, judge_contrast
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.numerics.simulate.session import StackTruth
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.params import ContrastParams, KomaParams
from mrcz_dask.values.windows import koma_window, long_window

SHAPE, STACKS = (320, 320), 30
# A sum of 20 e-/pixel in few frames: the sums are those of 20 frames of 1 e-/pixel in 0.3 s each.
SUM = {"shape": SHAPE, "stacks": STACKS, "frames": 4, "dose": 5.0, "frame_time": 1.5, "drift": 2.0}
# Faint hot pixels are in all stacks as a pattern is.
NO_HOT = {"hot": (0.0, 0.0)}
KINDS = {"carbon": tuple(range(2, STACKS, 8)), "ice": tuple(range(6, STACKS, 8))}
ORDINARY = tuple(range(1, STACKS, 4))
SEEDS = range(12)
PARAMS = KomaParams(radius=12)

Floats = NDArray[np.float64]
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Session:
    """The members of windows, who is usable, and what is true."""

    members: list[Member]
    usable: list[bool]
    truths: list[StackTruth]

    def references(self, i: int) -> Iterator[Image]:
        """Yield those of stack i."""
        short = koma_window(i, STACKS, PARAMS.radius, self.usable)
        long = long_window(i, short[-1], PARAMS.long_window, self.usable)
        for window in (short, long) if len(long) != len(short) else (short,):
            total: WindowSum[int] = WindowSum(SHAPE)
            total.move_to(window, 0, self.members.__getitem__)
            yield total.reference()


def first_pass(name: str, seed: int, strength: float) -> Session:
    """Simulate a session with some stacks of high contrast."""
    strengths = {f"{kind}_strength": strength for kind in KINDS}
    members, truths = [], []
    grids: list[BlockMeans | None] = []
    for stack in simulate_session(named(name, seed=seed, **SUM, **NO_HOT, **KINDS, **strengths)):
        total = sum_stack(stack.frames)
        found = outlier_mask(total)
        masked = np.flatnonzero(is_masked(found.weight255))
        members.append(Member(total.values, total.exponent, masked, found.mean, total.n))
        grids.append(block_means(total.total(), found.mask, ContrastParams().blocks))
        truths.append(stack.truth)
    return Session(
        members, [v.usable for v in judge_contrast(grids, PARAMS.radius, ContrastParams())], truths
    )


def score(session: Session, i: int) -> tuple[float, ...]:
    """Return, relative to the dose, variances of the error before and after `fit`, the share of the contrast
    that it takes off, and R without correction, with `fit`, and with the true pattern taken off, as 20 frames
    of 1 e-/pixel have it.
    """  # fmt: skip
    one, truth = session.members[i], session.truths[i]
    mask = np.zeros(one.values.size, bool)
    mask[one.masked] = True
    mask = mask.reshape(SHAPE)
    dose, mean = one.mean / one.n, MeanImage(one.values, 2.0**-one.exponent / one.n)
    pattern = PatternFit(list(session.references(i)), PARAMS).find(mean, dose, mask).image
    good = ~mask & ~truth.dead

    def centered(image: Image) -> Floats:
        values = image[good].astype(np.float64) / dose
        return np.asarray(values - values.mean())

    specimen = truth.expected_sum / one.n / truth.pattern  # and carbon, ice
    error, taken, true = (centered(v) for v in (specimen * (truth.pattern - 1), pattern, specimen))
    contrast = float((true * taken).mean() / (true**2).mean())
    variances = [np.var(v) for v in (true + error, true + error - taken, true)]
    noise = [1e3 * v / (1 + v) for v in variances]
    return float((error**2).mean()), float(((error - taken) ** 2).mean()), contrast, *noise


def row(name: str, kind: str, scores: Sequence[tuple[float, ...]]) -> str:
    """Return a row of the table."""
    before, after, contrast, *noise = np.array(scores).T
    deviations = " | ".join(f"{100 * np.sqrt(v.mean()):.2f}" for v in (before, after))
    rises = [f"{np.sum(one > noise[0] + 1e-9)}" for one in noise[1:]]
    return " | ".join(
        (
            f"| {name} | {kind} | {len(scores)} | {deviations} | {np.sum(after > before + 1e-9)}",
            f"{1e6 * np.max(after - before):.1f} | {100 * contrast.mean():.3f}",
            *(f"{one.mean():.2f}" for one in noise),
            f"{rises[0]} | {rises[1]} |",
        )
    )


def main() -> None:
    """Print the table."""
    heads = "session", "stacks with", "number", "error, % of the dose", "after `fit`", "worse", "worst, 1e-6"
    others = "contrast taken, %", "R filter", "R fit", "R true", "R rises, fit", "R rises, true"
    print(f"| {' | '.join((*heads, *others))} |\n|{'---|' * 13}")
    for name in ("standard", "white", "no pattern"):
        for strength in (0.25, 0.5):
            sessions = [first_pass(name, seed, strength) for seed in SEEDS]
            groups = {f"{kind}, {strength:.0%}": of for kind, of in KINDS.items()}
            for kind, of in (groups | ({"neither": ORDINARY} if strength == 0.25 else {})).items():
                print(row(name, kind, [score(s, i) for s in sessions for i in of]), flush=True)


if __name__ == "__main__":
    main()

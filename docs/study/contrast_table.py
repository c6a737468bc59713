"""High-contrast stacks: how carbon and ice are found, and what is taken for them; prints Markdown tables.

Usage: python docs/study/contrast_table.py      (some four minutes; no option)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.session.contrast import BlockMeans, Usability, block_means, judge_contrast
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.params import ContrastParams

RADIUS = 12
PARAMS = ContrastParams()
# A sum of 30 e-/pixel in few frames: the sums are those of 30 frames of 1 e-/pixel in 0.3 s each.
SUM = {"shape": (512, 512), "frames": 5, "dose": 6.0, "frame_time": 1.8}
BAD = tuple(range(4, 60, 5))
SEEDS = (0, 1, 2)
STRENGTHS = (0.05, 0.10, 0.15, 0.20, 0.25)

Floats = NDArray[np.float64]


def verdicts(name: str, stacks: int, seed: int, **changes: object) -> list[Usability]:
    """Simulate a session and judge its stacks."""
    session = simulate_session(named(name, stacks=stacks, seed=seed, **SUM, **changes))
    grids: list[BlockMeans | None] = []
    for stack in session:
        total = sum_stack(stack.frames)
        grids.append(block_means(total.total(), outlier_mask(total).mask, PARAMS.blocks))
    return judge_contrast(grids, RADIUS, PARAMS)


def area(bad: Sequence[float], good: Sequence[float]) -> float:
    """Return the area under the receiver operating characteristic."""
    above = np.subtract.outer(np.asarray(bad), np.asarray(good))
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def found(kind: str, strength: float) -> str:
    """Return a row: AUC and share found, and normal stacks refused, over seeds."""
    areas, shares, wrong = [], [], 0
    for seed in SEEDS:
        told = verdicts("standard", 60, seed, **{kind: BAD, f"{kind}_strength": strength})
        bad = [told[i] for i in BAD]
        good = [one for i, one in enumerate(told) if i not in BAD]
        areas.append(area([v.score for v in bad], [v.score for v in good]))
        shares.append(np.mean([not v.usable for v in bad]))
        wrong += sum(not v.usable for v in good)
    spread = f"{min(areas):.3f}-{max(areas):.3f}"
    return f"| {kind} {strength:.0%} | {np.mean(areas):.3f} ({spread}) | {np.mean(shares):.0%} | {wrong} |"


def main() -> None:
    """Print the tables."""
    print("| | AUC, mean (range over seeds) | found | normal stacks refused |\n|---|---|---|---|")
    for kind in ("carbon", "ice"):
        for strength in STRENGTHS:
            print(found(kind, strength), flush=True)
    print("\n| session | normal stacks | refused | largest score |\n|---|---|---|---|")
    for name in ("standard", "evolving", "mature"):
        told = verdicts(name, 200, 10)
        worst = max(v.score for v in told)
        print(f"| {name} | 200 | {sum(not v.usable for v in told)} | {worst:.4f} |", flush=True)


if __name__ == "__main__":
    main()

"""Table of outliers that only many stacks show: found, and wrongly masked, by dose and persistence.

    python docs/study/pooled_table.py
    python docs/study/pooled_table.py --doses 6 --persistence 0.985 --size 128

Every row is a simulated session of 48 stacks. The truth is known: a pixel that is hot or dead. The last
columns are what a Markov chain finds that knows the rates, and how hot each pixel is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from mrcz_dask import outlier_mask
from mrcz_dask.numerics.outliers.pooled import pooled_outliers
from mrcz_dask.numerics.reference.structure import coarse_image
from mrcz_dask.numerics.simulate import named, simulate_session

STACKS, BLOCK, REACH, FRAMES = 48, 16, 12, 3
Masks = NDArray[np.bool_]
HEAD = "dose  persist | alone: prec recall >6s | pooled: prec recall >6s  dead early | joined: prec recall | "
HEAD += "known: recall >6s"


def pooled_masks(sums: NDArray[np.int32]) -> tuple[Masks, Masks]:
    """Masks of each stack alone, and by the sums of the stacks around it."""
    alone = [outlier_mask(total) for total in sums]
    grids = np.array([(1 + coarse_image(s, m.mask)) * m.mean for s, m in zip(sums, alone, strict=True)])
    pooled = np.zeros(sums.shape, bool)
    for start in range(0, len(sums), BLOCK):
        first, stop = max(0, start - BLOCK), min(len(sums), start + BLOCK)
        around, block = slice(first, stop + BLOCK), slice(start - first, stop - first)
        strip = sums[around].astype(np.float32)
        for k, one in enumerate(pooled_outliers([strip], grids[around], sums.shape[1:], block, 0.1), start):
            pooled[k].flat[np.concatenate([one.hot, one.dead])] = True
    return np.array([one.mask for one in alone]), pooled


def clear(excess: NDArray[np.float32], dose: float) -> Masks:
    """Pixels whose excess over the stacks within REACH, while they are hot without a break, is > 6 sigma."""
    stacks = (excess > 0).astype(float)
    for step in (-1, 1):
        alive = excess > 0
        for k in range(1, REACH + 1):
            moved = np.roll(excess > 0, -step * k, axis=0)
            moved[slice(None, k) if step < 0 else slice(-k, None)] = False
            alive = alive & moved
            stacks += alive
    return np.asarray(excess * np.sqrt(dose * stacks) > 6)


def known(sums: NDArray[np.int32], excess: NDArray[np.float32], expected: NDArray[np.float64]) -> Masks:
    """Hot pixels with a probability above 0.7, for one who knows the rates and the excess of each pixel."""
    hot = excess > 0
    y, x = np.nonzero(hot.any(axis=0))
    most = excess.max(axis=0)[y, x]
    ratio = np.exp(np.clip(sums[:, y, x] * np.log1p(most) - expected[:, y, x] * most, -300, 300))
    birth = (hot[1:] & ~hot[:-1]).sum() / (~hot[:-1]).sum()
    death = (~hot[1:] & hot[:-1]).sum() / hot[:-1].sum()
    steps = np.array([[1 - birth, birth], [death, 1 - death]])
    likely = np.stack([np.ones_like(ratio), ratio], axis=1)
    before, after = np.empty_like(likely), np.ones_like(likely)
    state = np.array([1 - hot.mean(), hot.mean()])[:, None]
    for t in range(len(sums)):
        before[t] = (steps.T @ before[t - 1] if t else state) * likely[t]
        before[t] /= before[t].sum(axis=0)
    for t in range(len(sums) - 1, 0, -1):
        after[t - 1] = steps @ (after[t] * likely[t])
        after[t - 1] /= after[t - 1].sum(axis=0)
    odds = before * after
    found = np.zeros(sums.shape, bool)
    found[:, y, x] = odds[:, 1] > 0.7 * odds.sum(axis=1)
    return found


def row(dose: float, persistence: float, size: int, seed: int) -> str:
    params = named(
        "standard", shape=(size, size), frames=FRAMES, stacks=STACKS, seed=seed, dose=dose / FRAMES,
        hot_persistence=persistence, dead=2e-4, dtype="uint16",
    )  # fmt: skip
    stacks = list(simulate_session(params))
    sums = np.array([stack.frames.sum(axis=0, dtype=np.int32) for stack in stacks])
    excess = np.array([stack.truth.hot_excess / stack.truth.dose for stack in stacks])
    dead = stacks[0].truth.dead
    truth, lasting = (excess > 0) | dead, clear(excess, dose)
    alone, pooled = pooled_masks(sums)
    good = np.array([stack.truth.expected_sum for stack in stacks]) / (1 + excess)
    best = known(sums, excess, good)
    born = (excess[3:] > 0) & ~(excess[2:-1] > 0) & ~(excess[1:-2] > 0) & ~(excess[:-3] > 0)
    early = (pooled[2:-1] | pooled[1:-2])[born].mean()
    parts = [[truth[m].mean(), m[truth].mean(), m[lasting].mean()] for m in (alone, pooled, pooled | alone)]
    texts = [" ".join(f"{value:.2f}" for value in part) for part in parts]
    return (
        f"{dose:4g}    {persistence:5g} |      {texts[0]} |       {texts[1]}   {pooled[:, dead].mean():.2f} "
        f"{early:.2f} |      {texts[2][:9]} |       {best[excess > 0].mean():.2f} {best[lasting].mean():.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--doses", type=float, nargs="+", default=[1, 3, 6, 20, 60, 400])
    parser.add_argument("--persistence", type=float, nargs="+", default=[0.9, 0.95, 0.985, 0.99])
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(HEAD)
    for persistence in options.persistence:
        for dose in options.doses:
            print(row(dose, persistence, options.size, options.seed), flush=True)


if __name__ == "__main__":
    main()

"""Rerun of the table of outlier masks: precision, recall and F1 on simulated stacks with known truth.

    python docs/study/outlier_table.py
    python docs/study/outlier_table.py --hot-median 2
    python docs/study/outlier_table.py --seeds 2 --size 256

Every row is the mean over stacks of 768 x 768 pixels that differ in their seed, 0, 1, 2, ...; the second line
of a row is the standard deviation from stack to stack.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.truth import hot_sigmas
from mrcz_dask import OutlierParams, outlier_mask
from mrcz_dask.numerics.simulate import named, simulate_session

PAGE = {
    (10, 0.005): (0.45, 0.54, 0.49, 0.88, 0.43, 0.58, 0.58),
    (30, 0.005): (0.37, 0.76, 0.50, 0.90, 0.66, 0.76, 0.76),
    (100, 0.0005): (0.39, 0.85, 0.54, 0.90, 0.79, 0.84, 0.86),
    (400, 0.005): (0.41, 0.97, 0.58, 0.93, 0.94, 0.93, 0.96),
}
DOSES = {10: 0.98, 30: 0.98, 100: 1.04, 400: 0.98}  # counts per pixel and frame; see outliers.md
TOLERANCE = 0.03
HEAD = "   D    eps         paper rule           fdr 0.1        best F1 | > 6 sigma: recall"


def scores(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Precision, recall and F1 of a mask, True = outlier."""
    hits, masked, wanted = (int(m.sum()) for m in (mask & truth, mask, truth))
    return hits / max(masked, 1), hits / wanted, 2 * hits / (masked + wanted)


def best_f1(total: NDArray[np.integer], truth: NDArray[np.bool_]) -> float:
    """Largest F1 of {S < low or S >= high} over every pair of thresholds on the sum S."""
    values, order = np.unique(total, return_inverse=True)
    pixels = np.bincount(order.ravel(), minlength=len(values))
    outliers = np.bincount(order.ravel()[truth.ravel()], minlength=len(values))
    below, hits_below = (np.append(0, np.cumsum(counts)) for counts in (pixels, outliers))
    above, hits_above = below[-1] - below, hits_below[-1] - hits_below
    lows = range(int(np.searchsorted(values, np.median(total))) + 1)
    return max(
        float(np.max(2 * (hits_above + hits_below[k])[k:] / (above + below[k] + truth.sum())[k:]))
        for k in lows
    )


def stack_scores(
    frames: int, eps: float, hot_median: float, dose: float, size: int, seed: int
) -> list[float]:
    """The columns of one stack."""
    params = named(
        "standard",
        shape=(size, size),
        frames=frames,
        stacks=1,
        dose=dose,
        dose_jitter=0.0,
        seed=seed,
        hot=(eps, eps),
        hot_median=hot_median,
    )
    stack = simulate_session(params).stack(0)
    total, truth = stack.frames.sum(axis=0, dtype=np.int64), stack.truth.mask
    paper, fdr = (outlier_mask(total, OutlierParams(rule=rule)).mask for rule in ("paper", "fdr"))
    hotter = hot_sigmas(stack.truth) > 6
    found = float(np.mean(fdr[hotter])) if hotter.any() else np.nan
    return [*scores(paper, truth), *scores(fdr, truth), best_f1(total, truth), found]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hot-median", type=float, default=1.0, help="median excess in units of the dose")
    parser.add_argument("--dose", type=float, default=None, help="counts per pixel and frame, in every row")
    parser.add_argument("--seeds", type=int, default=12, help="stacks a row")
    parser.add_argument("--size", type=int, default=768, help="pixels along a side")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(HEAD)
    for (frames, eps), page in PAGE.items():
        dose = DOSES[frames] if options.dose is None else options.dose
        one = partial(stack_scores, frames, eps, options.hot_median, dose, options.size)
        with ThreadPoolExecutor(options.threads) as pool:
            rows = np.array(list(pool.map(one, range(options.seeds))))
        alike = int((np.abs(rows[:, :7] - page) <= TOLERANCE + 1e-9).all(axis=1).sum())
        print(f"{frames:4d} {eps:6.2%} {line(rows.mean(axis=0))}")
        print(f"     +-      {line(rows.std(axis=0))}")
        print(f"     page    {line(np.array(page))}   ({alike} of {options.seeds} stacks within {TOLERANCE})")


def line(values: NDArray[np.float64]) -> str:
    """The columns as text."""
    texts = [f"{v:.3f}" for v in values]
    groups = (texts[:3], texts[3:6], texts[6:7], texts[7:])
    return "   ".join(" ".join(group) for group in groups)


if __name__ == "__main__":
    main()

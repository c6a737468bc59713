"""R of a perfect detector after the outlier filter, in sample and held out; prints a Markdown table.

Usage: python docs/study/bias_table.py [SEEDS]      (default: 20 stacks, a minute)
"""

from __future__ import annotations

import math
import sys

import numpy as np

from mrcz_dask.numerics.noise.correlation import correlated_noise
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.outliers.weights import is_masked, near_another
from mrcz_dask.numerics.reference.correction import make_correction
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.params import OutlierParams

FRAMES = 100


def predicted(t: float) -> float:
    """Return -delta / (n - 1) with delta = t phi(t) + Q(t) of a hard cut at t."""
    delta = t * math.exp(-t * t / 2) / math.sqrt(2 * math.pi) + 0.5 * math.erfc(t / math.sqrt(2))
    return -delta / (FRAMES - 1)


def scores(seed: int, params: OutlierParams) -> tuple[float, float, float]:
    """Return R in sample and held out, and what a hard cut at the hot threshold gives in sample."""
    detector = named(
        "no pattern", seed=seed, shape=(384, 384), frames=FRAMES, stacks=1, specimen=0.0, hot=(0.005, 0.005)
    )
    frames = simulate_session(detector).stack(0).frames
    result, threshold = [], 0.0
    for some, rest in ((frames, frames), (frames[::2], frames[1::2])):
        total = sum_stack(some)
        found = outlier_mask(total, params)
        threshold = threshold or params.rho * found.t_hot
        mean = MeanImage(total.values, 2.0**-total.exponent / total.n)
        near = near_another(is_masked(found.weight255), 2)
        ready = make_correction("subtract", None, mean, found.weight255, near).ready()
        result.append(correlated_noise(ready.apply(frame) for frame in rest))
    return result[0], result[1], predicted(threshold)


def main(seeds: int) -> None:
    """Print the table."""
    print(
        "| rule | in sample | held out | hard cut at the same threshold, by the formula |\n|---|---|---|---|"
    )
    for rule in ("paper", "fdr"):
        table = np.array([scores(seed, OutlierParams(rule=rule)) for seed in range(seeds)]) * 1e4
        means, errors = table.mean(axis=0), table.std(axis=0, ddof=1) / math.sqrt(seeds)
        print(
            f"| {rule} | "
            + " | ".join(f"{m:.2f} ± {e:.2f}" for m, e in zip(means, errors, strict=True))
            + " |"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)

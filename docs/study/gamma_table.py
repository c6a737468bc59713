"""Gamma from flat fields, and its curve over dose rates; prints a Markdown table.

Usage: python docs/study/gamma_table.py     (a minute)
"""

from __future__ import annotations

import numpy as np

from mrcz_dask.numerics.gain.gain import K2
from mrcz_dask.numerics.gain.gamma import best_gamma, fit_curve
from mrcz_dask.numerics.simulate import named, simulate_session

RATES = np.geomspace(0.25, 9, 10)
SHAPE = (1024, 1024)
COUNTS = 60.0
SEEDS = range(5)
SIDES = (4, 16, 64)


def camera(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return etching, and the fixed columns, rows and pixels that do not depend on the dose rate."""
    fixed = named("standard", shape=SHAPE, gamma=0.0, seed=seed)
    etched = named("standard", shape=SHAPE, gamma=1.0, cmos=0.0, pixel=0.0, seed=seed)
    return simulate_session(etched).pattern(0).astype(float), simulate_session(fixed).pattern(0).astype(float)


def errors(seed: int, side: int) -> tuple[np.ndarray, float]:
    """Return the errors of gamma at each rate, and the curve's root mean square error over all rates."""
    etching, fixed = camera(seed)
    rng = np.random.default_rng(seed)
    flats = [rng.poisson(COUNTS * etching ** K2.at(rate) * fixed) for rate in RATES]
    found = [best_gamma(flat, 1 / (etching * fixed), side=side) for flat in flats]
    curve, at = fit_curve(RATES.tolist(), found), np.geomspace(0.25, 9, 200)
    rms = np.sqrt(np.mean([(curve.at(x) - K2.at(x)) ** 2 for x in at]))
    return np.array(found) - [K2.at(rate) for rate in RATES], float(rms)


def main() -> None:
    """Print the table."""
    print("| squares of | bias of gamma | scatter | rms of the curve |\n|---|---|---|---|")
    for side in SIDES:
        both = [errors(seed, side) for seed in SEEDS]
        off, rms = np.array([e for e, _ in both]), [r for _, r in both]
        bias, error = off.mean(), off.mean(axis=1).std(ddof=1) / np.sqrt(len(SEEDS))
        print(f"| {side} px | {bias:+.4f} ± {error:.4f} | {off.std():.4f} | {np.mean(rms):.4f} |")
    truth = [K2.at(rate) for rate in RATES]
    again = fit_curve(RATES.tolist(), truth)
    worst = max(abs(getattr(again, name) - getattr(K2, name)) for name in ("a1", "b1", "a2", "a3"))
    print(f"\nnoise-free points: the coefficients come back within {worst:.1e}")


if __name__ == "__main__":
    main()

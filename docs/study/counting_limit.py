"""What any test of single pixels' neighborhoods can detect at most: the likelihood ratio's own limit.

Usage: python docs/study/counting_limit.py     (a minute)

Isolated electrons and pure noise; the test knows the charge spectrum and the sharing. By the lemma of Neyman
and Pearson no other test finds more at the same rate of false events. Prints a Markdown table.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d, maximum_filter
from scipy.special import logsumexp, ndtr

SIDE, CELL, WIDTH, SHARING = 900, 8, 0.12, 0.4
RATES = (1e-4, 2e-4)  # 1 % of the electrons at 1 % and at 2 %
PLACES = (np.arange(8) + 0.5) / 8 - 0.5


def shares(u: float, reach: int) -> np.ndarray:
    """Return what pixels -reach..reach collect along an axis."""
    return np.diff(ndtr((np.arange(-reach, reach + 2) - 0.5 - u) / SHARING))


def frame(rng: np.random.Generator, charge: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame of unit noise, with an electron in the middle of each cell, and these pixels."""
    values, at = rng.standard_normal((SIDE, SIDE)), np.arange(CELL // 2, SIDE - CELL // 2, CELL)
    for y in at:
        for x in at:
            u, v = rng.random(2) - 0.5
            own = charge * (1 - WIDTH * np.log(rng.standard_normal() ** 2))
            values[y - 2 : y + 3, x - 2 : x + 3] += own * np.outer(shares(u, 2), shares(v, 2))
    return values, np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)


def likelihood_ratio(values: np.ndarray, charge: float) -> np.ndarray:
    """Return the logarithm of the likelihood of an electron in each pixel over that of none."""
    q = np.linspace(0.2, 4, 200) * charge
    moyal = (q / charge - 1) / WIDTH
    prior = -0.5 * (moyal + np.exp(-moyal))
    prior -= logsumexp(prior)
    total, grid = np.full(values.shape, -np.inf), np.linspace(-6, 60, 600)
    for u in PLACES:
        down = correlate1d(values, shares(u, 1), axis=0, mode="constant")
        for v in PLACES:
            power = (shares(u, 1) ** 2).sum() * (shares(v, 1) ** 2).sum()
            product = correlate1d(down, shares(v, 1), axis=1, mode="constant")
            of_product = logsumexp(prior + q * grid[:, None] - 0.5 * q * q * power, axis=1)
            total = np.logaddexp(total, np.interp(product, grid, of_product) - np.log(PLACES.size**2))
    return total


def row(charge: float) -> str:
    """Return the line of a most probable charge."""
    rng = np.random.default_rng(1)
    noise = likelihood_ratio(rng.standard_normal((2 * SIDE, SIDE)), charge)
    peaks = np.sort(noise[noise == maximum_filter(noise, 3)])
    values, at = frame(rng, charge)
    best = maximum_filter(likelihood_ratio(values, charge), 3)[at[:, 0], at[:, 1]]
    found = [(best > peaks[-round(rate * noise.size)]).mean() for rate in RATES]
    errors = [np.sqrt(f * (1 - f) / best.size) for f in found]
    cells = [f"{100 * f:.1f} ± {100 * e:.1f}" for f, e in zip(found, errors, strict=True)]
    return f"| {charge:g} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    print("| charge, read noises | found, %, at 1 % occupancy | at 2 % |\n|---|---|---|")
    for charge in (10.0, 11.0, 12.0):
        print(row(charge), flush=True)


if __name__ == "__main__":
    main()

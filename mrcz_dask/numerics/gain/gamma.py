"""Find the gain's exponent gamma from flat-field stacks, and its curve over dose rates (Eqs. 10 and 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.optimize import brentq

from mrcz_dask.numerics.arrays import Floats, Mask
from mrcz_dask.numerics.gain.gain import GammaCurve
from mrcz_dask.values.errors import ParameterError

SIDE = 16  # larger squares level the shorter waves of an etched sensor, where most of the signal is
FEWEST = 4
EXPONENTS = (-4.0, -0.05)
GRID = 80


def best_gamma(
    flat: NDArray[Any], multiplier: NDArray[Any], good: Mask | None = None, side: int = SIDE
) -> float:
    """Find the gamma for which a flat-field stack becomes flattest when multiplied by gain**gamma (Eq. 10).

    Parameters
    ----------
    flat
        (ny, nx) sum or mean of a stack without specimen, counts, before the gain.
    multiplier
        (ny, nx) gain, positive where `good`.
    good
        (ny, nx) bool, True = used (the opposite of a mask); None = all.
    side
        Pixels over which both are averaged before the logarithm.

    Raises
    ------
    ParameterError
        If the shapes differ, nothing is good, or the averaged gain is constant.

    Notes
    -----
    The minimum over gamma of std(u)/mean(u), with the deviations small, is
    -cov(ln U(flat), ln U(multiplier)) / var(ln U(multiplier)); U averages over the good pixels of a square.
    """
    used = np.ones(flat.shape, bool) if good is None else good
    if not flat.shape == multiplier.shape == used.shape or not used.any():
        raise ParameterError(
            f"flat {flat.shape}, gain {multiplier.shape}, {np.count_nonzero(used)} good of {used.shape}; "
            "expected one shape, and some good pixels"
        )
    weight = uniform_filter(used.astype(np.float64), side, mode="constant")
    y, x = (_waves(image, used, weight, side) for image in (flat, multiplier))
    power = float((x * x).sum())
    if power <= 1e-18 * x.size:
        raise ParameterError(
            f"the gain is constant when averaged over {side} pixels; expected a pattern of that scale"
        )
    return -float((x * y).sum()) / power


def relief(
    flat: NDArray[Any], multiplier: NDArray[Any], gamma: float, good: Mask | None = None, side: int = SIDE
) -> NDArray[np.float32]:
    """Return the unevenness that remains in a flat field after gain**gamma: means over squares, relative to
    the overall mean, minus 1 (Fig. 10).

    Parameters
    ----------
    flat, multiplier, good, side
        As `best_gamma` takes them.
    gamma
        Exponent of the gain.

    Returns
    -------
    ndarray
        (ny // side, nx // side) float32: mean of flat * multiplier**gamma over the good pixels of a square,
        over that of all good pixels, less 1. Not a number where a square has no good pixel.
    """
    used = np.ones(flat.shape, bool) if good is None else good
    gained = np.where(used, flat * np.where(used, multiplier, 1.0).astype(np.float64) ** gamma, 0.0)
    rows, columns = max(1, flat.shape[0] // side), max(1, flat.shape[1] // side)
    sums, counts = (
        np.array([[part.sum() for part in np.array_split(band, columns, axis=1)] for band in bands])
        for bands in (np.array_split(image, rows) for image in (gained, used))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums / counts * (used.sum() / gained.sum()) - 1, np.float32)


def _waves(image: NDArray[Any], used: Mask, weight: Floats, side: int) -> Floats:
    """Return ln of the mean of the good pixels of each square, less columns, in either half, and rows."""
    mean = uniform_filter(np.where(used, image, 0).astype(np.float64), side, mode="constant")
    mean = mean / np.maximum(weight, 0.5 / side**2)
    known = mean > 0
    logs = np.log(np.where(known, mean, 1))
    if known.any():
        logs = np.where(known, logs, logs[known].mean())
    left = np.concatenate([half - half.mean(axis=0) for half in np.array_split(logs, 2)])
    return np.asarray(left - left.mean(axis=1, keepdims=True))


def fit_curve(rates: Sequence[float], gammas: Sequence[float]) -> GammaCurve:
    """Fit gamma as a function of dose rate by least squares: gamma = a1 rate**b1 + a2 rate + a3 (Eq. 11).

    Parameters
    ----------
    rates
        Dose rates, e-/pixel/s, at least four different ones.
    gammas
        Gamma at each.

    Raises
    ------
    ParameterError
        For fewer dose rates, or numbers that are not finite and positive rates.

    Notes
    -----
    Variable projection: for each b1 the other three are linear. b1 is looked for between -4 and -0.05, on
    a grid, then by Brent's method around its best. No start values.
    """
    x, y = np.asarray(rates, np.float64), np.asarray(gammas, np.float64)
    fine = x.shape == y.shape and np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all()
    if not fine or np.unique(x).size < FEWEST:
        raise ParameterError(
            f"dose rates {x.tolist()} with gammas {y.tolist()}; expected as many of both, and at least "
            f"{FEWEST} different positive rates"
        )
    grid = np.linspace(*EXPONENTS, GRID)
    residuals = [_linear(b1, x, y)[1] for b1 in grid]
    best = int(np.argmin([float(residual @ residual) for residual in residuals]))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, GRID - 1)])
    b1 = float(grid[best])
    if _slope(low, x, y) < 0 < _slope(high, x, y):
        b1 = float(brentq(_slope, low, high, args=(x, y), xtol=1e-15))
    a1, a2, a3 = (float(a) for a in _linear(b1, x, y)[0])
    return GammaCurve(a1, b1, a2, a3, float(x.min()), float(x.max()))


def _slope(b1: float, x: Floats, y: Floats) -> float:
    """Return half the derivative of the sum of squared residuals by b1."""
    (a1, _, _), residual = _linear(b1, x, y)
    return -float(residual @ (a1 * x**b1 * np.log(x)))


def _linear(b1: float, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return a1, a2, a3 for an exponent, and the residuals."""
    basis = np.stack([x**b1, x, np.ones_like(x)], axis=1)
    coefficients = np.asarray(np.linalg.lstsq(basis, y, rcond=None)[0], np.float64)
    return coefficients, y - basis @ coefficients

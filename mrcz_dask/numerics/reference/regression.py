"""Fit references to a stack, band by band: how much of each reference's pattern the stack contains.

The specimen and the shot noise of a stack are independent of its references, and the references' own noise
attenuates the coefficients by itself: a Wiener filter found from the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.reference.bands import Bands
from mrcz_dask.numerics.reference.parts import BandPowers, References, combine

LARGEST_SUM = 1.2
SINGULAR = 1e-9

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BandFit:
    """Result of the regression in one band: a coefficient for each reference, and the power they explain.

    Attributes
    ----------
    name, modes
        Name and degrees of freedom of the band.
    coefficients
        One for each reference (short window, long window); 0 where the band is not used.
    explained
        Share of the stack's power in the band that the references explain.
    used
        Whether the explained power is beyond what chance gives.
    """

    name: str
    modes: int
    coefficients: tuple[float, ...]
    explained: float
    used: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as plain values, for an output's footer."""
        return {
            "band": self.name,
            "modes": self.modes,
            "coefficients": list(self.coefficients),
            "explained": self.explained,
            "used": self.used,
        }


def fit_bands(powers: BandPowers, bands: Bands) -> tuple[BandFit, ...]:
    """Fit a stack as a sum of its references, with a coefficient for each reference in each band.

    Parameters
    ----------
    powers
        Products of the stack and its references, see `parts.measure_bands`.
    bands
        As `make_bands` gives them for this shape.

    Returns
    -------
    tuple of BandFit
        c = (X X)^-1 <X Y> for each band; the sum of the coefficients is kept in [0, 1.2].
    """
    fits = []
    for k, (name, modes) in enumerate(zip(bands.names, bands.modes, strict=True)):
        xy, yy = powers.products[1:, 0, k], float(powers.products[0, 0, k])
        c = _solve(powers.products[1:, 1:, k], xy)
        explained = float((c * xy).sum())
        used = explained > 2 * len(c) / (modes / 2) * (yy - explained) and c.sum() > 0
        if c.sum() > LARGEST_SUM:
            c = c * (LARGEST_SUM / c.sum())
        coefficients = tuple(float(v) for v in c) if used else (0.0,) * len(c)
        fits.append(BandFit(name, modes, coefficients, explained / yy if yy > 0 else 0.0, bool(used)))
    return tuple(fits)


def _solve(xx: NDArray[np.float64], xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve for one or two coefficients in closed form; of two references that are the same, the first."""
    if len(xy) == 2:
        determinant = float(xx[0, 0] * xx[1, 1] - xx[0, 1] ** 2)
        if determinant > SINGULAR * float(xx[0, 0] * xx[1, 1]):
            first = (xx[1, 1] * xy[0] - xx[0, 1] * xy[1]) / determinant
            second = (xx[0, 0] * xy[1] - xx[0, 1] * xy[0]) / determinant
            return np.array([first, second])
    c = np.zeros_like(xy)
    c[0] = xy[0] / xx[0, 0] if xx[0, 0] > 0 else 0.0
    return c


def pattern_of(fits: Sequence[BandFit], references: References, bands: Bands) -> Image:
    """Compose the pattern from references and fitted coefficients: sum_b (c_S S_b + c_L L_b), mean zero."""
    factors = np.array([[fit.coefficients[k] for fit in fits] for k in range(len(references.images))])
    return combine(references.images, references.parts, factors, bands)

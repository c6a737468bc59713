"""Compute every pixel's mean and deviation over a session, for method `session` (Afanasyev et al. 2015).

Sums are of integers: S / (n d) in 65536ths and its square, so that the order of stacks changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mrcz_dask.numerics.kernels import compiled, inner
from mrcz_dask.numerics.reference.correction import ONE
from mrcz_dask.numerics.reference.window import (
    NOBODY,
    NOTHING,
    Member,
    MovingSum,
    Ref,
    fill_empty,
    masked_image,
)
from mrcz_dask.values.errors import SessionError

STEPS = 1 << 16  # of the dose
LARGEST = STEPS << 5  # beyond 32 doses a pixel counts as 32: squares of a million stacks fit in 64 bits
SMALLEST_FACTOR, LARGEST_FACTOR = 0.5, 2 - 1 / ONE
LOOKED_AT = 1 << 20  # pixels that the spread of variances is taken from
QUANTILES = (0.16, 0.84)

Image = NDArray[np.float32]


@dataclass(slots=True)
class SessionSum(MovingSum[Ref]):
    """Sums of S / (n d) and its square over a session, each stack weighted alike; for method `session`."""

    _sums: NDArray[np.int64] = field(init=False)
    _squares: NDArray[np.int64] = field(init=False)
    _missing: NDArray[np.int32] = field(init=False)
    _count: int = field(init=False)

    def _empty(self) -> None:
        self._sums = np.zeros(self.shape, np.int64)
        self._squares = np.zeros(self.shape, np.int64)
        self._missing = np.zeros(self.shape, np.int32)
        self._count = 0

    def _add(self, member: Member, sign: int) -> None:
        values = np.ascontiguousarray(member.values).reshape(-1)
        sums, squares = self._sums.reshape(-1), self._squares.reshape(-1)
        _add_relative(sums, squares, values, member.masked, _factor(member), LARGEST, sign)
        self._missing.reshape(-1)[member.masked] += np.int32(sign)
        self._count += sign

    def images(self, without: Member | None = None) -> tuple[Image, Image]:
        """Return every pixel's mean over the stacks, and the factor that makes its deviation typical.

        Parameters
        ----------
        without
            A member that is left out: the stack which they are for.

        Returns
        -------
        mean
            (ny, nx) float32 of S / (n d), dimensionless; filled where all members are masked.
        factor
            (ny, nx) float32, in 32768ths, 0.5 to 2: typical deviation over that of the pixel; see
            `factors`.

        Raises
        ------
        OutlierError
            When no pixel has any member.
        """
        mean, variance = np.empty(self.shape, np.float32), np.empty(self.shape, np.float32)
        own, own_mask, factor = NOTHING, NOBODY, 0.0
        if without is not None:
            own, factor = np.ascontiguousarray(without.values).reshape(-1), _factor(without)
            own_mask = masked_image(without)
        _means_and_variances(
            self._sums.reshape(-1), self._squares.reshape(-1), self._missing.reshape(-1), self._count,
            own, own_mask, factor, LARGEST, 1.0 / STEPS, mean.reshape(-1), variance.reshape(-1),
        )  # fmt: skip
        if np.isnan(mean).any():
            fill_empty(mean)
        return mean, factors(variance, self._count - (without is not None))


def _factor(member: Member) -> float:
    """Return the factor from the integers of a stack to steps of its dose."""
    if not member.mean > 0:
        raise SessionError(f"a stack of mean {member.mean!r}; expected a dose to scale by")
    return 2.0**-member.exponent / member.mean * STEPS


def factors(variance: Image, members: int) -> Image:
    """Return, for every pixel, the typical standard deviation divided by its own, to equalize them.

    Parameters
    ----------
    variance
        (ny, nx) float32 over the members; not a number where it is not known: the factor is 1 there.
    members
        Number of stacks.

    Notes
    -----
    A deviation of N stacks is known to 1 / sqrt(2 (N-1)): with thousands of images, as Afanasyev et al. had,
    to a percent, with sixty to a tenth. Of what variances differ from the typical one the share is taken that
    their spread over pixels has beyond chance (chi-squared): all of it for many stacks, nothing where
    they differ by noise alone.
    """
    known = variance.reshape(-1)[:: max(1, variance.size // LOOKED_AT)]
    known = known[~np.isnan(known)].astype(np.float64)
    typical = float(np.median(known)) if known.size else 0.0
    if not typical > 0:
        return np.ones(variance.shape, np.float32)
    low, high = np.quantile(known / typical, QUANTILES)
    half = (members - 1) / 2  # of chi-squared; scipy.stats, which has it, takes half a second to import
    least, most = special.gammaincinv(half, QUANTILES) / special.gammaincinv(half, 0.5)
    share = max(0.0, 1 - ((most - least) / (high - low)) ** 2) if high > low else 0.0
    relative = 1 + np.float32(share) * (variance / np.float32(typical) - 1)
    with np.errstate(divide="ignore"):
        factor = np.clip(1 / np.sqrt(relative), SMALLEST_FACTOR, LARGEST_FACTOR)
    return np.asarray(np.rint(np.where(np.isnan(variance), 1, factor) * ONE) / ONE, np.float32)


@inner
def _relative(value: Any, factor: float, limit: int) -> Any:
    """Return value * factor, rounded, at most `limit`."""
    steps = np.int64(np.rint(np.float64(value) * factor))
    return min(max(steps, np.int64(-limit)), np.int64(limit))


@compiled
def _add_relative(
    sums: NDArray[np.int64],
    squares: NDArray[np.int64],
    values: NDArray[Any],
    masked: NDArray[np.int64],
    factor: float,
    limit: int,
    sign: int,
) -> None:
    """Add flat values * factor, rounded, and their squares, or take them off; at masked indices nothing."""
    for i in range(sums.size):
        steps = _relative(values[i], factor, limit)
        sums[i] += sign * steps
        squares[i] += sign * steps * steps
    for k in range(masked.size):
        i = masked[k]
        steps = _relative(values[i], factor, limit)
        sums[i] -= sign * steps
        squares[i] -= sign * steps * steps


@compiled
def _means_and_variances(
    sums: NDArray[np.int64],
    squares: NDArray[np.int64],
    missing: NDArray[np.int32],
    members: int,
    own: NDArray[Any],
    own_mask: NDArray[np.bool_],
    factor: float,
    limit: int,
    unit: float,
    means: NDArray[np.float32],
    variances: NDArray[np.float32],
) -> None:
    """Put into means and variances, flat, those over the members in units; not a number for too few.

    An own (may be empty) is one of the members, and left out. factor and limit are as it was added with.
    """
    for i in range(means.size):
        total, square, n = sums[i], squares[i], np.int64(members) - missing[i]
        if own.size and not own_mask[i]:
            steps = _relative(own[i], factor, limit)
            total, square, n = total - steps, square - steps * steps, n - 1
        mean = np.float64(total) / n if n > 0 else np.nan
        means[i] = np.float32(mean * unit)
        left = np.float64(square) - np.float64(total) * mean
        variances[i] = np.float32(max(left, 0.0) / (n - 1) * unit * unit) if n > 1 else np.float32(np.nan)

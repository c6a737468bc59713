"""Measure how much of the detector's pattern a stack holds, and how much of it a correction takes off.

The stack and its reference share nothing but the pattern. So their product, averaged over pixels, is the
variance of the pattern, whatever noise and specimen either of them has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.reference.movement import MOVING_SHARE, Movement
from mrcz_dask.values.records import Record

if TYPE_CHECKING:
    from mrcz_dask.numerics.reference.koma import Pattern

SCALES = ("columns", "rows", "pixels", "smooth")
LINES, PIXELS, FINE, SMOOTH = slice(0, 2), 2, slice(0, 3), 3
LARGEST_FINE = 16  # pixels; larger blocks and longer waves are smooth
NEGLIGIBLE = 0.001  # of the mean: a pattern below this is not worth a correction
SURE, SURE_OF_SMOOTH, SURE_OF_MOVING = 2.5, 4.0, 3.0  # standard errors
MOST_MOVING = 3.0  # a larger share that moves is chance: the drift is hardly known
RARE = 0.05  # of the stacks
TELLING = 0.25  # standard error of the share that moves, above which nothing can be told
DIGITS = 4

Floats = NDArray[np.float64]
ByScale = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class StackEvidence(Record):
    """Record of the pattern in one stack, by scale: columns, rows, pixels, smooth.

    All are variances relative to the square of the mean.

    Attributes
    ----------
    pattern, error
        What the stack shares with its reference, and the standard error of this by chance.
    lasting
        What it shares with the reference of the long window.
    removed
        By how much a correction that was fitted to frames 0, 2, 4, ... lowers the variance of the others;
        noise that it adds counts against it.
    noise
        Variance of the sum of all frames by counting noise; None = not known.
    movement
        How what is taken off moves with the specimen; see `structure.Movement`.
    same_specimen
        Number of neighbors in the reference that show the same specimen.
    unlike
        Whether smooth structure was taken off that is no detector's.
    """

    pattern: ByScale
    error: ByScale
    lasting: ByScale
    removed: ByScale
    noise: float | None
    movement: dict[str, float]
    same_specimen: int = 0
    unlike: bool = False


def negligible(pattern: Pattern, pixels: int) -> float | None:
    """Return the largest share of the mean that a stack's pattern can have, if that is too small to matter.

    Parameters
    ----------
    pattern
        Fitted pattern of the stack.
    pixels
        Number of its pixels that are no outliers.

    Returns
    -------
    float or None
        Upper limit of the standard deviation of columns, rows and pixels, at two standard errors; None if
        it is above `NEGLIGIBLE`, or the stack holds smooth structure of its reference.
    """
    if pattern.products is None:
        return None
    power, error = (_by_scale(pattern, values) for values in _shared(pattern.products, pattern, pixels))
    error **= 0.5
    highest = (max(0.0, float(power[FINE].sum())) + 2 * float((error[FINE] ** 2).sum()) ** 0.5) ** 0.5
    return highest if highest < NEGLIGIBLE and power[SMOOTH] <= SURE_OF_SMOOTH * error[SMOOTH] else None


def stack_evidence(
    pattern: Pattern, even: Pattern, counts: tuple[float, float], pixels: int, noise: float | None,
    movement: Movement, same_specimen: int, unlike: bool,
) -> StackEvidence | None:  # fmt: skip
    """Measure the pattern of a stack, and what a fit takes off frames that it has not seen.

    Parameters
    ----------
    pattern, even
        Patterns that were fitted to all frames, and to frames 0, 2, 4, ...
    counts
        Counts per pixel in all frames, and in frames 0, 2, 4, ...
    pixels
        Number of pixels that are no outliers.
    noise, movement, same_specimen, unlike
        See `StackEvidence`.

    Returns
    -------
    StackEvidence or None
        None for other methods than ``fit``, or without a reference.
    """
    all_counts, even_counts = counts
    if pattern.products is None or even.products is None or not all_counts > even_counts:
        return None
    variance, squared_error = _shared(pattern.products, pattern, pixels)
    both = all_counts * pattern.products[0, 1:] - even_counts * even.products[0, 1:]
    odd = both / (all_counts - even_counts) / pixels  # (references, bands)
    c = np.array([fit.coefficients for fit in even.fits]).T
    own = np.einsum("kb,klb,lb->b", c, even.products[1:, 1:] / pixels, c)
    removed = 2 * (c * odd).sum(axis=0) - own

    def scales(values: Floats) -> ByScale:
        """Sum over the bands of each scale, rounded so that the last digits of a processor do not show."""
        return tuple(float(f"{v:.{DIGITS}g}") for v in _by_scale(pattern, values))

    return StackEvidence(
        pattern=scales(variance),
        error=tuple(float(f"{v**0.5:.{DIGITS}g}") for v in _by_scale(pattern, squared_error)),
        lasting=scales(pattern.products[0, -1] / pixels),
        removed=scales(removed),
        noise=noise and float(f"{noise:.{DIGITS}g}"),
        movement={k: float(f"{v:.{DIGITS}g}") for k, v in movement.to_dict().items()},
        same_specimen=same_specimen,
        unlike=unlike,
    )


def _shared(products: Floats, pattern: Pattern, pixels: int) -> tuple[Floats, Floats]:
    """Return by band the variance that a stack and its reference share, and its squared standard error."""
    modes = np.array([fit.modes for fit in pattern.fits])
    return products[0, 1] / pixels, products[0, 0] * products[1, 1] / modes / pixels**2


def _by_scale(pattern: Pattern, values: Floats) -> Floats:
    places = []
    for fit in pattern.fits:
        kind, _, size = fit.name.partition(" ")
        lines = SCALES.index(kind) if kind in SCALES else None
        places.append(2 + (int(size.removeprefix("1/")) > LARGEST_FINE) if lines is None else lines)
    return np.asarray(np.bincount(places, values, len(SCALES)), np.float64)


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over stacks and its standard error, from their scatter."""

    value: float
    error: float

    @property
    def z(self) -> float:
        """Standard errors from 0."""
        return self.value / self.error if self.error > 0 else 0.0


def mean_of(values: Sequence[float] | Floats) -> Mean:
    """Return the mean over stacks and its standard error.

    Each stack is in its neighbors' references, too: products of two stacks come twice, and the error of the
    mean is sqrt(2) times as large as that of independent values.
    """
    many = np.asarray(values, np.float64)
    if many.size < 2:
        return Mean(float(many.sum()), float("inf"))
    return Mean(float(many.mean()), float(many.std(ddof=1) * (2 / many.size) ** 0.5))


@dataclass(frozen=True, slots=True)
class SessionEvidence:
    """The pattern of a session, from the evidence of its stacks.

    Attributes
    ----------
    stacks
        Their number.
    pattern, removed
        By scale: variance of the pattern, relative to the square of the mean, and by how much the correction
        lowers it in frames that it has not seen.
    fine, lasting
        The pattern in columns, rows and pixels together, and what of it lasts over the long windows.
    gain
        By how much the correction lowers these.
    noise
        Variance of a stack's sum by counting noise; None = not known.
    movement
        How what was taken off moves with the specimen.
    same_specimen, unlike
        Numbers of stacks from which a pattern was taken though neighbors in the reference show the same
        specimen, and though it has more smooth structure than a detector.
    common
        Variance of the pattern that stacks far apart in time share; None = not known.
    """

    stacks: int
    pattern: tuple[Mean, ...]
    removed: tuple[Mean, ...]
    fine: Mean
    lasting: Mean
    gain: Mean
    noise: float | None
    movement: Movement
    same_specimen: int
    unlike: int
    common: Mean | None = None

    @property
    def has_pattern(self) -> bool:
        """Whether there is a pattern, by more than chance; bright pixels alone are none, if that is known."""
        every = (self.fine, self.lasting, self.pattern[PIXELS])
        pixels = max(one.z for one in (every if self.common is None else (self.common,))) > SURE
        lines = max(one.z for one in self.pattern[LINES]) > SURE
        return lines or pixels or self.pattern[SMOOTH].z > SURE_OF_SMOOTH

    @property
    def movement_is_seen(self) -> bool:
        """Whether some of what was taken off moves with the specimen."""
        return self.movement.z > SURE_OF_MOVING and MOVING_SHARE < self.movement.share < MOST_MOVING

    @property
    def movement_can_be_told(self) -> bool:
        """Whether the drift is known well enough to see movement: all of a moving pattern is 4 errors."""
        power, variance = self.movement.power, self.movement.variance
        return power > 0 and 0 < variance**0.5 < TELLING * power

    @property
    def share_harmed(self) -> float:
        """Share of the stacks from which something was taken off that looks like the specimen."""
        return max(self.same_specimen, self.unlike) / self.stacks

    @property
    def lost(self) -> float:
        """Share of what was taken off that moves with the specimen, or of stacks that look so; 0 if none."""
        return max(self.movement.share if self.movement_is_seen else 0.0, self.share_harmed)

    @property
    def harms(self) -> bool:
        """Whether the specimen was taken off, as far as that is seen."""
        return self.movement_is_seen or self.share_harmed > RARE

    @property
    def helps(self) -> bool:
        """Whether the correction lowers the pattern in frames it has not seen, and keeps the specimen."""
        return self.gain.z > SURE and not self.harms

    def derating(self, variance: Mean) -> Mean | None:
        """Return the share by which a pattern of this variance lowers the DQE; None without the noise.

        It is 1 less the variance of a difference of two half exposures over that of their sum, as Gatan
        defines the fixed-pattern derating (K2 Summit user's guide, script of P. Mooney, 2012).
        """
        if not self.noise:
            return None
        share = max(0.0, variance.value) / (max(0.0, variance.value) + self.noise)
        return Mean(share, variance.error * (1 - share) ** 2 / self.noise)

    @property
    def after(self) -> Mean:
        """Variance of columns, rows and pixels that is left, with the noise that the correction adds."""
        return Mean(self.fine.value - self.gain.value, self.gain.error)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and what follows from them as plain values."""
        before, after = self.derating(self.fine), self.derating(self.after)
        return {
            "stacks": self.stacks,
            "scales": {
                name: {
                    "pattern": asdict(pattern),
                    "percent": 100 * max(0.0, pattern.value) ** 0.5,
                    "removed": asdict(removed),
                }
                for name, pattern, removed in zip(SCALES, self.pattern, self.removed, strict=True)
            },
            "has_pattern": self.has_pattern,
            "derating_before": before and asdict(before),
            "derating_after": after and asdict(after),
            "moves_with_specimen": {"share": self.movement.share, "z": self.movement.z},
            "same_specimen": self.same_specimen,
            "unlike": self.unlike,
            "helps": self.helps,
            "harms": self.harms,
        }


def session_evidence(stacks: Sequence[StackEvidence], common: Mean | None = None) -> SessionEvidence | None:
    """Combine the evidence of some stacks of a session, and their `common_pattern`; None without any."""
    if not stacks:
        return None
    pattern, removed, lasting = (
        np.array([getattr(one, name) for one in stacks]) for name in ("pattern", "removed", "lasting")
    )
    noises, movement = [one.noise for one in stacks if one.noise], Movement()
    for one in stacks:
        movement = movement.with_(Movement(**one.movement))
    return SessionEvidence(
        stacks=len(stacks),
        pattern=tuple(mean_of(one) for one in pattern.T),
        removed=tuple(mean_of(one) for one in removed.T),
        fine=mean_of(pattern[:, FINE].sum(axis=1)),
        lasting=mean_of(lasting[:, FINE].sum(axis=1)),
        gain=mean_of(removed[:, FINE].sum(axis=1)),
        noise=float(np.mean(noises)) if noises else None,
        movement=movement,
        same_specimen=sum(one.same_specimen > 0 for one in stacks),
        unlike=sum(one.unlike for one in stacks),
        common=common,
    )

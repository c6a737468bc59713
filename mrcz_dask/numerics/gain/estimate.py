"""Estimate the pattern of a session, and the gain that would remove it, from the sums of its stacks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats, Mask
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.values.errors import ParameterError, SessionError

DOSE_BITS = 20
LEAST_KNOWN = 0.5
LEAST_RESPONSE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class SessionPattern:
    """The pattern of a session: the relative response of every pixel, averaged over its stacks.

    Attributes
    ----------
    response
        (ny, nx) float64, mean 1 over the good pixels; 1 where not good.
    good
        (ny, nx) bool, True = known. Not: masked in more than half of the dose, or a response below .1.
    counts
        Counts per pixel from which it was estimated, mean of the good pixels.
    stacks
        Number of stacks.
    dose
        Mean of a frame over unmasked pixels, counts per pixel.
    """

    response: Floats
    good: Mask
    counts: float
    stacks: int
    dose: float

    @property
    def counting_error(self) -> float:
        """Relative standard deviation of a pixel's response that counting noise alone causes."""
        return 1 / math.sqrt(self.counts)

    def gain(self) -> NDArray[np.float32]:
        """Return a gain reference that removes the pattern: 1 / response, float32 (ny, nx); 0 = defect where
        no response is known.
        """
        return np.where(self.good, 1 / self.response, 0).astype(np.float32)


@dataclass(slots=True)
class PatternSum:
    """Accumulates, stack by stack, the pattern of a session: P = sum M S / sum M n d (M = 1 if unmasked).

    Attributes
    ----------
    shape
        (ny, nx) of the frames.
    stacks
        Number of stacks added so far.
    """

    shape: tuple[int, int]
    _counts: Floats = field(init=False)
    _doses: NDArray[np.int64] = field(init=False)
    _total: int = 0
    stacks: int = field(default=0, init=False)
    _frames: int = 0

    def __post_init__(self) -> None:
        self._counts = np.zeros(self.shape)
        self._doses = np.zeros(self.shape, np.int64)

    def add(self, total: StackSum, mask: Mask, mean: float) -> None:
        """Add the sum of a stack to the pattern, outliers left out.

        Parameters
        ----------
        total
            Sum of the stack.
        mask
            (ny, nx) bool, True = outlier, left out.
        mean
            Mean of the sum over unmasked pixels, counts; a stack without counts adds nothing.

        Raises
        ------
        ParameterError
            If the shapes differ.

        Notes
        -----
        Counts add up exactly, in any order.
        """
        if not total.shape == mask.shape == self.shape:
            raise ParameterError(f"a sum {total.shape} with mask {mask.shape} for a pattern of {self.shape}")
        if not mean > 0:
            return
        dose = round(mean * 2**DOSE_BITS)
        np.add(self._counts, total.total(), out=self._counts, where=~mask)
        np.add(self._doses, dose, out=self._doses, where=~mask)
        self._total += dose
        self.stacks += 1
        self._frames += total.n

    def pattern(self) -> SessionPattern:
        """Return the pattern of the stacks added so far, from which a gain can be made or checked.

        Raises
        ------
        SessionError
            If no pixel is known.
        """
        known = self._doses > LEAST_KNOWN * self._total
        ratio = self._counts / np.maximum(self._doses, 1) * 2**DOSE_BITS
        good = known & (ratio > LEAST_RESPONSE)
        if not good.any():
            raise SessionError(
                f"the sums of {self.stacks} stacks know no pixel; expected stacks with counts and masks"
            )
        response = np.where(good, ratio / ratio[good].mean(), 1)
        counts, dose = float(self._counts[good].mean()), self._total / 2**DOSE_BITS / self._frames
        return SessionPattern(response, good, counts, self.stacks, dose)

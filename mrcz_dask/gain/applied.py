"""Apply gain, dark and defects in a run's tasks: load them from the session store, find stacks' gamma."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.frames import FrameSource
from mrcz_dask.gain.options import GammaRule
from mrcz_dask.numerics.doses import is_blank
from mrcz_dask.numerics.gain.gain import Gain
from mrcz_dask.numerics.gain.sums import gained_mask, gained_sum
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.params import GainParams, OutlierParams

# A worker has few gains at a time: one, and where gamma goes by dose rate its powers.
KEPT = 2


def stack_gamma(params: GainParams, dose: float, seconds: float | None) -> float:
    """Return the exponent gamma of a stack's gain, from the rule and, if needed, the stack's dose rate.

    Parameters
    ----------
    params
        The rule, and the frame time that the user gave, which comes first.
    dose
        Mean of its unmasked pixels after the dark, before the gain, counts/pixel/frame.
    seconds
        Time of a frame in its metadata.

    Raises
    ------
    ParameterError
        If gamma depends on the dose rate and no time is known.
    """
    time = params.frame_time or seconds
    return GammaRule.of(params.gamma).at(None if time is None else dose * params.subpixels / time)


def gamma_of(
    gain: Gain, params: GainParams, total: StackSum, seconds: float | None, outliers: OutlierParams
) -> float:
    """Return the gamma of a stack's gain from the stack's sum before dark and gain; see `stack_gamma`."""
    if not params.by_rate:
        return stack_gamma(params, 0.0, None)
    mask = gained_mask(total, without_dark(total, gain), outliers)
    return stack_gamma(params, mask.mean / total.n, seconds)


def without_dark(total: StackSum, gain: Gain) -> StackSum:
    """Return the sum of a stack after the dark is subtracted, without the gain, from which its dose in
    electrons is measured.
    """
    return total if gain.dark is None else gained_sum(total, gain.at(0.0))


@lru_cache(maxsize=KEPT)
def stored_gain(store: str, digest: str, gamma: float) -> Gain:
    """Load a gain, dark and defects from the session store, and raise it to `gamma`; two are cached.

    Raises
    ------
    DamagedError
        If it is not there, or is not what was written.
    """
    return SessionStore(store).gain(digest).at(gamma)


def gain_for(store: str, params: GainParams, gamma: float) -> Gain | None:
    """Load the gain for the frames of a stack; None if the user gave no gain, dark or defects."""
    return stored_gain(store, params.gain, gamma) if params.gain else None


@dataclass(frozen=True, slots=True, eq=False)
class GainedFrames:
    """The frames of a stack, with the gain and the offset that are applied to each.

    Attributes
    ----------
    source
        The frames as read.
    gain
        Gain of this stack, its power taken; None = nothing is applied.
    offset
        Counts that are subtracted first; see `StackRecord`.
    """

    source: FrameSource
    gain: Gain | None
    offset: int = 0

    def gained(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Return a frame (ny, nx) after the gain, float32; unchanged without a gain or if it is blank."""
        if self.offset:
            frame = (frame.astype(np.float64) - self.offset).astype(np.float32)
        return frame if self.gain is None or is_blank(frame) else self.gain.apply(frame)

    def largest(self, low: float, high: float) -> float:
        """Return the largest absolute pixel possible after the gain, for pixels between low and high."""
        low, high = low - self.offset, high - self.offset
        return max(abs(low), abs(high)) if self.gain is None else self.gain.largest(low, high)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self.gained(frame) for frame in self.source)

"""Simulate the stacks of a session, each with its truth, each without computing the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.gain.gain import K2
from mrcz_dask.numerics.simulate import detector, specimen
from mrcz_dask.numerics.simulate.params import SimulationParams
from mrcz_dask.numerics.simulate.streams import Effect, EvolvingState, stream
from mrcz_dask.values.errors import ParameterError

Counts = npt.NDArray[np.integer]


@dataclass(frozen=True)
class StackTruth:
    """The truth about a simulated stack: outliers, pattern, illumination, dose, drift; (rows, columns).

    Attributes
    ----------
    hot, dead
        bool, True = outlier of that kind. A hot pixel that is also dead is dead.
    hot_excess
        float32, counts/pixel/frame, 0 where not hot.
    pattern
        float32, the multiplicative pattern E^gamma (1 + M + V), mean 1.
    additive
        float32, the additive pattern A, counts/pixel/frame, mean 0.
    illumination
        float32, the share H of electrons that carbon and ice let through, 1 = all; without the carbon
        round the hole that all stacks show, which drifts with the specimen.
    dose
        Counts/pixel/frame before specimen, outliers and illumination.
    drift
        (frames, 2) float64, y and x of the specimen relative to the first frame, pixels.
    noiseless
        float32, what the sum over frames would be on average with a perfect detector, counts.
    expected_sum
        float32, what the sum over frames is on average before clipping, outliers included, counts.
    """

    hot: npt.NDArray[np.bool_]
    dead: npt.NDArray[np.bool_]
    hot_excess: Image
    pattern: Image
    additive: Image
    illumination: Image
    dose: float
    drift: npt.NDArray[np.float64]
    noiseless: Image
    expected_sum: Image

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Mask of the hot and dead pixels, True = outlier."""
        return self.hot | self.dead


@dataclass(frozen=True)
class SimulatedStack:
    """A simulated stack, and the truth about it.

    Attributes
    ----------
    frames
        (frames, rows, columns) counts in the dtype of the parameters.
    truth
        The truth about it.
    """

    frames: Counts
    truth: StackTruth


@dataclass(frozen=True)
class SimulatedSession:
    """A simulated session, whose stacks are computed when they are asked for.

    Attributes
    ----------
    params
        All there is to know: equal parameters give equal sessions.
    """

    params: SimulationParams

    def __len__(self) -> int:
        return self.params.stacks

    def __iter__(self) -> Iterator[SimulatedStack]:
        return (self.stack(i) for i in range(len(self)))

    def stack(self, index: int) -> SimulatedStack:
        """Simulate stack `index`, 0 <= index < stacks, without computing the frames of other stacks.

        Raises
        ------
        ParameterError
            For an index outside the session.
        """
        if not 0 <= index < len(self):
            raise ParameterError(f"stack index is {index}; expected 0 <= index < {len(self)}")
        params = self.params
        while index and index in params.copied:
            index -= 1
        dose, pattern = self.dose(index), self.pattern(index)
        illumination = specimen.illumination(params, index)
        hot_excess = detector.hot_excess(params, self.hot.at(index))
        hot_excess = np.where(self.dead, np.float32(0), hot_excess)
        response = np.where(self.dead, np.float32(params.dead_response), np.float32(1))
        base, noiseless = np.float32(dose) * pattern * illumination, np.zeros(params.shape)
        drift, particles = specimen.drift_path(params, index), specimen.Specimen(params, index)

        frames = np.empty((params.frames, *params.shape), params.dtype)
        total = np.zeros(params.shape)
        for frame, (image, (dy, dx)) in enumerate(zip(frames, drift, strict=True)):
            image_of_specimen = 1 + particles.moved(dy, dx)
            if params.edge:
                image_of_specimen = image_of_specimen * specimen.beside_hole(params, index, drift[frame])
            noiseless += dose * illumination * image_of_specimen
            electrons = base * image_of_specimen
            counts = detector.counted(params, electrons) + self.additive + hot_excess
            expected = np.asarray(np.maximum(counts * response, 0), np.float32)
            total += expected
            draws = stream(params.seed, Effect.COUNTS, index, frame)
            image[:] = np.minimum(draws.poisson(expected), np.iinfo(params.dtype).max).astype(params.dtype)
        truth = StackTruth(
            hot=hot_excess > 0,
            dead=self.dead,
            hot_excess=hot_excess,
            pattern=pattern,
            additive=self.additive,
            illumination=illumination,
            dose=dose,
            drift=drift,
            noiseless=np.asarray(noiseless, np.float32),
            expected_sum=np.asarray(total, np.float32),
        )
        return SimulatedStack(frames, truth)

    def dose(self, index: int) -> float:
        """Return the dose of stack `index`, counts/pixel/frame, without specimen, carbon and ice."""
        draw = stream(self.params.seed, Effect.DOSE, index).standard_normal()
        jumps = zip(self.params.dose_jumps, self.params.dose_factors, strict=True)
        level = self.params.dose * prod(factor for start, factor in jumps if start <= index)
        return float(level * (1 + self.params.dose_jitter * np.clip(draw, -3, 3)))

    def pattern(self, index: int) -> Image:
        """Return stack `index`'s multiplicative pattern E^gamma (1 + M + V), float32, mean 1."""
        params = self.params
        gamma = K2.at(self.dose(index) / params.frame_time) if params.gamma is None else params.gamma
        since = max((i for i in params.new_gain if i <= index), default=0)
        if since not in self._fixed:
            self._fixed.clear()  # one at a time: they are as large as an image
            self._fixed[since] = detector.fixed_gain(params, since)
        evolving = np.zeros(params.shape, np.float32)
        state = self._evolving.at(index) if params.evolve else None
        if state is not None:
            evolving = np.float32(params.evolve) * detector.standardized(state)
        gain = self._etching ** np.float32(gamma) * (1 + self._fixed[since] + evolving)
        return np.asarray(gain / np.mean(gain, dtype=np.float64), np.float32)

    @cached_property
    def additive(self) -> Image:
        """The additive pattern A: columns and rows, float32 (rows, columns), counts/pixel/frame, mean 0."""
        kind = detector.columns_and_rows
        return detector.draw(self.params.additive, kind, self.params, Effect.ADDITIVE)

    @cached_property
    def dead(self) -> npt.NDArray[np.bool_]:
        """Map of dead pixels (rows, columns), True = dead; the same for all stacks."""
        return detector.dead_pixels(self.params)

    @cached_property
    def hot(self) -> EvolvingState[detector.Population]:
        """The simulated hot pixels of the session, from which those of any stack follow."""
        return detector.hot_population(self.params)

    @cached_property
    def _etching(self) -> Image:
        """E, mean 1."""
        return 1 + detector.draw(self.params.etch, detector.etching, self.params, Effect.ETCH)

    @cached_property
    def _fixed(self) -> dict[int, Image]:
        return {}

    @cached_property
    def _evolving(self) -> EvolvingState[Image | None]:
        return detector.evolving(self.params)


def simulate_session(params: SimulationParams | None = None) -> SimulatedSession:
    """Return a simulated session; nothing is computed before a stack is asked for.

    Parameters
    ----------
    params
        None = the *standard* session.

    Notes
    -----
    Expected counts of frame f: d E^gamma (1 + M + V) (1 + s(x - drift)) H, H with the
    carbon round a hole that drifts with the specimen, less what coincidence loses, + A
    + hot, dead pixels times their response; then Poisson, clipped to the dtype.
    """
    return SimulatedSession(SimulationParams() if params is None else params)

"""Electrons that are not counted because others are near, and the dose that corrects for them.

What a detector counts at a true occupancy o is counted(o) = false + o exp(c0 + c1 o + c2 o^2 + c3 o^3): c0 is
for the electrons that noise hides, c1 is minus the pixels within which one hides another, and false is what
noise alone gives. The coefficients come from simulated frames of the detector, counted in the same way, so
that splitting, thresholds and all else are in them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.counting.raw import RawParams
from mrcz_dask.numerics.counting.simulate import RawStack
from mrcz_dask.values.errors import ParameterError

OCCUPANCIES = (0.004, 0.01, 0.02, 0.035, 0.06, 0.1)
SIDE = 256
ELECTRONS = 30_000  # simulated at each occupancy
NOISE_FRAMES = 16
DEGREE = 3
SEED = 0x636F756E74


class LossCurve(NamedTuple):
    """What is counted at a true occupancy; see the module's equation.

    Attributes
    ----------
    false
        False events per pixel per frame without electrons.
    coefficients
        c0, c1, c2, c3.
    highest
        Largest true occupancy for which the curve holds.
    """

    false: float
    coefficients: tuple[float, ...]
    highest: float

    def counted(self, occupancy: float) -> float:
        """Return the counted occupancy at a true one, events per pixel per frame."""
        power = sum(c * occupancy**k for k, c in enumerate(self.coefficients))
        return self.false + occupancy * math.exp(power)

    def true(self, counted: float) -> float:
        """Return the true occupancy at a counted one; not a number beyond what the curve reaches."""
        if counted <= self.false:
            return 0.0
        if counted > self.counted(self.highest):
            return math.nan
        return float(brentq(lambda o: self.counted(o) - counted, 0, self.highest, xtol=1e-12))

    def loss(self, occupancy: float) -> float:
        """Return the share of electrons that is lost to coincidence: beyond what noise hides at any dose."""
        found = (self.counted(occupancy) - self.false) / max(occupancy, 1e-300)
        return 1 - found / math.exp(self.coefficients[0])

    def factor(self, counted: float) -> float:
        """Return by what a counted dose is multiplied to be the true one."""
        return self.true(counted) / counted


def loss_curve(params: CountingParams, quantum: float = 0.0, seed: int = SEED) -> LossCurve:
    """Return the loss curve of a detector as the parameters describe it, from simulated frames.

    Parameters
    ----------
    params
        As the events are counted, with the charge, width and sharing of the detector.
    quantum
        ADU per read noise if the frames are whole numbers, so that they are rounded as there; 0 = not.
    seed
        Of the simulated frames.
    """
    false = _counted(params, quantum, seed, 0.0)[0]
    rows = [_counted(params, quantum, seed + 1 + k, o) for k, o in enumerate(OCCUPANCIES)]
    true = np.array([row[1] for row in rows])
    ratio = np.log((np.array([row[0] for row in rows]) - false) / true)
    powers = true[:, None] ** np.arange(DEGREE + 1)
    weight = np.sqrt(np.exp(ratio) / (1.02 - np.exp(ratio)))
    found = np.linalg.lstsq(powers * weight[:, None], ratio * weight, rcond=None)[0]
    return LossCurve(false, tuple(float(c) for c in found), _monotone_up_to(tuple(found), OCCUPANCIES[-1]))


def _monotone_up_to(coefficients: tuple[float, ...], highest: float) -> float:
    at = np.linspace(0, highest, 400)[1:]
    counted = at * np.exp(sum(c * at**k for k, c in enumerate(coefficients)))
    falling = np.flatnonzero(np.diff(counted) <= 0)
    return float(at[falling[0]]) if falling.size else highest


def simulated(params: CountingParams, quantum: float, seed: int, occupancy: float) -> RawStack:
    """Return frames of a detector as the parameters describe it, with so many electrons a pixel."""
    return RawStack(_raw_params(params, quantum, seed, occupancy))


def _counted(params: CountingParams, quantum: float, seed: int, occupancy: float) -> tuple[float, float]:
    """Return counted and true occupancy of simulated frames."""
    stack = simulated(params, quantum, seed, occupancy)
    finder = EventFinder(Detector(stack.offset, stack.noise), params)
    found, there = 0, 0
    for k in range(stack.params.frames):
        frame = stack.frame(k)
        found += finder.find(frame.values).y.size
        there += frame.truth.y.size
    pixels = stack.params.frames * SIDE * SIDE
    return found / pixels, there / pixels


def _raw_params(params: CountingParams, quantum: float, seed: int, occupancy: float) -> RawParams:
    if quantum < 0:
        raise ParameterError(f"quantum is {quantum}; expected 0 or ADU per read noise")
    frames = math.ceil(ELECTRONS / (occupancy * SIDE * SIDE)) if occupancy else NOISE_FRAMES
    own = {
        "offset_spread": 0.0,
        "dark_current": 0.0,
        "gain_spread": 0.0,
        "noisy": 0.0,
        "dead": 0.0,
        "xrays": 0.0,
    }
    return RawParams(
        shape=(SIDE, SIDE), frames=frames, occupancy=occupancy, seed=seed, charge=params.charge,
        charge_width=params.width, sharing=params.sharing, read_noise=quantum or 1.0, saturation=30000.0,
        dtype="int16" if quantum else "float32", **own,
    )  # fmt: skip

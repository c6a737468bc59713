"""Estimate how many electrons coincidence hides (others are too close), and correct the dose for them.

At a true occupancy o a detector counts counted(o) = false + o exp(c0 + c1 o + c2 o^2 + c3 o^3). Noise alone
gives the false ones, and hides electrons (c0). One electron hides others within minus c1 pixels.
The coefficients come from simulated frames of the detector, counted in the same way, so that splitting,
thresholds and all else are in them.

The charge spectrum is corrected in the same way for weak electrons that are missed and pairs counted as one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.noise import ChargeSpectrum, charge_spectrum
from mrcz_dask.numerics.counting.params import CountingParams, RawParams
from mrcz_dask.numerics.counting.simulate import RawStack
from mrcz_dask.values.errors import ParameterError

OCCUPANCIES = (0.004, 0.01, 0.02, 0.035, 0.06, 0.1)
SIDE = 256
ELECTRONS = 30_000  # simulated at each occupancy
NOISE_FRAMES = 16
DEGREE = 3
SEED = 0x636F756E74
TURNS = 3
FOUND = 0.9  # of the electrons, roughly, to begin with
LEAST_WIDTH, LARGEST_WIDTH = 0.02, 0.6
SPECTRUM_SEED = 0x636861726765


class LossCurve(NamedTuple):
    """Curve of the counted occupancy over the true one, which tells how many electrons coincidence loses.

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
        """Return the occupancy that is counted at a true occupancy, events per pixel and frame."""
        power = sum(c * occupancy**k for k, c in enumerate(self.coefficients))
        return self.false + occupancy * math.exp(power)

    def true(self, counted: float) -> float:
        """Return the true occupancy for a counted one, electrons per pixel and frame; NaN beyond its
        range.
        """
        if counted <= self.false:
            return 0.0
        if counted > self.counted(self.highest):
            return math.nan
        return float(brentq(lambda o: self.counted(o) - counted, 0, self.highest, xtol=1e-12))

    def loss(self, occupancy: float) -> float:
        """Return the share (0..1) of electrons that coincidence loses at a true occupancy, not counting those
        that noise hides.
        """
        found = (self.counted(occupancy) - self.false) / max(occupancy, 1e-300)
        return 1 - found / math.exp(self.coefficients[0])


def loss_curve(params: CountingParams, quantum: float = 0.0) -> LossCurve:
    """Measure the loss curve of a detector by counting simulated frames with more and more electrons.

    Parameters
    ----------
    params
        Parameters of counting, with the charge, width and sharing of the detector.
    quantum
        ADU per read noise if the frames are whole numbers, so that they are rounded in the same way; 0 = not.
    """
    counts = []
    for i, occupancy in enumerate((0.0, *OCCUPANCIES)):
        stack = simulated(params, quantum, SEED + i, occupancy)
        finder = EventFinder(Detector(stack.offset, stack.noise), params)
        events = electrons = 0
        for k in range(stack.params.frames):
            frame = stack.frame(k)
            events += finder.find(frame.values).y.size
            electrons += frame.truth.y.size
        pixels = stack.params.frames * SIDE * SIDE
        counts.append((events / pixels, electrons / pixels))
    false, (counted, true) = counts[0][0], np.array(counts[1:]).T
    ratio = np.log((counted - false) / true)
    powers = true[:, None] ** np.arange(DEGREE + 1)
    weight = np.sqrt(np.exp(ratio) / (1.02 - np.exp(ratio)))
    fitted = np.linalg.lstsq(powers * weight[:, None], ratio * weight, rcond=None)[0]
    # the curve ends where it begins to fall
    at = np.linspace(0, OCCUPANCIES[-1], 400)[1:]
    falling = np.flatnonzero(np.diff(at * np.exp(sum(c * at**k for k, c in enumerate(fitted)))) <= 0)
    highest = float(at[falling[0]]) if falling.size else OCCUPANCIES[-1]
    return LossCurve(false, tuple(float(c) for c in fitted), highest)


def simulated(params: CountingParams, quantum: float, seed: int, occupancy: float) -> RawStack:
    """Simulate raw frames of a detector with these counting parameters, at an occupancy in electrons per
    pixel and frame.
    """
    if quantum < 0:
        raise ParameterError(f"quantum is {quantum}; expected 0 or ADU per read noise")
    frames = math.ceil(ELECTRONS / (occupancy * SIDE * SIDE)) if occupancy else NOISE_FRAMES
    return RawStack(
        RawParams(
            shape=(SIDE, SIDE), frames=frames, occupancy=occupancy, seed=seed, charge=params.charge,
            charge_width=params.width, sharing=params.sharing, read_noise=quantum or 1.0, saturation=30000.0,
            dtype="int16" if quantum else "float32", offset_spread=0.0, dark_current=0.0, gain_spread=0.0,
            noisy=0.0, dead=0.0, xrays=0.0,
        )
    )  # fmt: skip


def true_spectrum(
    measured: ChargeSpectrum,
    params: CountingParams,
    occupancy: float,
    noise: float,
    quantum: float = 0.0,
) -> ChargeSpectrum:
    """Find the true charge spectrum of electrons: the one with which simulated frames give the measured one.

    The threshold hides weak electrons, and two near each other are taken for one, so that a spectrum of
    events is that of larger and more different charges: some 3 % at a charge of 10 read noises. Simulated
    frames of a supposed charge and width are counted as the frames were. Charge and width are then multiplied
    by the ratios of the measured spectrum to the one in these frames.

    Parameters
    ----------
    measured
        Spectrum of the events, from `charge_spectrum`.
    params
        Parameters with which they were counted.
    occupancy
        Counted events per pixel and frame.
    noise
        Noise of an event's charge, as `charge_spectrum` took it.
    quantum
        ADU per read noise if the frames are whole numbers; 0 = not.
    """
    charge, width = measured
    for turn in range(TURNS):
        truth = replace(params, charge=charge, width=width)
        stack = simulated(truth, quantum, SPECTRUM_SEED + turn, occupancy / FOUND)
        detector = Detector(stack.offset, stack.noise)
        finder = EventFinder(detector, params)
        charges = [finder.find(stack.frame(k).values).charge for k in range(stack.params.frames)]
        again = charge_spectrum(np.concatenate(charges) / detector.unit, noise)
        charge *= measured.charge / again.charge
        width = float(np.clip(width * measured.width / max(again.width, 1e-6), LEAST_WIDTH, LARGEST_WIDTH))
    return ChargeSpectrum(charge, width)

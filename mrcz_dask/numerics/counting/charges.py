"""The charge of an electron, from the spectrum of those that are found: weak ones miss, pairs are one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mrcz_dask.numerics.counting.coincidence import simulated
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.events import EventFinder
from mrcz_dask.numerics.counting.noise import ChargeSpectrum, charge_spectrum
from mrcz_dask.numerics.counting.params import CountingParams

TURNS = 3
FOUND = 0.9  # of the electrons, roughly, to begin with
LEAST_WIDTH, LARGEST_WIDTH = 0.02, 0.6
SEED = 0x636861726765


def true_spectrum(
    found: ChargeSpectrum,
    look: CountingParams,
    occupancy: float,
    noise: float,
    quantum: float = 0.0,
    seed: int = SEED,
) -> ChargeSpectrum:
    """Return the spectrum that gives the one that was found, if it is looked at in the same way.

    The threshold hides weak electrons, and two near each other are taken for one, so that a spectrum of
    events is that of larger and more different charges: some 3 % at a charge of 10 read noises. Simulated
    frames of a supposed charge and width are counted as the frames were, and charge and width are moved by
    the ratios of what was found to what is found there.

    Parameters
    ----------
    found
        What `charge_spectrum` gave for the events.
    look
        How they were counted.
    occupancy
        Counted events per pixel and frame.
    noise
        As `charge_spectrum` took it.
    quantum
        ADU per read noise if the frames are whole numbers; 0 = not.
    seed
        Of the simulated frames.
    """
    charge, width = found
    for turn in range(TURNS):
        truth = replace(look, charge=charge, width=width)
        there = _found_there(truth, look, occupancy / FOUND, noise, quantum, seed + turn)
        charge *= found.charge / there.charge
        width = float(np.clip(width * found.width / max(there.width, 1e-6), LEAST_WIDTH, LARGEST_WIDTH))
    return ChargeSpectrum(charge, width)


def _found_there(
    truth: CountingParams, look: CountingParams, occupancy: float, noise: float, quantum: float, seed: int
) -> ChargeSpectrum:
    stack = simulated(truth, quantum, seed, occupancy)
    detector = Detector(stack.offset, stack.noise)
    finder = EventFinder(detector, look)
    frames = range(stack.params.frames)
    charges = [finder.find(stack.frame(k).values).charge for k in frames]
    return charge_spectrum(np.concatenate(charges) / detector.unit, noise)

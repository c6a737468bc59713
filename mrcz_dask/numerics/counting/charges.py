"""Correct the charge spectrum of electrons for weak electrons that are missed and pairs counted as one."""

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
    measured: ChargeSpectrum,
    params: CountingParams,
    occupancy: float,
    noise: float,
    quantum: float = 0.0,
    seed: int = SEED,
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
    seed
        Seed of the simulated frames.
    """
    charge, width = measured
    for turn in range(TURNS):
        truth = replace(params, charge=charge, width=width)
        stack = simulated(truth, quantum, seed + turn, occupancy / FOUND)
        detector = Detector(stack.offset, stack.noise)
        finder = EventFinder(detector, params)
        charges = [finder.find(stack.frame(k).values).charge for k in range(stack.params.frames)]
        again = charge_spectrum(np.concatenate(charges) / detector.unit, noise)
        charge *= measured.charge / again.charge
        width = float(np.clip(width * measured.width / max(again.width, 1e-6), LEAST_WIDTH, LARGEST_WIDTH))
    return ChargeSpectrum(charge, width)

"""Check gain and dark against raw frames: against the charge of electrons, and against the mean frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

import numpy as np

from mrcz_dask.formats.sources import open_source
from mrcz_dask.gain.check import GainOrientation, GainProblem, compare_dark, compare_gain
from mrcz_dask.gain.prepared import PreparedGain
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.gain.estimate import SessionPattern
from mrcz_dask.numerics.gain.orientation import IDENTITY
from mrcz_dask.values.params import InputParams


def compare_with_frames(
    detector: Detector,
    prepared: PreparedGain | None,
    about: Mapping[str, Any],
    frames: Sequence[tuple[str, int]],
    inputs: InputParams,
    sigma: float,
    charge: float,
) -> list[GainProblem]:
    """Check gain and dark against raw frames, and return a finding for each that does not fit.

    Parameters
    ----------
    detector
        Dark, noise and pixels that are used.
    prepared
        The references as they were turned; None = only a stack of dark frames.
    about
        Names of the references, "gain" and "dark".
    frames
        Path of the stack and number of each frame; those that cannot be read are left out.
    inputs
        How stacks are read.
    sigma
        Pixels above so many read noises hold charge of electrons; the others are only noise.
    charge
        Charge of an electron, read noises.

    Notes
    -----
    The sum of a pixel's charge follows its gain without the dark and nearly without the read noise.
    """
    dark = detector.dark.astype(np.float32)
    limit = (sigma * detector.noise).astype(np.float32)
    total, charges = np.zeros(dark.shape), np.zeros(dark.shape)
    stacks = number = 0
    for path, group in groupby(frames, key=lambda frame: frame[0]):
        with suppress(ValueError, OSError), open_source(path, inputs) as source:
            for _, k in group:
                frame = source.physical(k)
                above = frame - dark
                total += frame
                charges += np.where(above > limit, above, 0)
                number += 1
            stacks += 1
    good, findings = detector.used, list[GainProblem]()
    if number and "dark" in about:
        mean = total / number
        pattern = SessionPattern(mean, good, 0.0, stacks, float(mean[good].mean()))
        way = GainOrientation(IDENTITY) if prepared is None else prepared.way
        findings += compare_dark(about, detector.dark, way, pattern)
    level = float(charges[good].mean())
    if level > 0 and prepared is not None and "gain" in about:
        unit = charge * float(np.median(detector.noise[good]))
        pattern = SessionPattern(charges / level, good, level / unit, stacks, level / max(1, number))
        way, params = prepared.way, prepared.params
        findings += compare_gain(prepared.gain, params, about, way, pattern, charge=True)
    return findings

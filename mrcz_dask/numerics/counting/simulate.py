"""Simulate raw frames of a linear detector, with the true electrons of each."""

from __future__ import annotations

import math
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats
from mrcz_dask.numerics.counting.params import RawParams
from mrcz_dask.numerics.kernels import compiled
from mrcz_dask.numerics.simulate.streams import stream

MARGIN = 3  # pixels beyond the edges from which charge still comes in


class RawPurpose(IntEnum):
    """Purposes of random streams; the integers never change, so that a seed keeps giving the same frames."""

    NUMBER = 101
    PLACES = 102
    CHARGES = 103
    READ = 104
    XRAYS = 105
    OFFSET = 106
    DARK = 107
    GAIN = 108
    CLASSES = 109


class Truth(NamedTuple):
    """True electrons of a simulated frame, float64 (n,): y, x in pixels, charge in ADU.

    Pixel i covers i <= y < i + 1.
    """

    y: Floats
    x: Floats
    charge: Floats


class RawFrame(NamedTuple):
    """A simulated raw frame (ny, nx) and the electrons that hit it; those beyond its edges are left out."""

    values: NDArray[Any]
    truth: Truth


@compiled
def add_clouds(y: Floats, x: Floats, charge: Floats, sharing: float, out: Floats) -> None:
    """Add the charge of electrons to an image: Gaussian clouds, integrated over each pixel exactly."""
    ny, nx = out.shape
    reach = math.ceil(5 * sharing)
    size = 2 * reach + 1
    down, across, scale = np.empty(size), np.empty(size), 1 / (sharing * math.sqrt(2.0))
    for k in range(y.size):
        top, left = math.floor(y[k]) - reach, math.floor(x[k]) - reach
        for j in range(size):
            at_y, at_x = top + j - y[k], left + j - x[k]
            down[j] = 0.5 * (math.erf((at_y + 1) * scale) - math.erf(at_y * scale))
            across[j] = 0.5 * (math.erf((at_x + 1) * scale) - math.erf(at_x * scale))
        for j in range(max(0, -top), min(size, ny - top)):
            for i in range(max(0, -left), min(size, nx - left)):
                out[top + j, left + i] += charge[k] * down[j] * across[i]


class RawStack:
    """A simulated stack of raw frames; any frame can be made alone, in any order, on any worker.

    Parameters
    ----------
    params
        Parameters of the frames.
    """

    def __init__(self, params: RawParams) -> None:
        self.params = params

    @cached_property
    def offset(self) -> Floats:
        """(ny, nx) float64: dark of each pixel, ADU, dark current included."""
        p = self.params
        spread = stream(p.seed, RawPurpose.OFFSET).standard_normal(p.shape) * p.offset_spread
        return (
            p.offset + spread + p.dark_current * stream(p.seed, RawPurpose.DARK).standard_exponential(p.shape)
        )

    @cached_property
    def gain(self) -> Floats:
        """(ny, nx) float64: gain of each pixel; 0 for a dead one."""
        p = self.params
        gain = 1 + p.gain_spread * stream(p.seed, RawPurpose.GAIN).standard_normal(p.shape)
        return np.where(self._classes < p.dead, 0.0, gain)

    @cached_property
    def noise(self) -> Floats:
        """(ny, nx) float64: read noise of each pixel in ADU."""
        p = self.params
        noisy = self._classes >= 1 - p.noisy
        return p.read_noise * np.where(noisy, p.noisy_factor, 1.0)

    @cached_property
    def _classes(self) -> Floats:
        return stream(self.params.seed, RawPurpose.CLASSES).random(self.params.shape)

    def truth(self, frame: int) -> Truth:
        """Return all electrons of a frame, also those that hit up to `MARGIN` pixels beyond its edges."""
        p, place = self.params, stream(self.params.seed, RawPurpose.PLACES, frame)
        tall, wide = (size + 2 * MARGIN for size in p.shape)
        n = int(stream(p.seed, RawPurpose.NUMBER, frame).poisson(p.occupancy * tall * wide))
        y, x = place.random((n, 2)).T
        normal = stream(p.seed, RawPurpose.CHARGES, frame).standard_normal(n)
        # the logarithm of a squared normal number is a Moyal one
        charge = p.charge * (1 - p.charge_width * np.log(np.maximum(normal**2, 1e-12)))
        return Truth(y * tall - MARGIN, x * wide - MARGIN, np.maximum(charge, 0) * p.read_noise)

    def frame(self, frame: int) -> RawFrame:
        """Simulate a frame, and return it with its true electrons."""
        p, electrons = self.params, self.truth(frame)
        values = np.zeros(p.shape)
        add_clouds(*electrons, p.sharing, values)
        xrays = stream(p.seed, RawPurpose.XRAYS, frame)
        at = xrays.integers(0, values.size, xrays.poisson(p.xrays * values.size))
        np.add.at(values.reshape(-1), at, p.xray_charge * p.read_noise)
        values *= self.gain
        values += self.offset
        values += self.noise * stream(p.seed, RawPurpose.READ, frame).standard_normal(p.shape, np.float32)
        if p.dtype == "float32":
            digitized: NDArray[Any] = np.minimum(values, p.saturation).astype(np.float32)
        else:
            low = np.iinfo(p.dtype).min
            digitized = np.clip(np.rint(values), low, p.saturation).astype(p.dtype)
        y, x, _ = electrons
        inside = (y >= 0) & (y < p.shape[0]) & (x >= 0) & (x < p.shape[1])
        return RawFrame(digitized, Truth(*(column[inside] for column in electrons)))

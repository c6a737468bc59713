"""Parameters of counting and of simulated raw frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mrcz_dask.values.checks import within
from mrcz_dask.values.params import Parameters

Clusters = Literal["maxima", "components"]
Position = Literal["fitted", "centroid", "maximum"]
RawDtype = Literal["uint8", "uint16", "int16", "float32"]
LARGEST = {"uint8": 255.0, "uint16": 65535.0, "int16": 32767.0, "float32": 1e30}


@dataclass(frozen=True, slots=True)
class CountingParams(Parameters):
    """Parameters by which electrons are found; lengths in pixels, charges and noise in read noises.

    Attributes
    ----------
    sigma
        Smallest significance of an electron. With ``maxima`` it is that of its fitted cloud of charge, with
        ``components`` that of each of its pixels.
    charge
        Most probable charge of an electron.
    width
        Scale of the charge's Moyal distribution, relative to the most probable charge.
    sharing
        Standard deviation of the cloud of charge.
    xray
        A pixel above this is an X-ray and not counted; 0 = 3.5 times the most probable charge.
    clusters
        ``maxima``: local maxima of the smoothed frame, overlapping electrons fitted together;
        ``components``: pixels above the threshold that touch, 8 neighbors, are one electron.
    position
        Impact by a ``fitted`` cloud (maxima only), the ``centroid``, or the ``maximum`` pixel's middle.
    """

    _title = "counting parameters"
    sigma: float = 4.1
    charge: float = 10.0
    width: float = 0.12
    sharing: float = 0.4
    xray: float = 0.0
    clusters: Clusters = "maxima"
    position: Position = "fitted"

    def _problems(self) -> Iterator[str]:
        yield from within("sigma", self.sigma, 2, 20, unit=" read noises")
        yield from within("charge", self.charge, 1, 1e4, unit=" read noises")
        yield from within("width", self.width, 0, 1)
        yield from within("sharing", self.sharing, 0.2, 0.8, unit=" pixels")
        yield from within("xray", self.xray, 0, 1e6, unit=" read noises")
        if self.clusters == "components" and self.position == "fitted":
            yield "position is 'fitted'; expected 'centroid' or 'maximum' with clusters 'components'"

    @property
    def xray_limit(self) -> float:
        """Value of a pixel, in read noises, above which it is taken for an X-ray and not an electron."""
        return self.xray or 3.5 * self.charge


@dataclass(frozen=True, slots=True)
class RawParams(Parameters):
    """Parameters of simulated raw frames: detector, dose, noise; an effect set to 0 changes no other draw.

    Attributes
    ----------
    shape
        Rows and columns, pixels.
    frames
        Frames of the stack.
    occupancy
        Electrons per pixel per frame, Poisson, evenly over the detector and beyond its edges.
    seed
        0 <= seed < 2^64.
    read_noise
        Standard deviation of the read noise, ADU.
    charge
        Most probable charge of an electron in read noises.
    charge_width
        Scale w of the Moyal distribution of the charge, relative to the most probable one; its full width at
        half maximum is 3.59 w. Landau's theory gives .12 for 300 keV electrons in 14 um of silicon.
    sharing
        Standard deviation of the cloud of charge in pixels, Gaussian.
    offset, offset_spread
        Mean and standard deviation of the pixels' fixed offsets, ADU.
    dark_current
        Mean of the dark charge per frame, ADU; exponential from pixel to pixel, the same in all frames.
    gain_spread
        Standard deviation of the pixels' gain (mean 1).
    noisy, noisy_factor
        Share of noisy pixels, and how many times their read noise is larger.
    dead
        Share of pixels that collect no charge.
    xrays
        X-rays per pixel per frame.
    xray_charge
        Charge that an X-ray leaves in its pixel, in read noises.
    saturation
        Largest value of a pixel, ADU.
    dtype
        Type of the pixels: ``uint8``, ``uint16``, ``int16``, ``float32`` (not rounded).
    """

    _title = "raw parameters"
    shape: tuple[int, int] = (512, 512)
    frames: int = 16
    occupancy: float = 0.01
    seed: int = 0
    read_noise: float = 4.0
    charge: float = 10.0
    charge_width: float = 0.12
    sharing: float = 0.4
    offset: float = 100.0
    offset_spread: float = 6.0
    dark_current: float = 1.0
    gain_spread: float = 0.02
    noisy: float = 1e-3
    noisy_factor: float = 4.0
    dead: float = 1e-4
    xrays: float = 1e-6
    xray_charge: float = 200.0
    saturation: float = 4095.0
    dtype: RawDtype = "uint16"

    def _problems(self) -> Iterator[str]:
        yield from within("number of sizes in shape", len(self.shape), 2, 2)
        for size in self.shape:
            yield from within("shape", size, 8, 32768, unit=" pixels")
        yield from within("frames", self.frames, 1, 1_000_000)
        yield from within("seed", self.seed, 0, 2**64 - 1)
        yield from within("occupancy", self.occupancy, 0, 1, unit=" electrons/pixel/frame")
        yield from within("charge", self.charge, 0, 1e4, open_low=True, unit=" read noises")
        yield from within("charge_width", self.charge_width, 0, 1)
        yield from within("sharing", self.sharing, 0.05, 2, unit=" pixels")
        yield from within("xrays", self.xrays, 0, 0.1, unit=" /pixel/frame")
        yield from within("xray_charge", self.xray_charge, 0, 1e5, unit=" read noises")
        yield from within("read_noise", self.read_noise, 0, 1e4, open_low=True, unit=" ADU")
        yield from within("offset", self.offset, -1e5, 1e5, unit=" ADU")
        for name in ("offset_spread", "dark_current"):
            yield from within(name, getattr(self, name), 0, 1e4, unit=" ADU")
        yield from within("gain_spread", self.gain_spread, 0, 0.2)
        for name in ("noisy", "dead"):
            yield from within(name, getattr(self, name), 0, 0.2)
        yield from within("noisy_factor", self.noisy_factor, 1, 100)
        yield from within("saturation", self.saturation, 1, LARGEST.get(self.dtype, 1e30), unit=" ADU")

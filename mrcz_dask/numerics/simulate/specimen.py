"""Simulate the specimen and its drift, carbon edges and ice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.simulate.detector import standardized
from mrcz_dask.numerics.simulate.params import SimulationParams
from mrcz_dask.numerics.simulate.streams import Effect, stream

BLUR = 3.0
SPACING = 20.0
GRADIENT_SHARE = 0.1


def drift_path(params: SimulationParams, index: int) -> npt.NDArray[np.float64]:
    """Return the simulated drift of the specimen: its position in each frame relative to the first, (frames,
    2), pixels in y and x.

    Frame f moves by drift * (.5 + 2 exp(-8 f/n)) pixels in a direction that turns slowly.
    """
    draws = stream(params.seed, Effect.DRIFT, index)
    course = np.arange(params.frames) / params.frames
    angle = draws.uniform(0, 2 * np.pi) + draws.normal(0, 0.3) * course
    speed = params.drift * (0.5 + 2 * np.exp(-8 * course))
    steps = speed[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0)])


def tilt_angle(params: SimulationParams, index: int) -> float:
    """Return the tilt of stack `index` in degrees: 0, 3, -3, 6, -6, ...; 0 without tilt series."""
    k = index % params.tilts if params.tilts else 0
    return params.tilt_step * ((k + 1) // 2 if k % 2 else -(k // 2))


def aim(params: SimulationParams, index: int) -> npt.NDArray[np.float64]:
    """Return by how many pixels (y, x) stack `index` misses the area at which several stacks are aimed."""
    return stream(params.seed, Effect.AIM, index).normal(0, params.aim_error, 2)


class Specimen:
    """A simulated specimen: blurred particles and a weak gradient, which can be shifted by the drift.

    The particles are periodic, so that the drift brings nothing in that was not drawn before. Stacks of a
    tilt series, and of the same area, show one specimen, each where it was aimed at.
    """

    def __init__(self, params: SimulationParams, index: int) -> None:
        together = params.tilts or params.same_area
        draws = stream(params.seed, Effect.SPECIMEN, index // together * together)
        self._shape = params.shape
        self._aim = aim(params, index) if together > 1 else np.zeros(2)
        tilt = tilt_angle(params, index) if params.tilts else None
        self._particles = np.float32(params.specimen * np.sqrt(1 - GRADIENT_SHARE)) * particles(
            params.shape, draws, tilt
        )
        angle = draws.uniform(0, 2 * np.pi)
        slope = params.specimen * np.sqrt(12 * GRADIENT_SHARE)
        self._slope = slope * np.sin(angle) / params.shape[0], slope * np.cos(angle) / params.shape[1]

    def moved(self, dy: float, dx: float) -> Image:
        """Return the specimen moved by (dy, dx) pixels: relative brightness, float32, mean about 0."""
        dy, dx = dy + self._aim[0], dx + self._aim[1]
        y, x = (
            np.asarray(rise * (np.arange(size) - (size - 1) / 2 - by), np.float32)
            for rise, size, by in zip(self._slope, self._shape, (dy, dx), strict=True)
        )
        return shifted(self._particles, dy, dx) + y[:, None] + x


def particles(shape: tuple[int, int], draws: np.random.Generator, tilt: float | None = None) -> Image:
    """Return an image of simulated particles, dark on bright: mean 0, std 1, periodic, float32.

    With a `tilt` in degrees they lie at depths of a quarter of the image, and move along x by it; the image
    has std 1 / cos(tilt), as the electrons' path is longer.
    """
    number = max(3, round(shape[0] * shape[1] / SPACING**2))
    y, x = (np.asarray(draws.uniform(0, size, number), np.int64) for size in shape)
    field = np.zeros(shape, np.float32)
    weights = np.asarray(draws.uniform(0.5, 1.5, number), np.float32)
    if tilt is None:
        np.subtract.at(field, (y, x), weights)
        return standardized(gaussian_filter(field, BLUR, mode="wrap"))
    depth, angle = draws.uniform(-0.125, 0.125, number) * shape[1], np.deg2rad(tilt)
    middle = shape[1] / 2
    x = np.asarray(middle + (x - middle) * np.cos(angle) + depth * np.sin(angle), np.int64) % shape[1]
    np.subtract.at(field, (y, x), weights)
    return np.asarray(standardized(gaussian_filter(field, BLUR, mode="wrap")) / np.float32(np.cos(angle)))


def shifted(image: Image, dy: float, dx: float) -> Image:
    """Shift a periodic image by (dy, dx) pixels, with cubic interpolation (Catmull-Rom)."""
    for axis, by in enumerate((dy, dx)):
        whole = int(np.ceil(by))
        t = whole - by
        taps = (
            -0.5 * t + t**2 - 0.5 * t**3,
            1 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        )
        moved = np.zeros_like(image)
        for offset, tap in zip((-1, 0, 1, 2), taps, strict=True):
            moved += np.float32(tap) * np.roll(image, whole - offset, axis)
        image = moved
    return image


def illumination(params: SimulationParams, index: int) -> Image:
    """Return the share (0..1) of electrons that carbon and ice let through to each pixel of stack `index`,
    float32 (rows, columns).
    """
    through = np.ones(params.shape, np.float32)
    size = min(params.shape)
    if params.gradient:
        angle = stream(params.seed, Effect.GRADIENT, index).uniform(0, 2 * np.pi)
        y, x = (np.arange(n) / (n - 1) - 0.5 for n in params.shape)
        rise = y[:, None] * np.sin(angle) + x * np.cos(angle)
        through *= np.asarray(1 + params.gradient * rise, np.float32)
    if index in params.carbon:
        edge = _edge(params.shape, stream(params.seed, Effect.CARBON, index), 1.5 * size, size / 64)
        through *= 1 - np.float32(params.carbon_strength) * edge
    if index in params.ice:
        slope = _edge(params.shape, stream(params.seed, Effect.ICE, index), 3.0 * size, size / 8)
        through *= 1 - np.float32(params.ice_strength) * slope
    return through


def beside_hole(params: SimulationParams, index: int, moved: npt.NDArray[np.float64]) -> Image:
    """Return the share (0..1) of electrons that the carbon round the hole of every stack lets through,
    float32 (rows, columns), where the specimen of stack `index` has moved by (y, x) pixels.
    """
    size = min(params.shape)
    at = aim(params, index) + moved
    carbon = _edge(params.shape, stream(params.seed, Effect.CARBON), size, size / 64, at)
    return 1 - np.float32(params.edge) * carbon


def _edge(
    shape: tuple[int, int],
    draws: np.random.Generator,
    radius: float,
    width: float,
    moved: npt.NDArray[np.float64] | None = None,
) -> Image:
    """Return 0 inside a circle whose edge crosses the image near its middle, 1 outside."""
    angle, off = draws.uniform(0, 2 * np.pi), draws.uniform(-0.2, 0.2) * min(shape)
    reach = radius + off
    dy, dx = (0.0, 0.0) if moved is None else moved
    y = np.arange(shape[0]) - shape[0] / 2 + reach * np.sin(angle) - dy
    x = np.arange(shape[1]) - shape[1] / 2 + reach * np.cos(angle) - dx
    return np.asarray(expit((np.hypot(y[:, None], x) - radius) / width), np.float32)

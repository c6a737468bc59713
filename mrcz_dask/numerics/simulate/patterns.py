"""Simulate the detector's pattern: etching, columns and rows, pixel gain, and a part that evolves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mrcz_dask.numerics.simulate.params import SimulationParams
from mrcz_dask.numerics.simulate.streams import Purpose, Replay, stream

Image = npt.NDArray[np.float32]
Kind = Callable[[tuple[int, int], np.random.Generator], Image]

COLUMN_BLOCK = 32
SWEEPS = 4
WAVELENGTHS = (24.0, 96.0)
SENSOR_RATE = 400.0


def standardized(field: npt.NDArray[np.floating]) -> Image:
    """Return an image shifted and scaled to mean 0 and standard deviation 1."""
    centered = np.asarray(field, np.float64) - np.mean(field, dtype=np.float64)
    return np.asarray(centered / np.std(centered), np.float32)


def etching(shape: tuple[int, int], draws: np.random.Generator) -> Image:
    """Return a simulated etching pattern: four warped diagonal sweeps, mean 0, std 1, float32."""
    total = np.zeros(shape)
    for k in range(SWEEPS):
        total += _sweep(shape, draws, np.pi * (2 * k + 1) / 4)
    return standardized(total)


def _sweep(shape: tuple[int, int], draws: np.random.Generator, diagonal: float) -> npt.NDArray[np.float64]:
    angle = diagonal + draws.uniform(-0.25, 0.25)
    wavelength = np.exp(draws.uniform(*np.log(WAVELENGTHS)))
    chirp, phase, warp_y, warp_x = draws.uniform(0, 1, 4)
    y, x = (np.arange(size) / size for size in shape)
    along_y = shape[0] * np.sin(angle) * y / wavelength + 0.25 * np.sin(2 * np.pi * (y + warp_y))
    along_x = shape[1] * np.cos(angle) * x / wavelength + 0.25 * np.sin(2 * np.pi * (x + warp_x))
    turns = along_y[:, None] + along_x
    turns += 0.3 * chirp * turns * (y[:, None] + x) / 2
    return np.asarray(np.sin(2 * np.pi * (turns + phase)))


def columns_and_rows(shape: tuple[int, int], draws: np.random.Generator) -> Image:
    """Return the simulated stripes of CMOS columns and rows; mean 0, standard deviation 1, float32.

    Half of the variance is in single columns, .3 in blocks of columns, .2 in rows.
    """
    ny, nx = shape
    halves = np.sqrt(0.5) * draws.standard_normal((2, nx))
    blocks = np.sqrt(0.3) * draws.standard_normal((2, -(-nx // COLUMN_BLOCK)))
    halves += np.repeat(blocks, COLUMN_BLOCK, axis=1)[:, :nx]
    rows = np.sqrt(0.2) * draws.standard_normal(ny)
    return standardized(np.repeat(halves, (ny // 2, ny - ny // 2), axis=0) + rows[:, None])


def pixel_gain(shape: tuple[int, int], draws: np.random.Generator) -> Image:
    """Return a simulated gain error of single pixels: white noise, mean 0, standard deviation 1, float32."""
    return standardized(draws.standard_normal(shape))


def draw(std: float, kind: Kind, params: SimulationParams, purpose: Purpose, index: int = 0) -> Image:
    """Draw a random pattern of one kind, mean 0 and standard deviation `std`, float32 (rows, columns), from a
    stream of its own.
    """
    if std == 0:
        return np.zeros(params.shape, np.float32)
    return np.float32(std) * kind(params.shape, stream(params.seed, purpose, index))


def fixed_gain(params: SimulationParams, since: int = 0) -> Image:
    """Return the fixed multiplicative pattern M from stack `since` on: columns, rows and pixels, mean 0."""
    columns = draw(params.cmos, columns_and_rows, params, Purpose.CMOS, since)
    return columns + draw(params.pixel, pixel_gain, params, Purpose.PIXEL, since)


def counted(params: SimulationParams, electrons: Image) -> Image:
    """Return the electrons of a frame that a counting detector counts: all except those lost to coincidence.

    An electron counts if no earlier one of the same frame of the sensor is within `coincidence` pixels; of
    x expected there 1 - exp(-x) count. It flattens what is bright, and the pattern with it.

    Parameters
    ----------
    params
        With the time of a frame; the K2's sensor takes 400 frames per second.
    electrons
        Expected electrons per pixel and frame, (rows, columns).
    """
    if params.coincidence == 0:
        return electrons
    crowd = electrons * np.float32(params.coincidence / (SENSOR_RATE * params.frame_time))
    share = np.where(crowd > 0, -np.expm1(-crowd) / np.maximum(crowd, 1e-30), 1)
    return np.asarray(share * electrons, np.float32)


def evolving(params: SimulationParams) -> Replay[Image | None]:
    """Return the part of the pattern that changes with dose, as a state that gives it at any stack."""

    def step(before: Image | None, index: int) -> Image:
        """Mix the pattern of the stack before with a fresh one."""
        draws = stream(params.seed, Purpose.EVOLVE, index)
        fresh = etching(params.shape, draws) + columns_and_rows(params.shape, draws)
        fresh *= np.float32(np.sqrt(0.5))
        if before is None or index in params.new_gain:
            return fresh
        memory = np.exp(-params.dose * params.frames / params.tau)
        return np.float32(memory) * before + np.float32(np.sqrt(1 - memory**2)) * fresh

    return Replay(step, None)

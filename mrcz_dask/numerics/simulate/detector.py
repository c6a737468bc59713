"""A simulated detector: its fixed pattern, and its hot and dead pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.simulate.params import SimulationParams
from mrcz_dask.numerics.simulate.streams import Effect, EvolvingState, stream

PatternDraw = Callable[[tuple[int, int], np.random.Generator], Image]

COLUMN_BLOCK = 32
SWEEPS = 4
WAVELENGTHS = (24.0, 96.0)
SENSOR_RATE = 400.0
Sites = npt.NDArray[np.int64]


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


def draw(std: float, kind: PatternDraw, params: SimulationParams, purpose: Effect, index: int = 0) -> Image:
    """Draw a random pattern of one kind, mean 0 and standard deviation `std`, float32 (rows, columns), from a
    stream of its own.
    """
    if std == 0:
        return np.zeros(params.shape, np.float32)
    return np.float32(std) * kind(params.shape, stream(params.seed, purpose, index))


def fixed_gain(params: SimulationParams, since: int = 0) -> Image:
    """Return the fixed multiplicative pattern M from stack `since` on: columns, rows and pixels, mean 0."""
    columns = draw(params.cmos, columns_and_rows, params, Effect.CMOS, since)
    return columns + draw(params.pixel, pixel_gain, params, Effect.PIXEL, since)


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


def evolving(params: SimulationParams) -> EvolvingState[Image | None]:
    """Return the part of the pattern that changes with dose, as a state that gives it at any stack."""

    def step(before: Image | None, index: int) -> Image:
        """Mix the pattern of the stack before with a fresh one."""
        draws = stream(params.seed, Effect.EVOLVE, index)
        fresh = etching(params.shape, draws) + columns_and_rows(params.shape, draws)
        fresh *= np.float32(np.sqrt(0.5))
        if before is None or index in params.new_gain:
            return fresh
        memory = np.exp(-params.dose * params.frames / params.tau)
        return np.float32(memory) * before + np.float32(np.sqrt(1 - memory**2)) * fresh

    return EvolvingState(step, None)


@dataclass(frozen=True)
class HotDefects:
    """Simulated hot defects, each of one or two pixels: where they are and how bright.

    Attributes
    ----------
    sites
        (defects, size) int64, flat indices of their physical pixels.
    excess
        (defects, size) float64, in units of the dose d.
    """

    sites: Sites
    excess: npt.NDArray[np.float64]


Population = tuple[HotDefects, HotDefects]


def hot_population(params: SimulationParams) -> EvolvingState[Population]:
    """Return the simulated hot pixels of a session, adjacent pairs and single ones, stack after stack."""

    def step(before: Population, index: int) -> Population:
        """Let hot pixels die, and others be born."""
        draws = stream(params.seed, Effect.HOT, index)
        course = index / max(params.stacks - 1, 1)
        share = params.hot[0] + (params.hot[1] - params.hot[0]) * course
        total = round(share * ny * nx)
        pairs = round(params.hot_pairs * total / 2)
        targets = pairs, total - 2 * pairs
        old = []
        for defects, target in zip(before, targets, strict=True):
            number = len(defects.sites)
            kept = min(round(params.hot_persistence * number), target)
            chosen = np.sort(draws.permutation(number)[:kept])
            old.append(HotDefects(defects.sites[chosen], defects.excess[chosen]))
        taken = {site for defects in old for site in defects.sites.ravel().tolist()}
        new_pairs = _with_born(params, old[0], targets[0], taken, draws)
        return new_pairs, _with_born(params, old[1], targets[1], taken, draws)

    ny, nx = _site_shape(params)
    nothing = [HotDefects(np.zeros((0, size), np.int64), np.zeros((0, size))) for size in (2, 1)]
    return EvolvingState(step, (nothing[0], nothing[1]))


def hot_excess(params: SimulationParams, population: Population) -> Image:
    """Return how much brighter hot pixels make each pixel, counts/pixel/frame, float32 (rows, columns); 0
    where not hot.
    """
    excess = np.zeros(_site_shape(params), np.float32)
    for defects in population:
        excess.flat[defects.sites.ravel()] = params.dose * defects.excess.ravel()
    return np.asarray(_magnified(params, excess), np.float32)


def dead_pixels(params: SimulationParams) -> npt.NDArray[np.bool_]:
    """Return a map of the simulated dead pixels (rows, columns), True = dead; the same for all stacks."""
    shape = _site_shape(params)
    sites = shape[0] * shape[1]
    dead = np.zeros(shape, bool)
    draws = stream(params.seed, Effect.DEAD)
    dead.flat[draws.choice(sites, round(params.dead * sites), replace=False)] = True
    return np.asarray(_magnified(params, dead), bool)


def _with_born(
    params: SimulationParams, old: HotDefects, target: int, taken: set[int], draws: np.random.Generator
) -> HotDefects:
    """Add defects on free pixels until there are `target`; `taken` grows by their pixels."""
    size = old.sites.shape[1]
    born: list[tuple[int, ...]] = []
    ny, nx = _site_shape(params)
    while len(born) < target - len(old.sites):
        first = int(draws.integers(ny * nx))
        site: tuple[int, ...] = (first,)
        if size == 2:
            y, x = divmod(first, nx)
            # at the right and lower edge the neighbor is on the inner side
            across, down = (1 if x + 1 < nx else -1), (nx if y + 1 < ny else -nx)
            site = (first, first + (across if draws.integers(2) else down))
        if taken.isdisjoint(site):
            taken.update(site)
            born.append(site)
    sites = np.array(born, np.int64).reshape(-1, size)
    excess = params.hot_median * np.exp(params.hot_log_sigma * draws.standard_normal(sites.shape))
    return HotDefects(np.concatenate([old.sites, sites]), np.concatenate([old.excess, excess]))


def _site_shape(params: SimulationParams) -> tuple[int, int]:
    ny, nx = params.shape
    return (ny // 2, nx // 2) if params.super_resolution else (ny, nx)


def _magnified(params: SimulationParams, sites: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return np.kron(sites, np.ones((2, 2), sites.dtype)) if params.super_resolution else sites

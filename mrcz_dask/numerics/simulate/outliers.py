"""Simulate hot pixels that appear and vanish from stack to stack, and dead pixels that stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mrcz_dask.numerics.simulate.params import SimulationParams
from mrcz_dask.numerics.simulate.patterns import Image
from mrcz_dask.numerics.simulate.streams import Purpose, Replay, stream

Sites = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Defects:
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


Population = tuple[Defects, Defects]


def hot_population(params: SimulationParams) -> Replay[Population]:
    """Return the simulated hot pixels as a state that gives those of any stack: adjacent pairs, and single
    ones.
    """

    def step(before: Population, index: int) -> Population:
        """Let hot pixels die, and others be born."""
        draws = stream(params.seed, Purpose.HOT, index)
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
            old.append(Defects(defects.sites[chosen], defects.excess[chosen]))
        taken = {site for defects in old for site in defects.sites.ravel().tolist()}
        new_pairs = _with_born(params, old[0], targets[0], taken, draws)
        return new_pairs, _with_born(params, old[1], targets[1], taken, draws)

    ny, nx = _site_shape(params)
    nothing = [Defects(np.zeros((0, size), np.int64), np.zeros((0, size))) for size in (2, 1)]
    return Replay(step, (nothing[0], nothing[1]))


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
    draws = stream(params.seed, Purpose.DEAD)
    dead.flat[draws.choice(sites, round(params.dead * sites), replace=False)] = True
    return np.asarray(_magnified(params, dead), bool)


def _with_born(
    params: SimulationParams, old: Defects, target: int, taken: set[int], draws: np.random.Generator
) -> Defects:
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
    return Defects(np.concatenate([old.sites, sites]), np.concatenate([old.excess, excess]))


def _site_shape(params: SimulationParams) -> tuple[int, int]:
    ny, nx = params.shape
    return (ny // 2, nx // 2) if params.super_resolution else (ny, nx)


def _magnified(params: SimulationParams, sites: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return np.kron(sites, np.ones((2, 2), sites.dtype)) if params.super_resolution else sites

"""Separate overlapping electrons of a frame: fit them again without each other, and find those they hid.

An electron is fitted to the frame less the clouds of all others. Sweeps in raster order repeat that for those
with neighbors; what they leave is searched for more, and what is not significant is put back.
"""

from __future__ import annotations

import numpy as np

from mrcz_dask.numerics.counting.batches import (
    MOVING,
    NEAR,
    NEAR_NEW,
    NEVER,
    NEW,
    mark_near,
    search,
    sweep_batches,
)
from mrcz_dask.numerics.counting.fitting import Clouds, Electrons, Flags, Frame, Limits, Numbers
from mrcz_dask.numerics.counting.lanes import SIZE
from mrcz_dask.numerics.counting.passes import keep, merge
from mrcz_dask.numerics.kernels import ZERO, compiled

ROUNDS = 4
SWEEPS = 2  # in each round


@compiled
def deblend(frame: Frame, clouds: Clouds, limits: Limits, electrons: Electrons, n: int) -> int:
    """Fit a frame's overlapping electrons, each without the others, until they settle; find hidden ones.

    Returns
    -------
    int
        Number of electrons, in raster order of their pixels, or -1 if there was no room for them.
    """
    at, own, near = electrons
    shape, work, some = frame.even.shape, np.zeros(SIZE, np.float32), np.empty(at.shape[0], np.int64)
    for round in range(ROUNDS):
        if round > 0:
            hiding = some[: _flagged(near, n, NEW | NEAR_NEW, some)]
            found = search(frame, clouds, limits, at, hiding, at, own, n)
            if found <= n:
                return found
            near[:n], near[n:found] = 0, NEW
            merge(at, own, near, n, found)
            mark_near(at, ZERO, found, near, np.full(shape[1] + 2 * NEAR, NEVER), some)
            sweep = some[: _flagged(near, found, NEW | NEAR_NEW, some)]
            sweep_batches(frame, clouds, limits, electrons, sweep, work)
            n = keep(electrons, sweep, found, limits.least, shape)
        for _ in range(SWEEPS):
            sweep = some[: _flagged(near, n, MOVING, some)]
            sweep_batches(frame, clouds, limits, electrons, sweep, work)
            n = keep(electrons, sweep, n, limits.least, shape)
    return n


@compiled
def _flagged(near: Flags, n: int, which: int, some: Numbers) -> int:
    """Put the numbers of those of n that have a flag into some; return how many they are."""
    m = 0
    for k in range(n):
        some[m] = k
        m += (near[k] & which) != 0
    return m

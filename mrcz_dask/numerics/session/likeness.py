"""Measures how much of the detector's pattern of one session is still there in another, from sketches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.reference.evidence import Mean
from mrcz_dask.numerics.session.sketch import sketch_sizes, sketch_words

SURE = 5.0  # standard errors, below which a pattern is not known

Halves = NDArray[np.float32]


def session_pattern(
    sketches: Sequence[bytes], counts: Sequence[float], shape: tuple[int, int]
) -> Halves | None:
    """Return the pattern of a session, as far as the sketches of its stacks show it.

    Parameters
    ----------
    sketches
        One of each stack in order of time, see `sketch`.
    counts
        Mean counts per pixel of each stack's sum.
    shape
        (ny, nx) of the images.

    Returns
    -------
    ndarray or None
        (2, bits), from the first and the second half of the stacks: sum of the signs over the sum of the
        square roots of the counts, so that it does not depend on the dose. None for fewer than two stacks, or
        images too small for a sketch.
    """
    sizes = sketch_sizes(shape)
    if len(sketches) < 2 or not sum(sizes):
        return None
    halves = np.zeros((2, sum(sizes)), np.float32)
    for k, part in enumerate(np.array_split(np.arange(len(sketches)), 2)):
        for stack in part.tolist():
            words = sketch_words(sketches[stack], shape)
            bits = [np.unpackbits(w.view(np.uint8))[:n] for w, n in zip(words, sizes, strict=True)]
            halves[k] += 2 * np.concatenate(bits).astype(np.float32) - 1
        halves[k] /= sum(math.sqrt(counts[stack]) for stack in part.tolist())
    return halves


def share_left(earlier: Halves, later: Halves) -> Mean | None:
    """Return the share of an earlier pattern that a later one still has, with its standard error.

    1 = all of it, 0 = nothing, whatever came in addition. None where the earlier pattern is not known by
    `SURE` standard errors from its two halves, which share nothing else.
    """
    power, error = _product(earlier[0], earlier[1])
    if not power > SURE * error:
        return None
    product, noise = _product(earlier.mean(axis=0), later.mean(axis=0))
    share = product / power
    return Mean(share, math.hypot(noise, share * error) / power)


def _product(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Return the mean product of two patterns, and its standard error if they had nothing in common."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    powers = float((first**2).mean()) * float((second**2).mean())
    return float((first * second).mean()), math.sqrt(powers / first.size)

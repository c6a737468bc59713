"""Compare results with the truth of a simulation: electrons found, patterns removed, hot pixels found."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.spatial import KDTree

from mrcz_dask.numerics.simulate.session import StackTruth

RADIUS = 1.5  # pixels between an electron and its event, at most
ALONE = 2.0  # an electron is isolated if no other is so near
FALSE_SCALE = 0.0273  # maxima of noise per pixel above s: FALSE_SCALE (s^2 - 1) exp(-s^2 / 2)


class ElectronScore(NamedTuple):
    """Measures of how well counting found the true electrons of simulated frames.

    Attributes
    ----------
    isolated, everyone
        Share found of the electrons with no other within 2 pixels, and of all of them.
    false
        Events without an electron, over electrons.
    rms, rms_all
        Root mean square error of an impact along an axis in pixels, for isolated and for all electrons.
    ratio
        Events over electrons.
    """

    isolated: float
    everyone: float
    false: float
    rms: float
    rms_all: float
    ratio: float


def match(truth: NDArray[Any], events: NDArray[Any], radius: float = RADIUS) -> NDArray[np.intp]:
    """Pair true electrons with events one to one, nearest first; return pairs of indices (n, 2).

    truth and events are (n, 2) places in pixels.
    """
    if not (len(truth) and len(events)):
        return np.zeros((0, 2), np.intp)
    near = KDTree(truth).sparse_distance_matrix(KDTree(events), radius, output_type="coo_matrix")
    order = np.lexsort((near.col, near.row, near.data))
    left_t, left_e = np.ones(len(truth), np.bool_), np.ones(len(events), np.bool_)
    pairs = []
    for t, e in zip(near.row[order].tolist(), near.col[order].tolist(), strict=True):
        if left_t[t] and left_e[e]:
            left_t[t] = left_e[e] = False
            pairs.append((t, e))
    return np.array(pairs, np.intp).reshape(-1, 2)


def isolated(places: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a boolean array: True for each of (n, 2) positions that has no other within 2 pixels."""
    if len(places) < 2:
        return np.ones(len(places), np.bool_)
    return np.asarray(KDTree(places).query(places, 2)[0][:, 1] > ALONE)


def score_electrons(frames: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> ElectronScore:
    """Compare events with true electrons over many frames: shares found, false events, errors."""
    sums, squares = np.zeros(6), np.zeros(4)
    for truth, events in frames:
        pairs, alone = match(truth, events), isolated(truth)
        found = np.zeros(len(truth), np.bool_)
        found[pairs[:, 0]] = True
        off = np.square(events[pairs[:, 1]].astype(np.float64) - truth[pairs[:, 0]]).mean(axis=1)
        own = alone[pairs[:, 0]]
        sums += len(truth), alone.sum(), found.sum(), (found & alone).sum(), len(events), len(pairs)
        squares += off.sum(), off.size, off[own].sum(), own.sum()
    there, alone_there, found_all, found_alone, events_all, paired = sums
    return ElectronScore(
        isolated=_share(found_alone, alone_there), everyone=_share(found_all, there),
        false=_share(events_all - paired, there), rms=_share(squares[2], squares[3]) ** 0.5,
        rms_all=_share(squares[0], squares[1]) ** 0.5, ratio=_share(events_all, there),
    )  # fmt: skip


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def false_rate(sigma: float) -> float:
    """Return how many false events per pixel and frame noise alone gives above a threshold `sigma`.

    Noise is a smooth Gaussian field, whose number of maxima above s goes as (s^2 - 1) exp(-s^2 / 2). The
    factor is measured on noise, with fitted clouds.
    """
    return FALSE_SCALE * (sigma**2 - 1) * math.exp(-(sigma**2) / 2)


def significance_for(share: float, occupancy: float) -> float:
    """Return the threshold, in read noises, at which false events are a given share of the electrons.

    Parameters
    ----------
    share
        False events over true ones, 0 < share.
    occupancy
        Electrons per pixel per frame.
    """
    wanted = min(max(share * occupancy, 1e-30), false_rate(2.0))
    return float(brentq(lambda s: math.log(false_rate(s) / wanted), 2, 15))


def hot_sigmas(truth: StackTruth) -> NDArray[np.float32]:
    """Return the brightness of hot pixels in the sum, in standard deviations of counting noise; else 0."""
    excess = np.float32(len(truth.drift)) * truth.hot_excess
    clean = np.maximum(truth.expected_sum - excess, 1)
    return np.where(truth.hot, excess / np.sqrt(clean), 0).astype(np.float32)


class RemovedScore(NamedTuple):
    """Score of a correction.

    Attributes
    ----------
    kept
        Coefficient of the noiseless image in what is left: 1 = nothing of the specimen was taken off.
    error
        Variance of what was taken off minus the true pattern, over that of the pattern; 1 = as bad as doing
        nothing.
    """

    kept: float
    error: float


def score_removed(
    removed: NDArray[np.float32], truth: StackTruth, mask: NDArray[np.bool_] | None = None
) -> RemovedScore:
    """Regress what a correction took off a sum (counts) on the noiseless image and the true pattern together.

    Outliers of the truth are not scored, nor those of mask (True = filled by the correction).
    """
    good = ~truth.mask if mask is None else ~(truth.mask | mask)
    image = truth.noiseless[good].astype(np.float64)
    pattern = truth.expected_sum[good] - image
    gone = removed[good].astype(np.float64)
    image, pattern, gone = (values - values.mean() for values in (image, pattern, gone))
    (taken, _), *_ = np.linalg.lstsq(np.stack([image, pattern], axis=1), gone, rcond=None)
    return RemovedScore(float(1 - taken), float(np.var(gone - pattern) / np.var(pattern)))

"""Find the stacks that show the same specimen from their pixels, where no name tells it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Collection

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mrcz_dask.numerics.reference.structure import (
    FEWEST_BLOCKS,
    expand,
    faded_edges,
    halved,
    smooth_structure,
)

BACK = 64  # stacks before one that it is compared with
FIRST = 24  # stacks that wait for each other: the mean of fewer holds the specimen of the first ones
FINENESS = 16  # steps of a scene in its standard deviation
FARTHEST = 6  # part of the image by which the same specimen is aimed at beside itself
FEWEST_WAVES = 2  # slower ones say where an image is bright, not what it shows
# Standard deviations of a cross-correlation. Beside the middle its peak was mostly below 6 for other
# specimens, and below 6.5 for edges of holes. A pattern that changes is alike in place from stack to stack,
# up to 13.
BESIDE_Z, IN_PLACE_Z = 6.5, 15.0
CLOSEST = 12  # stacks in time that say how alike all are
SIDE_PEAK = 0.8  # of the peak in place: lower peaks beside it may be its own
CLEAR = 0.6  # of the highest peak with another stack: lower ones may be chance

Floats = NDArray[np.float64]


def scene_of(coarse: Floats) -> str:
    """Return the coarse image of a stack less what is smooth, in units of its spread: int8 in base 64.

    Parameters
    ----------
    coarse
        See `coarse_image`. Too small ones, and such without structure, give an empty text.
    """
    if min(coarse.shape) < FEWEST_BLOCKS:
        return ""
    rough = coarse - expand(smooth_structure(halved(coarse)), coarse.shape)
    spread = float(rough.std())
    if not spread > 0:
        return ""
    steps = np.clip(np.rint(rough * (FINENESS / spread)), -127, 127).astype(np.int8)
    return b64encode(steps.tobytes()).decode("ascii")


class Specimens:
    """Links each stack to earlier ones that show its specimen, by the peaks of their cross-correlations.

    A tilt is like those at the next angles, and these are like others: a stack joins the groups of the stacks
    that it is like. Groups depend on earlier stacks alone, but for the first ones, so that a session that is
    followed while it grows has the groups of a finished one.

    Parameters
    ----------
    shape
        (by, bx) of the coarse images.
    first
        Number of stacks that wait for each other.

    Attributes
    ----------
    groups
        For each stack the groups that it is in, named by the indices of their first stacks.
    """

    def __init__(self, shape: tuple[int, int], first: int = FIRST) -> None:
        self._first = first
        self.groups: list[frozenset[int]] = []
        self._told: list[Collection[int]] = []
        self._recent: deque[int] = deque(maxlen=BACK + 1)
        self._spectra: deque[NDArray[np.complex64]] = deque(maxlen=BACK + 1)
        self._shape = by, bx = shape
        waves = np.hypot(np.fft.fftfreq(by)[:, None] * by, np.fft.rfftfreq(bx) * bx)
        self._slow = waves < FEWEST_WAVES
        self._octaves = np.floor(2 * np.log2(np.maximum(waves, 1))).astype(np.intp)
        dy, dx = (np.abs(np.fft.fftfreq(n) * n) for n in shape)
        self._near = np.maximum(dy[:, None], dx) <= 1
        self._beside = (dy[:, None] <= by / FARTHEST) & (dx <= bx / FARTHEST) & ~self._near
        self._fade = faded_edges(shape).astype(np.float32)

    def add(self, scene: str, told: Collection[int] = ()) -> None:
        """Add the next stack of the session.

        Parameters
        ----------
        scene
            See `scene_of`; an empty one is like no other.
        told
            Indices of earlier stacks that are known to show its specimen or its data; it is not compared with
            them.
        """
        self.groups.append(frozenset({len(self.groups)}))
        self._told.append(told)
        if scene:
            image = np.frombuffer(b64decode(scene), np.int8).reshape(self._shape) * self._fade
            self._recent.append(len(self.groups) - 1)
            self._spectra.append(scipy.fft.rfft2(image, workers=1))
        first = len(self.groups) <= self._first  # their mean changes
        if first:
            self.groups = [frozenset({k}) for k in range(len(self.groups))]
        if scene or first:
            self._link(first)

    def _link(self, first: bool) -> None:
        """Put the last stack, or while they wait all, into the groups of earlier ones that it is like."""
        if len(self._recent) < 2:
            return
        spectra = np.array(self._spectra)
        spectra -= spectra.mean(axis=0)
        powers, octaves = (np.abs(spectra) ** 2).mean(axis=0).ravel(), self._octaves.ravel()
        power = np.bincount(octaves, powers) / np.maximum(1, np.bincount(octaves))
        white = power[-1]  # the finest waves: shot noise
        weights = np.divide(np.maximum(power - white, 0), power**2, out=np.zeros_like(power), where=power > 0)
        spectra *= np.sqrt(np.where(self._slow, 0, weights[self._octaves])).astype(np.float32)
        last = len(self._recent)
        for place in range(1 if first else last - 1, last):
            j = self._recent[place]
            others = [k for k in range(last) if k != place and self._recent[k] not in self._told[j]]
            earlier = sum(k < place for k in others)
            if earlier:
                products = spectra[place] * spectra[others].conj()
                peaks = scipy.fft.irfft2(products, s=self._shape, workers=1)
                closest = np.argsort(np.abs(np.array(others) - place), kind="stable")[:CLOSEST]
                if len(closest) == CLOSEST:  # after a new gain all are alike
                    peaks -= np.median(peaks[closest], axis=0)
                deviations = np.maximum(peaks.std(axis=(1, 2)), np.finfo(np.float32).tiny)
                beside = peaks[:, self._beside].max(axis=1, initial=0) / deviations
                near = peaks[:, self._near].max(axis=1) / deviations
                beside[beside < SIDE_PEAK * near] = 0
                z = np.maximum(beside / BESIDE_Z, near / IN_PLACE_Z)[:earlier]
                like = np.flatnonzero(z > max(1.0, CLEAR * z.max()))
                joined = frozenset[int]().union(*(self.groups[self._recent[others[k]]] for k in like))
                if joined and first:  # no window is final: the groups of both become one
                    one = frozenset({min(joined)})
                    self.groups = [group if group.isdisjoint(joined) else one for group in self.groups]
                    self.groups[j] = one
                elif joined:
                    self.groups[j] = joined

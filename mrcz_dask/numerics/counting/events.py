"""Find the electrons of raw frames: where each hit the detector, and how much charge it left."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Floats, Image, Singles
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
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.fitting import (
    CHARGE,
    FIELDS,
    MARGIN,
    SIGNIFICANCE,
    Clouds,
    Electrons,
    Flags,
    Frame,
    Limits,
    Numbers,
    U,
    V,
    response_table,
    share_polynomials,
)
from mrcz_dask.numerics.counting.lanes import SIZE
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.counting.passes import NORM, fit_frame, inside_events, keep, merge
from mrcz_dask.numerics.counting.places import PlaceMap, positions_of
from mrcz_dask.numerics.kernels import compiled, inner, native
from mrcz_dask.values.errors import ParameterError

CROWDING = 16  # pixels for each electron that there is room for at first
SLACK = 1.5  # what the fit may add to the significance of a smoothed seed
LARGEST = 64  # pixels of a cluster that are looked at
ROUNDS = 4
SWEEPS = 2  # in each round


class FrameEvents(NamedTuple):
    """The electrons of one frame, in raster order: arrays (n,) float32 of position, charge and significance.

    Attributes
    ----------
    y, x
        Impacts in pixels, inside the frame: pixel i covers i <= y < i + 1.
    charge
        Charge after gain, ADU.
    significance
        Significance of the fitted cloud, in read noises; with ``components`` 0.
    """

    y: Singles
    x: Singles
    charge: Singles
    significance: Singles


class EventFinder:
    """Finds the electrons of raw frames; it keeps working arrays, so each thread needs its own.

    Parameters
    ----------
    detector
        Dark, noise and gain.
    params
        Thresholds and methods.
    places
        Map from `learn_places`, applied to the places within pixels; None = as they are found.
    """

    def __init__(
        self, detector: Detector, params: CountingParams | None = None, places: PlaceMap | None = None
    ) -> None:
        self.detector, self.params, self.places = detector, params or CountingParams(), places
        ny, nx = detector.shape
        z = np.empty((ny + 2 * MARGIN, nx + 2 * MARGIN), np.float32)
        self._frame = Frame(z, detector.response, detector.even, detector.plain)
        sharing, sigma = self.params.sharing, self.params.sigma
        self._clouds = Clouds(response_table(sharing), share_polynomials(sharing))
        self._limits = Limits(np.float32(NORM * max(sigma - SLACK, 1.5)), sigma, self.params.xray_limit)
        self._make_room(max(64, ny * nx // CROWDING))

    def _make_room(self, capacity: int) -> None:
        at, own = np.empty((capacity, 2), np.int32), np.empty((capacity, max(FIELDS, 5)))
        self._electrons = Electrons(at, own, np.empty(capacity, np.uint8))
        self._first = np.empty_like(at), np.empty_like(own)

    def find(self, frame: NDArray[Any]) -> FrameEvents:
        """Find the electrons of one raw frame.

        Parameters
        ----------
        frame
            (ny, nx) raw, any real type; pixels that are not finite hide electrons near them.

        Raises
        ------
        ParameterError
            If the frame has another shape than the detector.
        """
        if frame.shape != self.detector.shape:
            raise ParameterError(
                f"frame has shape {frame.shape}; expected the detector's {self.detector.shape}"
            )
        raw = native(frame)
        if self.params.clusters == "components":
            return self._components(raw)
        at, own = self._fit(raw)
        u, v, charge = self._within_pixels(at, own)
        if self.places is not None and self.params.position != "maximum":
            u, v = self.places.apply(u), self.places.apply(v)
        out = np.empty((4, at.shape[0]), np.float32)
        significance = own[:, SIGNIFICANCE]
        unit, shape = self.detector.unit, self.detector.shape
        return FrameEvents(*out[:, : inside_events(at, u, v, charge, significance, unit, shape, out)])

    def places_within(self, frame: NDArray[Any]) -> NDArray[np.float64]:
        """Return the electrons' positions within their pixels, both axes joined, from which `learn_places`
        corrects a bias.
        """
        at, own = self._fit(native(frame))
        return np.concatenate(self._within_pixels(at, own)[:2])

    @property
    def rest(self) -> NDArray[np.float32]:
        """(ny, nx) Last frame without its electrons, in read noises; with ``maxima`` only."""
        return self._frame.z[MARGIN:-MARGIN, MARGIN:-MARGIN]

    def _fit(self, raw: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return the pixels and fits of all electrons, in arrays that the next frame overwrites."""
        d, parts = self.detector, (self._frame, self._clouds, self._limits)
        while True:
            n = fit_frame(raw, d.inverse, d.offset, *parts, *self._first, self._electrons)
            if n >= 0:
                n = deblend(*parts, self._electrons, n)
            if n >= 0:
                return self._electrons.at[:n], self._electrons.own[:n]
            self._make_room(2 * self._electrons.at.shape[0])

    def _within_pixels(self, at: NDArray[np.int32], own: NDArray[np.float64]) -> tuple[NDArray[Any], ...]:
        """Return u, v from the middle of each electron's pixel, and its charge in read noises."""
        if self.params.position == "fitted":
            return own[:, U], own[:, V], own[:, CHARGE]
        largest = self.params.position == "maximum"
        return positions_of(self._frame.z, self._frame.response, at, own, self._clouds.table, largest)

    def _components(self, raw: NDArray[Any]) -> FrameEvents:
        d, p, n = self.detector, self.params, -1
        z = self._frame.z[: d.shape[0] + 2, : d.shape[1] + 2]
        while n < 0:
            own = self._electrons.own
            n = find_components(raw, d.inverse, d.offset, p.sigma, p.xray_limit, z, own)
            if n < 0:
                self._make_room(2 * own.shape[0])
        first = 1 if p.position == "centroid" else 3
        columns = own[:n, first], own[:n, first + 1], own[:n, 0] * d.unit, np.zeros(n)
        return FrameEvents(*(column.astype(np.float32) for column in columns))


@compiled
def find_components(
    raw: NDArray[Any], inverse: Image, offset: Image, least: float, most: float, z: Image, out: Floats
) -> int:
    """Find clusters of touching pixels above `least` read noises in a raw frame, and write charge and
    position of each.

    Parameters
    ----------
    raw, inverse, offset
        As in `deblend.fit_frame`.
    least, most
        Smallest value of a pixel; a cluster with one above `most` (an X-ray) is left out.
    z
        (ny + 2, nx + 2) for working.
    out
        (capacity, 5): charge, centroid y and x, and the maximum's y and x, middles of pixels at + .5.

    Returns
    -------
    int
        Number of clusters, or -1 if there were more than the capacity.
    """
    ny, nx = raw.shape
    z[0], z[ny + 1], z[:, 0], z[:, nx + 1] = 0, 0, 0, 0
    for y in range(ny):
        row, into = raw[y], z[y + 1, 1:-1]
        for x in range(nx):
            value = np.float32(row[x]) * inverse[y, x] - offset[y, x]
            into[x] = value if value > least else np.float32(0)
    stack, n = np.empty((LARGEST, 2), np.int64), 0
    for y in range(1, ny + 1):
        for x in range(1, nx + 1):
            if z[y, x] > 0:
                if n == out.shape[0]:
                    return -1
                n += _take(z, y, x, most, stack, out[n])
    return n


@inner
def _take(z: Image, y: int, x: int, most: float, stack: NDArray[np.int64], out: Floats) -> int:
    """Take a cluster off z into out; return 1, or 0 if it is an X-ray."""
    stack[0, 0], stack[0, 1], n, done = y, x, 1, 0
    value = np.float64(z[y, x])
    z[y, x] = 0
    charge, sum_y, sum_x, best, out[3], out[4] = value, value * y, value * x, value, y - 0.5, x - 0.5
    while done < n:
        y, x = stack[done, 0], stack[done, 1]
        done += 1
        for j in range(y - 1, y + 2):
            for i in range(x - 1, x + 2):
                value = np.float64(z[j, i])
                if value > 0 and n < LARGEST:
                    z[j, i] = 0
                    stack[n, 0], stack[n, 1] = j, i
                    n += 1
                    charge, sum_y, sum_x = charge + value, sum_y + value * j, sum_x + value * i
                    if value > best:
                        best, out[3], out[4] = value, j - 0.5, i - 0.5
    out[0], out[1], out[2] = charge, sum_y / charge - 0.5, sum_x / charge - 0.5
    return 1 if best <= most else 0


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
            mark_near(at, 0, found, near, np.full(shape[1] + 2 * NEAR, NEVER), some)
            sweep = some[: _flagged(near, found, NEW | NEAR_NEW, some)]
            sweep_batches(frame, clouds, limits, electrons, sweep, work)
            n = keep(electrons, sweep, found, limits.least, shape)
        for _ in range(SWEEPS):
            sweep = some[: _flagged(near, n, MOVING, some)]
            sweep_batches(frame, clouds, limits, electrons, sweep, work)
            n = keep(electrons, sweep, n, limits.least, shape)
    return n


@inner
def _flagged(near: Flags, n: int, which: int, some: Numbers) -> int:
    """Put the numbers of those of n that have a flag into some; return how many they are."""
    m = 0
    for k in range(n):
        some[m] = k
        m += (near[k] & which) != 0
    return m

"""Find the electrons of raw frames: where each hit the detector, and how much charge it left."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Singles
from mrcz_dask.numerics.counting.components import find_components
from mrcz_dask.numerics.counting.deblend import deblend
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.fitting import (
    CHARGE,
    FIELDS,
    MARGIN,
    SIGNIFICANCE,
    Clouds,
    Electrons,
    Frame,
    Limits,
    U,
    V,
    response_table,
    share_polynomials,
)
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.counting.passes import NORM, fit_frame, inside_events
from mrcz_dask.numerics.counting.places import PlaceMap, positions_of
from mrcz_dask.numerics.kernels import native
from mrcz_dask.values.errors import ParameterError

CROWDING = 16  # pixels for each electron that there is room for at first
SLACK = 1.5  # what the fit may add to the significance of a smoothed seed


class Events(NamedTuple):
    """The electrons of one frame, in raster order: arrays (n,) float32 of position, charge and significance.

    Attributes
    ----------
    y, x
        Impacts in pixels, inside the frame: pixel i covers i <= y < i + 1.
    charge
        Charge after gain, ADU.
    significance
        Of the fitted cloud, in read noises; with ``components`` 0.
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
        What `learn_places` found, applied to the places within pixels; None = as they are found.
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

    def find(self, frame: NDArray[Any]) -> Events:
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
        return Events(*out[:, : inside_events(at, u, v, charge, significance, unit, shape, out)])

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

    def _components(self, raw: NDArray[Any]) -> Events:
        d, p, n = self.detector, self.params, -1
        z = self._frame.z[: d.shape[0] + 2, : d.shape[1] + 2]
        while n < 0:
            own = self._electrons.own
            n = find_components(raw, d.inverse, d.offset, p.sigma, p.xray_limit, z, own)
            if n < 0:
                self._make_room(2 * own.shape[0])
        first = 1 if p.position == "centroid" else 3
        columns = own[:n, first], own[:n, first + 1], own[:n, 0] * d.unit, np.zeros(n)
        return Events(*(column.astype(np.float32) for column in columns))

"""Electrons of raw frames: where each hit and what charge it left."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from mrcz_dask.numerics.counting.centroids import centroids, peaks
from mrcz_dask.numerics.counting.components import find_components
from mrcz_dask.numerics.counting.deblend import deblend
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.fitting import CHARGE, FIELDS, SIGNIFICANCE, U, V
from mrcz_dask.numerics.counting.listing import inside_events
from mrcz_dask.numerics.counting.params import CountingParams
from mrcz_dask.numerics.counting.passes import fit_frame
from mrcz_dask.numerics.counting.places import PlaceMap
from mrcz_dask.numerics.counting.seeds import NORM
from mrcz_dask.numerics.counting.shape import MARGIN, response_table, share_polynomials
from mrcz_dask.numerics.kernels import native
from mrcz_dask.values.errors import ParameterError

Singles = NDArray[np.float32]
CROWDING = 16  # pixels for each electron that there is room for at first
SLACK = 1.5  # what the fit may add to the significance of a smoothed seed
FALSE_SCALE = 0.0273  # maxima of noise per pixel above s: FALSE_SCALE (s^2 - 1) exp(-s^2 / 2)


class Events(NamedTuple):
    """Electrons of a frame in raster order of their pixels, float32 (n,) each.

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
    """Finds electrons; keeps what it works with, so that each thread needs one of its own.

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
        self._z = np.empty((ny + 2 * MARGIN, nx + 2 * MARGIN), np.float32)
        self._table = response_table(self.params.sharing)
        self._shares = share_polynomials(self.params.sharing)
        self._make_room(max(64, ny * nx // CROWDING))

    def _make_room(self, capacity: int) -> None:
        self._at = np.empty((capacity, 2), np.int32)
        self._own = np.empty((capacity, max(FIELDS, 5)))
        self._first = np.empty_like(self._at), np.empty_like(self._own)
        self._near = np.empty(capacity, np.uint8)

    def find(self, frame: NDArray[Any]) -> Events:
        """Return the electrons of one frame.

        Parameters
        ----------
        frame
            (ny, nx) raw, any real type; pixels that are not finite hide electrons near them.

        Raises
        ------
        ParameterError
            The frame has not the detector's shape.
        """
        if frame.shape != self.detector.shape:
            raise ParameterError(
                f"frame has shape {frame.shape}; expected the detector's {self.detector.shape}"
            )
        raw = native(frame)
        return self._components(raw) if self.params.clusters == "components" else self._maxima(raw)

    def places_within(self, frame: NDArray[Any]) -> NDArray[np.float64]:
        """Return where in their pixels electrons are found, both axes in one, for `learn_places`."""
        at, own = self._electrons(native(frame))
        return np.concatenate(self._within_pixels(at, own)[:2])

    @property
    def rest(self) -> NDArray[np.float32]:
        """Return (ny, nx) what the electrons left of the last frame, in read noises; with ``maxima`` only."""
        return self._z[MARGIN:-MARGIN, MARGIN:-MARGIN]

    def _maxima(self, raw: NDArray[Any]) -> Events:
        at, own = self._electrons(raw)
        u, v, charge = self._within_pixels(at, own)
        if self.places is not None and self.params.position != "maximum":
            u, v = self.places.apply(u), self.places.apply(v)
        out = np.empty((4, at.shape[0]), np.float32)
        n = inside_events(
            at, u, v, charge, own[:, SIGNIFICANCE], self.detector.unit, *self.detector.shape, out
        )
        return Events(*out[:, :n])

    def _electrons(self, raw: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        n = self._count(raw)
        while n < 0:
            self._make_room(2 * self._at.shape[0])
            n = self._count(raw)
        return self._at[:n], self._own[:n]

    def _count(self, raw: NDArray[Any]) -> int:
        d, p = self.detector, self.params
        cut = np.float32(NORM * max(p.sigma - SLACK, 1.5))
        least, most = p.sigma, p.xray_limit
        table, shares, z, at, own, near = self._table, self._shares, self._z, self._at, self._own, self._near
        response, even, plain = d.response, d.even, d.plain
        n = fit_frame(
            raw, d.inverse, d.offset, response, even, plain, cut, least, most, table, shares, z,
            *self._first, at, own, near,
        )  # fmt: skip
        if n < 0:
            return n
        return deblend(z, response, even, plain, cut, least, most, table, shares, at, own, near, n)

    def _within_pixels(self, at: NDArray[np.int32], own: NDArray[np.float64]) -> tuple[NDArray[Any], ...]:
        """Return u, v from the middle of each electron's pixel, and its charge in read noises."""
        if self.params.position == "fitted":
            u, v, charge = own[:, U], own[:, V], own[:, CHARGE]
        elif self.params.position == "centroid":
            u, v, charge = centroids(self._z, self.detector.response, at, own, self._table)
        else:
            u, v, charge = peaks(self._z, self.detector.response, at, own, self._table)
        return u, v, charge

    def _components(self, raw: NDArray[Any]) -> Events:
        d, p, n = self.detector, self.params, -1
        z = self._z[: d.shape[0] + 2, : d.shape[1] + 2]
        while n < 0:
            n = find_components(raw, d.inverse, d.offset, p.sigma, p.xray_limit, z, self._own)
            if n < 0:
                self._make_room(2 * self._at.shape[0])
        out = self._own[:n]
        first = 1 if p.position == "centroid" else 3
        return _events(out[:, first], out[:, first + 1], out[:, 0] * d.unit, np.zeros(n))


def _events(*columns: NDArray[Any]) -> Events:
    return Events(*(column.astype(np.float32) for column in columns))


def false_rate(sigma: float) -> float:
    """Return the false events per pixel per frame that noise alone gives above a significance.

    Maxima of a smooth Gaussian field, whose number above s goes as (s^2 - 1) exp(-s^2 / 2); the factor is
    that of the fitted clouds, measured on noise.
    """
    return FALSE_SCALE * (sigma**2 - 1) * math.exp(-(sigma**2) / 2)


def significance_for(share: float, occupancy: float) -> float:
    """Return the significance at which false events are a share of the electrons.

    Parameters
    ----------
    share
        False events over true ones, 0 < share.
    occupancy
        Electrons per pixel per frame.
    """
    wanted = min(max(share * occupancy, 1e-30), false_rate(2.0))
    return float(brentq(lambda s: math.log(false_rate(s) / wanted), 2, 15))

"""Dark, read noise and gain of a linear detector's pixels, prepared for finding electrons."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.counting.fitting import MARGIN
from mrcz_dask.values.errors import ParameterError

QUIET = 1.25  # up to so many times the typical noise a pixel is taken as the others


class Detector:
    """The detector's pixels as counting sees them: dark, read noise, gain, and which are unused.

    Parameters
    ----------
    dark
        (ny, nx): reading of a pixel without electrons, ADU.
    noise
        (ny, nx) or one number: standard deviation of the read noise, ADU.
    gain
        (ny, nx) relative gain, by which charge is divided; None = 1.
    unused
        (ny, nx) bool, True where a pixel is not used (dead, hot, unstable); None = all are used.

    Attributes
    ----------
    unit
        The typical read noise after gain, ADU: the unit of charges and thresholds.
    """

    def __init__(
        self,
        dark: ArrayLike,
        noise: ArrayLike,
        gain: ArrayLike | None = None,
        unused: NDArray[np.bool_] | None = None,
    ) -> None:
        self.dark = np.asarray(dark, np.float64)
        self.noise = np.broadcast_to(np.asarray(noise, np.float64), self.dark.shape)
        self.gain = np.ones(self.dark.shape) if gain is None else np.asarray(gain, np.float64)
        shapes = {image.shape for image in (self.dark, self.noise, self.gain)}
        if len(shapes) != 1 or self.dark.ndim != 2:
            raise ParameterError(f"detector: dark, noise, gain have shapes {shapes}; expected one (ny, nx)")
        sound = (self.noise > 0) & (self.gain > 0) & np.isfinite(self.dark * self.noise * self.gain)
        self.used = sound if unused is None else sound & ~unused
        if not self.used.any():
            raise ParameterError("detector: no pixel has noise and gain above 0; expected at least one")
        self.unit = float(np.median((self.noise / np.where(self.used, self.gain, 1))[self.used]))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.dark.shape[0], self.dark.shape[1]

    @cached_property
    def _excess(self) -> NDArray[np.float64]:
        """Noise in units, 1 for every quiet pixel."""
        own = self.noise / (np.where(self.used, self.gain, 1) * self.unit)
        return np.where(own <= QUIET, 1.0, own)

    @cached_property
    def inverse(self) -> Image:
        """(ny, nx) Factor from ADU to read noises: frames become raw * inverse - offset; 0 = unused pixel."""
        scale = np.where(self.used, self.gain, 1) * self.unit * self._excess
        return np.where(self.used, 1 / scale, 0).astype(np.float32)

    @cached_property
    def offset(self) -> Image:
        """(ny, nx) Dark of each pixel in its read noises, which is subtracted: dark * inverse."""
        return np.where(self.used, self.dark * self.inverse.astype(np.float64), 0).astype(np.float32)

    @cached_property
    def response(self) -> Image:
        """(ny + 8, nx + 8) Signal of a unit of charge in a pixel, in its read noises; 0 = unused pixel."""
        return np.pad(np.where(self.used, 1 / self._excess, 0), MARGIN).astype(np.float32)

    @cached_property
    def even(self) -> NDArray[np.bool_]:
        """(ny, nx) True where all 3 x 3 pixels around have response 1, so that the simple fit is exact."""
        return self._ones(1)

    @cached_property
    def plain(self) -> NDArray[np.bool_]:
        """(ny, nx) True where all 5 x 5 pixels around have response 1, so that fits can run side by side."""
        return self._ones(2)

    def _ones(self, reach: int) -> NDArray[np.bool_]:
        ny, nx = self.shape
        ones: NDArray[Any] = self.response == 1
        first, steps = MARGIN - reach, range(2 * reach + 1)
        rows = np.logical_and.reduce([ones[first + j : first + j + ny] for j in steps])
        return np.asarray(np.logical_and.reduce([rows[:, first + i : first + i + nx] for i in steps]))

"""Apply gain, dark and defects to frames: (I - dark) gain**gamma (Eqs. 8, 9 and 11)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Image, Mask
from mrcz_dask.numerics.kernels import compiled, flat
from mrcz_dask.values.errors import ParameterError

FACTORS = (2, 4)
NO_DARK = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class GammaCurve:
    """The exponent gamma of the gain as a function of dose rate: a1 rate**b1 + a2 rate + a3 (Eq. 11).

    Attributes
    ----------
    a1, b1, a2, a3
        Coefficients, for rates in e-/pixel/s.
    low, high
        The calibrated rates; others are taken as the nearer of the two.
    """

    a1: float
    b1: float
    a2: float
    a3: float
    low: float = 0.25
    high: float = 9.0

    def __post_init__(self) -> None:
        numbers = (self.a1, self.b1, self.a2, self.a3, self.low, self.high)
        if not all(map(math.isfinite, numbers)) or not 0 < self.low <= self.high:
            raise ParameterError(
                f"gamma curve is {numbers}; expected finite a1, b1, a2, a3 and 0 < low <= high in e-/pixel/s"
            )

    def at(self, rate: float) -> float:
        """Return gamma, to whose power the gain is raised, at a dose rate in e-/pixel/s.

        Raises
        ------
        ParameterError
            For a rate that is no positive number.
        """
        if not 0 < rate < math.inf:
            raise ParameterError(f"dose rate is {rate!r} e-/pixel/s; expected a positive number")
        delta = min(max(rate, self.low), self.high)
        return self.a1 * math.pow(delta, self.b1) + self.a2 * delta + self.a3


K2 = GammaCurve(0.12, -1.04, -0.0336, 1.04)
"""The calibration of a K2 Summit in the preprint, bioRxiv 116533."""


@dataclass(frozen=True, eq=False)
class Gain:
    """The gain reference, dark and defects, in the frames' orientation and size, that are applied to frames
    before all else.

    Attributes
    ----------
    image
        (ny, nx) float32 multiplier in the frames' orientation; finite and positive, 1 where `bad`.
    bad
        (ny, nx) bool, True = defect: zero, negative or not finite in a reference, or listed as a defect.
    dark
        (ny, nx) float32, counts/pixel/frame, finite; None = nothing.
    """

    image: Image
    bad: Mask
    dark: Image | None = None

    def __post_init__(self) -> None:
        shapes = [a.shape for a in (self.image, self.bad, self.dark) if a is not None]
        if len(set(shapes)) > 1 or len(shapes[0]) != 2:
            raise ParameterError(f"gain, mask and dark are {shapes}; expected one shape (ny, nx)")

    @classmethod
    def of(
        cls, multiplier: NDArray[Any], *, dark: NDArray[Any] | None = None, defects: Iterable[Mask] = ()
    ) -> Gain:
        """Make a gain from a multiplier, a dark and defects that already have the frames' orientation and
        size.

        Parameters
        ----------
        multiplier
            (ny, nx); zero, negative and non-finite pixels become defects.
        dark
            (ny, nx) counts/pixel/frame; non-finite pixels become defects.
        defects
            (ny, nx) bool each, True = defect.

        Raises
        ------
        ParameterError
            If the shapes differ.
        """
        with np.errstate(over="ignore"):  # copies, which are written to
            image = np.array(multiplier, np.float32, order="C")
            off = None if dark is None else np.array(dark, np.float32, order="C")
        bad = ~(np.isfinite(image) & (image > 0))
        masks = [*defects] if off is None else [*defects, ~np.isfinite(off)]
        for mask in masks:
            _forbid_other_shape(image.shape, mask.shape)
            bad |= mask
        image[bad] = 1
        if off is not None:
            off[~np.isfinite(off)] = 0
        return cls(image, bad, off)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the frames it is for."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def typical(self) -> float:
        """Median of the gain over pixels without defect; 1 if all are defects."""
        good = self.image[~self.bad]
        return float(np.median(good)) if good.size else 1.0

    def at(self, gamma: float) -> Gain:
        """Return the gain with its image raised to the power `gamma`; gamma 1 returns the gain itself.

        Raises
        ------
        ParameterError
            If gamma is not finite, or the power leaves float32.
        """
        if gamma == 1:
            return self
        with np.errstate(over="ignore", under="ignore"):
            image = np.power(self.image, np.float64(gamma), dtype=np.float64).astype(np.float32)
        if not (np.isfinite(image).all() and (image > 0).all()):
            raise ParameterError(f"gain**gamma with gamma {gamma!r} is no positive number everywhere")
        return replace(self, image=image)

    def largest(self, low: float, high: float) -> float:
        """Return the largest absolute value that pixels can have after `apply`, if they lie between low and
        high before, counts.
        """
        off = self.dark
        least, most = (0.0, 0.0) if off is None else (float(off.min()), float(off.max()))
        return max(abs(low - most), abs(high - least)) * float(self.image.max())

    def apply(self, frame: NDArray[Any], out: Image | None = None) -> Image:
        """Apply the gain to a frame: (frame - dark) * image, float32; both steps are rounded to float32.

        Parameters
        ----------
        frame
            (ny, nx) counts, integers or floats; not changed. What is not finite stays so.
        out
            (ny, nx) float32, C-contiguous: where to put it.

        Raises
        ------
        ParameterError
            If the frame is of another shape.
        """
        _forbid_other_shape(self.shape, frame.shape)
        out = np.empty(self.shape, np.float32) if out is None else out
        dark = NO_DARK if self.dark is None else self.dark.reshape(-1)
        _apply(flat(frame), dark, self.image.reshape(-1), out.reshape(-1))
        return out


@compiled
def _apply(values: NDArray[Any], dark: Image, gain: Image, out: Image) -> None:
    """Put (values - dark) * gain into out, all flat; an empty dark is none."""
    if dark.size:
        for i in range(out.size):
            out[i] = (np.float32(values[i]) - dark[i]) * gain[i]
    else:
        for i in range(out.size):
            out[i] = np.float32(values[i]) * gain[i]


def as_multiplier(reference: NDArray[Any], *, divide: bool = False) -> Image:
    """Turn a gain reference into the image that multiplies frames, float32; 0 where it is not positive.

    Parameters
    ----------
    reference
        (ny, nx) gain reference.
    divide
        False: frames are multiplied by it, as it is. True: divided (an average flat field); the multiplier is
        the mean of its positive pixels over each, so that the dose stays whatever the unit.
    """
    values = np.asarray(reference, np.float64)
    good = np.isfinite(values) & (values > 0)
    if divide and good.any():
        values = values[good].mean() / np.where(good, values, 1)
    return np.where(good, values, 0).astype(np.float32)


def size_factor(have: tuple[int, ...], want: tuple[int, ...]) -> int | None:
    """Return how many times larger `want` is along both axes: 1, 2, 4; -2, -4 if smaller; None if neither."""
    if have == want:
        return 1
    for factor in FACTORS:
        if tuple(factor * n for n in have) == want:
            return factor
        if tuple(factor * n for n in want) == have:
            return -factor
    return None


def fit_gain(multiplier: Image, shape: tuple[int, int]) -> Image:
    """Resize a gain to frames of `shape`, such as a physical gain to super-resolution frames.

    The frames may be 2 or 4 times larger along each axis (super-resolution frames, physical gain: each pixel
    is repeated), or as many times smaller (the frames' pixels are sums of the gain's: the harmonic mean, as
    responses add; 0 if one of them is 0).

    Raises
    ------
    ParameterError
        For any other ratio; names both shapes.
    """

    def harmonic_means(blocks: NDArray[Any]) -> NDArray[Any]:
        """Return the inverse of the mean of the inverse."""
        with np.errstate(divide="ignore"):
            return np.asarray(1 / (1 / blocks.astype(np.float64)).mean(axis=(1, 3)))

    return np.asarray(_resized("gain", multiplier, shape, harmonic_means), np.float32)


def fit_dark(dark: Image, shape: tuple[int, int]) -> Image:
    """Resize a dark to frames of `shape`: counts add up over pixels, or are shared among smaller pixels.

    Raises
    ------
    ParameterError
        If the ratio is not 1, 2 or 4 along both axes; names both shapes.
    """
    resized = _resized("dark", dark, shape, lambda blocks: blocks.astype(np.float64).sum(axis=(1, 3)))
    return np.asarray(resized / np.float32(max(1, resized.size // dark.size)), np.float32)


def fit_mask(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Resize a mask (True = defect) to frames of `shape`: pixels are repeated, or a block is True if any of
    its pixels is.

    Raises
    ------
    ParameterError
        If the ratio is not 1, 2 or 4 along both axes; names both shapes.
    """
    return np.asarray(_resized("defect map", mask, shape, lambda blocks: np.asarray(blocks.any(axis=(1, 3)))))


def _resized(
    what: str, image: NDArray[Any], shape: tuple[int, int], shrink: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """Repeat the pixels of an image for larger frames, or shrink blocks (rows, factor, columns, factor)."""
    factor = size_factor(image.shape, shape)
    if factor is None:
        remedy = "give the one of this camera"
        if size_factor(image.shape[::-1], shape) is not None:
            remedy = "it fits when turned by 90 degrees: " + (
                "write it so"
                if what == "defect map"
                else "--gain-rotate 1 or 3 (mrcz-dask gain orient tells)"
            )
        raise ParameterError(
            f"the {what} is {size_text(image.shape)}, the frames are {size_text(shape)} (rows x columns); "
            f"expected the same, or 2 or 4 times as many along both; {remedy}"
        )
    if factor > 0:
        return image.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else image
    ny, nx = shape
    return shrink(image.reshape(ny, -factor, nx, -factor))


def size_text(shape: tuple[int, ...]) -> str:
    """Write a shape for a message: (480, 464) becomes '480 x 464'."""
    return " x ".join(map(str, shape))


def _forbid_other_shape(want: tuple[int, ...], have: tuple[int, ...]) -> None:
    if have != want:
        raise ParameterError(
            f"an image is {size_text(have)}, the gain is {size_text(want)}; expected the same"
        )

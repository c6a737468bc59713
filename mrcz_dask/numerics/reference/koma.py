"""Compute the fixed pattern of a stack from its neighbors' references (knock-out moving average, KOMA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.reference.bands import make_bands
from mrcz_dask.numerics.reference.fused import masked_sum
from mrcz_dask.numerics.reference.parts import (
    BandPowers,
    MeanImage,
    References,
    measure_bands,
    measure_bands_of_frames,
)
from mrcz_dask.numerics.reference.regression import BandFit, fit_bands, pattern_of
from mrcz_dask.values.params import KomaParams

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pattern:
    """The fixed pattern to be removed from a stack, with the regression from which it was computed.

    Attributes
    ----------
    image
        (ny, nx) float32: counts per frame, or for the form ``divide`` relative to 1.
    fits
        The regression of each band; empty for other methods than ``fit``, or without a reference.
    scale
        (ny, nx) float32: what pixels are multiplied with before; None = with nothing.
    products
        (images, images, bands): products of the stack and its references, see `BandPowers`; None without
        a regression.
    """

    image: Image
    fits: tuple[BandFit, ...] = ()
    scale: Image | None = None
    products: NDArray[np.float64] | None = None


class PatternFit:
    """Fits the references of a window to a stack, and once more to half of its frames, for the held-out R.

    Parameters
    ----------
    images
        (ny, nx) float32: the reference of the short window, and of the long one where it differs; relative
        to the dose, or in counts per frame for ``subtract-raw``. For the method ``session`` mean and factor,
        see `SessionSum.images`. None at all gives no pattern.
    params
        Method, form and bands.
    """

    def __init__(self, images: Sequence[Image], params: KomaParams) -> None:
        self._images, self._params = tuple(images), params
        self._references: References | None = None
        self._powers: BandPowers | None = None

    def find(self, mean: MeanImage, dose: float, mask: Mask) -> Pattern:
        """Compute the pattern of a stack from its references; a second call, for some of its frames, reuses
        results of the first.

        Parameters
        ----------
        mean
            The stack's mean over frames, (ny, nx), counts per frame.
        dose
            Its mean over unmasked pixels, d, counts per pixel and frame.
        mask
            (ny, nx) bool, True = outlier of this stack.

        Notes
        -----
        Section 2.3 of McLeod et al. 2017 (bioRxiv 116533) for ``plain``; ``fit`` regresses the stack on the
        references; ``session`` gives every pixel the same mean and deviation (Afanasyev et al. 2015):
        factor (I - dose mean) + dose of a frame I.
        """
        raw = self._params.form == "subtract-raw"
        if not self._images or not (raw or dose > 0):
            return Pattern(np.zeros(mask.shape, np.float32))
        if self._params.method == "session":
            response, factor = self._images
            image = factor * response
            image -= np.float32(_mean_of(response, mask))
            return Pattern(scaled(image, dose), scale=factor)
        if self._params.method == "plain":
            pattern = Pattern(without_mean(self._images[0], mask))
        else:
            pattern = self._fit(mean if raw else replace(mean, dose=dose), mask)
        if self._params.form != "subtract":
            return pattern
        return replace(pattern, image=scaled(pattern.image, dose))

    def _fit(self, mean: MeanImage, mask: Mask) -> Pattern:
        bands = make_bands((mask.shape[0], mask.shape[1]), self._params.min_modes)
        if self._references is None or self._powers is None:
            self._references = References.of(self._images, bands)
            powers = self._powers = measure_bands(mean, self._references, mask, bands)
        else:
            powers = measure_bands_of_frames(mean, self._references, mask, bands, self._powers)
        fits = fit_bands(powers, bands)
        image = pattern_of(fits, self._references, bands)
        return Pattern(image, fits, products=powers.products)


def without_mean(image: Image, mask: Mask) -> Image:
    """Return an image minus its mean over unmasked pixels."""
    return image - np.float32(_mean_of(image, mask))


def _mean_of(image: Image, mask: Mask) -> float:
    total, good = masked_sum(MeanImage(image).arguments(), mask)
    return float(total / good) if good else 0.0


def scaled(image: Image, factor: float) -> Image:
    """Multiply an image by a factor in place, and return it."""
    image *= np.float32(factor)
    return image


def spread(doses: Sequence[float]) -> float:
    """Return how much the doses of a window differ: (largest - smallest) / median; 0 for no doses."""
    if not doses:
        return 0.0
    return float((max(doses) - min(doses)) / np.median(doses))

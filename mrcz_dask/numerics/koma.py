"""The fixed pattern of one stack from the references of its window (knock-out moving average)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.bands import Bands, make_bands
from mrcz_dask.numerics.regression import BandFit, Reference, fit_bands, pattern_of, without_mean
from mrcz_dask.values.params import KomaParams

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is taken off a stack.

    Attributes
    ----------
    image
        (ny, nx) float32: counts per frame, or for the form ``divide`` relative to 1.
    fits
        The regression of each band; empty for the method ``plain`` or without a reference.
    """

    image: Image
    fits: tuple[BandFit, ...]


def make_references(images: Sequence[Image], params: KomaParams) -> tuple[Reference, ...]:
    """Return reference images with the parts that fits share.

    Parameters
    ----------
    images
        (ny, nx) float32: the reference of the short window, and of the long one where it differs; relative
        to the dose, or in counts per frame for ``subtract-raw``.
    params
        Method and bands.
    """
    return tuple(Reference.of(image, _bands(image, params)) for image in images)


def _bands(image: Image, params: KomaParams) -> Bands:
    return make_bands((image.shape[0], image.shape[1]), params.min_modes)


def find_pattern(
    mean_image: Image,
    dose: float,
    mask: NDArray[np.bool_],
    references: Sequence[Reference],
    params: KomaParams,
) -> Pattern:
    """Return the pattern of one stack.

    Parameters
    ----------
    mean_image
        (ny, nx) float32, the stack's mean over frames, counts per frame.
    dose
        Its mean over unmasked pixels, d, counts per pixel and frame.
    mask
        (ny, nx) bool, True = outlier of this stack.
    references
        As `make_references` gives them; none at all gives no pattern.
    params
        Method and form.

    Notes
    -----
    Section 2.3 of McLeod et al. 2018 for ``plain``; ``fit`` regresses the stack on the references.
    """
    raw = params.form == "subtract-raw"
    if not references or not (raw or dose > 0):
        return Pattern(np.zeros(mean_image.shape, np.float32), ())
    if params.method == "plain":
        found = Pattern(without_mean(references[0].image, mask), ())
    else:
        found = _fitted(mean_image if raw else mean_image / np.float32(dose), references, mask, params)
    return found if params.form != "subtract" else Pattern(found.image * np.float32(dose), found.fits)


def _fitted(
    target: Image, references: Sequence[Reference], mask: NDArray[np.bool_], params: KomaParams
) -> Pattern:
    bands = _bands(target, params)
    fits = fit_bands(target, [r.image for r in references], mask, bands)
    return Pattern(pattern_of(fits, references, bands), fits)


def spread(doses: Sequence[float]) -> float:
    """Return (largest - smallest) / median of the doses of a window; 0 for none."""
    if not doses:
        return 0.0
    return float((max(doses) - min(doses)) / np.median(doses))

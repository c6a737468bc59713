"""Measures the pattern that images of disjoint parts of a session share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from mrcz_dask.numerics.reference.evidence import Mean

SMALL = 9  # pixels over which images are smoothed
NORMAL = 1.4826  # standard deviation of a normal distribution in median deviations
BRIGHT, DARK = 3.0, 5.0  # standard deviations; pixels further off are outliers of some stacks
TILES = 8  # along each side of an image

Image = NDArray[np.float32]


def common_pattern(images: Iterable[Image], pairs: Sequence[tuple[int, int]]) -> Mean | None:
    """Return the variance of what images of disjoint stacks share, relative to the square of the mean.

    The noise of one image does not depend on that of another, so products of two are the pattern's alone.
    Pixels that are bright in any of them are left out: they were hot for a while, or a little for years.

    Parameters
    ----------
    images
        (ny, nx) float32 each, at least one: mean of some stacks, relative to their mean, less 1; 0 where
        nothing is known.
    pairs
        Places of two images each that share neither specimen nor outliers that come and go.

    Returns
    -------
    Mean or None
        With the standard error from the scatter over the image; None without a pair, for tiny images, and
        where most pixels count nothing.
    """
    rough = [image - uniform_filter(image, SMALL) for image in images]
    rows, columns = (n // TILES for n in rough[0].shape)
    if not pairs or min(rows, columns) < TILES:
        return None
    good = np.ones(rough[0].shape, bool)
    good[TILES * rows :], good[:, TILES * columns :] = False, False
    for image in rough:
        away = image - np.median(image)
        deviation = NORMAL * np.median(np.abs(away))
        good &= (away < BRIGHT * deviation) & (away > -DARK * deviation)
    count = int(np.count_nonzero(good))
    if 2 * count < good.size:  # nothing counts, or nearly so
        return None
    for image in rough:
        image -= image[good].mean(dtype=np.float64)
        image[~good] = 0
    products = np.zeros(good.shape)
    for k, other in pairs:
        products += rough[k] * rough[other]
    whole = products[: TILES * rows, : TILES * columns]
    tiles = whole.reshape(TILES, rows, TILES, columns).sum(axis=(1, 3))
    values = tiles * (TILES**2 / (count * len(pairs)))
    return Mean(float(values.mean()), float(values.std(ddof=1)) / TILES)

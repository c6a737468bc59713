"""Split images into bands, multiply a stack with its references in each, and compose patterns from bands.

A stack's mean image and its references are gone through together, in as few passes as there can be; see
`fused`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mrcz_dask.numerics.reference import fused
from mrcz_dask.numerics.reference.bands import HALVES, Bands, plane_weight, smooth_width

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MeanImage:
    """The mean of a stack's frames, (ny, nx) float32, computed when needed: values * factor / dose.

    Attributes
    ----------
    values
        (ny, nx), integers or floats.
    factor
        Counts per frame in a unit of `values`.
    dose
        Divisor that brings the image to the scale of references; 1 = counts per frame.
    """

    values: NDArray[Any]
    factor: float = 1.0
    dose: float = 1.0

    def arguments(self) -> fused.Stack:
        """Return values, factor and dose as compiled functions take them."""
        return self.values, np.float32(self.factor), np.float32(self.dose)


@dataclass(frozen=True, slots=True)
class Parts:
    """An image, without its mean, in parts that bands are made of: profiles, block means, Fourier transform.

    Attributes
    ----------
    mean
        The mean that was subtracted.
    slope
        Per pixel along y and x, of the plane that was taken off besides; zero where none was.
    columns, rows
        (2, nx) and (ny,): the profiles, without what is smooth; zero where they have no band.
    means
        Block means of what is left, from level `Bands.first()` to `Bands.level`.
    spectrum
        Half plane of the Fourier transform of the last of them.
    """

    mean: float
    slope: tuple[float, float]
    columns: Floats
    rows: Floats
    means: tuple[Floats, ...]
    spectrum: NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class BandPowers:
    """The products of a stack with its references and itself, summed over each band, for the regression.

    The plane that fits an image best is subtracted as well: an illumination that grows to one side is a jump
    where the image is continued periodically, and a sawtooth in profiles without what is smooth. It is the
    same in all images that have one, so that few numbers would decide about the coefficients of whole bands.
    A plane in a reference takes the coefficients of the bands it is in, as `References` holds it.

    Attributes
    ----------
    parts
        Parts of the stack, then of one or two references.
    products
        (images, images, bands): their products over bands.
    """

    parts: tuple[Parts, ...]
    products: Floats


@dataclass(frozen=True, slots=True)
class References:
    """References of a window, one or two images, with the parts from which patterns are composed.

    Attributes
    ----------
    images
        One or two (ny, nx) float32: of the short window, and of the long one.
    parts
        Parts of each, without its mean; nothing is masked.
    """

    images: tuple[Image, ...]
    parts: tuple[Parts, ...]

    @classmethod
    def of(cls, images: Sequence[Image], bands: Bands) -> References:
        """Split one or two reference images into their parts."""
        first, last = images[0], images[-1]
        means = np.array([0.0, *fused.two_sums(first, last)]) / first.size
        sums = _Sums.zero(2, bands)
        no_stack = MeanImage(np.zeros((0, 0), np.int16))  # as sums mostly are: one kind less to compile
        sums.add(no_stack, first, last, np.zeros((0, 0), bool), means, bands, (1, 3))
        return cls(
            tuple(images), tuple(sums.parts(k, float(means[k + 1]), bands) for k in range(len(images)))
        )


def measure_bands(stack: MeanImage, references: References, mask: Mask, bands: Bands) -> BandPowers:
    """Split a stack and its references into bands and multiply them band by band, for the regression.

    Parameters
    ----------
    stack
        The mean image, on the scale of the references.
    references
        References of its window.
    mask
        (ny, nx) bool, True = outlier of the stack: zeroed in all images, after their means are removed.
    bands
        As `make_bands` gives them for this shape.
    """
    first, last = references.images[0], references.images[-1]
    total, good = fused.masked_sum(stack.arguments(), mask)
    means, at = [total / max(good, 1)], np.flatnonzero(mask)
    for image, part in zip(references.images, references.parts, strict=True):
        masked = image.reshape(-1)[at].sum(dtype=np.float64)
        means.append(float(part.mean * mask.size - masked) / max(good, 1))
    sums = _Sums.zero(3, bands)
    full = sums.add(stack, first, last, mask, np.array([*means, means[-1]][:3]), bands, (0, 3))
    parts = tuple(sums.without_plane(k, means[k], bands) for k in range(len(means)))
    return BandPowers(parts, _band_products(full, parts, bands))


def measure_bands_of_frames(
    stack: MeanImage, references: References, mask: Mask, bands: Bands, before: BandPowers
) -> BandPowers:
    """Repeat `measure_bands` for some of the stack's frames, reusing the products of the references.

    Parameters
    ----------
    stack, references, mask, bands
        As for `measure_bands`; `mask` is that of these frames.
    before
        The result of `measure_bands` for all frames.
    """
    first, last = references.images[0], references.images[-1]
    total, good = fused.masked_sum(stack.arguments(), mask)
    means = np.array([total / max(good, 1), before.parts[1].mean, before.parts[-1].mean])
    sums = _Sums.zero(1, bands)
    full = sums.add(stack, first, last, mask, means, bands, (0, 1))
    parts = (sums.without_plane(0, float(means[0]), bands), *before.parts[1:])
    products = before.products.copy()
    products[0] = products[:, 0] = _band_products(full, parts, bands)[0]
    return BandPowers(parts, products)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums of images, image first: over columns (each half apart), rows, blocks of the first level."""

    columns: Floats
    rows: Floats
    blocks: Floats

    @classmethod
    def zero(cls, images: int, bands: Bands) -> _Sums:
        """Return sums of nothing."""
        ny, nx = bands.shape
        blocks = np.zeros((images, *bands.size(bands.first())))
        return cls(np.zeros((images, HALVES, nx)), np.zeros((images, ny)), blocks)

    def add(
        self, stack: MeanImage, a: Image, b: Image, mask: Mask, means: Floats, bands: Bands,
        images: tuple[int, int],
    ) -> Floats:  # fmt: skip
        """Add images less their means, and return products of all three; see `fused.add_profiles`."""
        products, sums = np.zeros(6), (self.columns, self.rows, self.blocks)
        fused.add_profiles(stack.arguments(), a, b, mask, means, bands.first(), images, sums, products)
        return products

    def without_plane(self, k: int, mean: float, bands: Bands) -> Parts:
        """Return the parts of image k without the plane that fits it best; uses up its sums."""
        (ny, nx), of_columns = bands.shape, self.columns[k].sum(axis=0)
        return self.parts(k, mean, bands, (_slope(self.rows[k], nx), _slope(of_columns, ny)))

    def parts(self, k: int, mean: float, bands: Bands, slope: tuple[float, float] = (0.0, 0.0)) -> Parts:
        """Return the parts of image k, without a plane of mean 0; uses up its sums."""
        ny, nx = bands.shape
        columns, rows = self.columns[k], self.rows[k]
        y, x = (rise * _centered(n) for rise, n in zip(slope, bands.shape, strict=True))
        columns = _rough(columns / _half_rows(ny)[:, None] - x) if bands.lines[0] else columns * 0
        rows = _rough(rows / nx - y) if bands.lines[1] else rows * 0
        sums, means = self.blocks[k], []
        for level in range(bands.first(), bands.level + 1):
            coarser = np.empty(bands.size(min(level + 1, bands.level)))
            if level < bands.level:
                fused.pair_sums(sums, coarser)
            # means of blocks, minus those of the profiles
            tall, wide = (_block_lengths(n, level) for n in bands.shape)
            width, top = 1 << level, -(-ny // HALVES)
            across, down = _line_means(columns + x, width), _line_means(rows + y, width)
            # the block that holds the border between the halves takes a share of both
            share = top % width / tall[top // width] if top % width else 0.0
            middle = share * across[0] + (1 - share) * across[1]
            fused.finish_means(sums, tall, wide, down, across, middle, top // width, bool(top % width))
            means.append(sums)
            sums = coarser
        return Parts(mean, slope, columns, rows, tuple(means), scipy.fft.rfft2(means[-1], workers=1))


def _slope(sums: Floats, width: int) -> float:
    """Return the slope of the best line through an image along an axis, from its sums over the other one."""
    place = _centered(sums.size)
    return float((sums * place).sum() / (width * ((place**2).sum() or 1.0)))


def _centered(n: int) -> Floats:
    """Return the places of n pixels, from the middle."""
    return np.arange(n, dtype=np.float64) - (n - 1) / 2


def _half_rows(ny: int) -> Floats:
    """Return the number of rows of the top and the bottom half; at least 1, to divide by."""
    top = -(-ny // 2)
    return np.array([top, max(1, ny - top)], np.float64)


def _rough(profile: Floats) -> Floats:
    """Return profiles minus their means over blocks: what is smooth along them stays with the image."""
    n = profile.shape[-1]
    width = smooth_width(n)
    smooth = np.repeat(_line_means(profile, width), width, axis=-1)[..., :n]
    return np.asarray(profile - smooth)


def _line_means(profile: Floats, width: int) -> Floats:
    n = profile.shape[-1]
    starts = np.arange(0, n, width)
    return np.asarray(np.add.reduceat(profile, starts, axis=-1) / np.diff(np.append(starts, n)))


def _block_lengths(n: int, level: int) -> Floats:
    """Return the lengths of the blocks of a level along an axis; the last may be shorter."""
    return np.diff(np.append(np.arange(0, n, 1 << level), n)).astype(np.float64)


def _band_products(full: Floats, parts: Sequence[Parts], bands: Bands) -> Floats:
    """Return the products of images in each band, (images, images, bands).

    Parameters
    ----------
    full
        (6,): the products 00, 01, 02, 11, 12, 22 of the images themselves, over unmasked pixels and without
        their means; those of the planes that parts are without are taken off here.
    parts
        Parts of two images (the second counts twice) or of three.
    bands
        The bands.
    """
    (ny, nx), images = bands.shape, len(parts)
    parts = [*parts, parts[-1]][:3]
    pairs = list(combinations_with_replacement(parts, 2))
    squares = [(_centered(n) ** 2).sum() for n in bands.shape]
    y, x = squares[0] * nx, squares[1] * ny
    left = full - np.array([a.slope[0] * b.slope[0] * y + a.slope[1] * b.slope[1] * x for a, b in pairs])
    column = np.array([((a.columns * b.columns).sum(axis=1) * _half_rows(ny)).sum() for a, b in pairs])
    row = np.array([(a.rows * b.rows).sum() * nx for a, b in pairs])
    products = [v for v, there in zip((column, row), bands.lines, strict=True) if there]

    coarser = [left - column - row] if bands.level else []
    for k, level in enumerate(range(bands.first(), bands.level + 1)):
        coarser.append(np.zeros(6))
        tall, wide = (_block_lengths(n, level) for n in bands.shape)
        one, two, three = (p.means[k] for p in parts)
        fused.block_products(one, two, three, tall, wide, coarser[-1])
    products += [fine - coarse for fine, coarse in pairwise(coarser)]

    my, mx = bands.size(bands.level)
    sums = np.zeros((6, int(bands.shells.max()) + 2))
    first, second, third = (p.spectrum for p in parts)
    fused.shell_products(first, second, third, bands.fitted, plane_weight(mx), sums)
    products += list(sums[:, 1:].T * (math.prod(bands.shape) / (my * mx) / (my * mx)))

    table = np.zeros((3, 3, len(products)))
    for k, (i, j) in enumerate(combinations_with_replacement(range(3), 2)):
        table[i, j] = table[j, i] = [product[k] for product in products]
    return table[:images, :images]


def combine(images: Sequence[Image], parts: Sequence[Parts], factors: Floats, bands: Bands) -> Image:
    """Compose a pattern: the sum over images and bands of factor * part, (ny, nx) float32.

    Parameters
    ----------
    images
        One or two (ny, nx) float32 images.
    parts
        Their parts, split without a mask.
    factors
        (images, bands).
    bands
        The bands.
    """
    lines = sum(bands.lines)
    on_lines = np.zeros((len(images), HALVES))
    on_lines[:, np.flatnonzero(bands.lines)] = factors[:, :lines]
    scales, shells = factors[:, lines : lines + bands.level], factors[:, lines + bands.level :]
    finest = scales[:, 0] if bands.level else np.zeros(len(images))
    columns = sum((f[0] - k) * p.columns for f, k, p in zip(on_lines, finest, parts, strict=True))
    rows = sum((f[1] - k) * p.rows for f, k, p in zip(on_lines, finest, parts, strict=True))
    offset = float(sum(k * p.mean for k, p in zip(finest, parts, strict=True)))
    small = _combine_coarse(parts, scales, shells, offset, bands)
    out = np.empty(bands.shape, np.float32)
    profiles = np.asarray(columns), np.asarray(rows)
    fused.add_up(images[0], images[-1], *_two(finest), *profiles, small, bands.first(), out)
    return out


def _combine_coarse(
    parts: Sequence[Parts], scales: Floats, shells: Floats, offset: float, bands: Bands
) -> Floats:
    """Return the sum of the coarse levels, at the finest of them; the finest scale counts some of it."""
    table = np.concatenate([shells, np.zeros((len(parts), 1))], axis=1)
    spectrum = sum(p.spectrum * t[bands.shells] for p, t in zip(parts, table, strict=True))
    small: Floats = scipy.fft.irfft2(spectrum, s=bands.size(bands.level), workers=1)
    if bands.level:
        for p, c in zip(parts, scales[:, -1], strict=True):
            small -= c * p.means[-1]
    for level in range(bands.level - 1, 0, -1):
        raised, k = np.empty(bands.size(level)), level - bands.first()
        own, finer = _two(scales[:, level]), _two(scales[:, level - 1])
        means = parts[0].means[k], parts[-1].means[k]
        fused.raise_level(small, *means, *own, *finer, offset if level == 1 else 0.0, raised)
        small = raised
    if bands.level <= 1:
        small -= offset
    return small


def _two(factors: Floats) -> tuple[float, float]:
    """Return the factors of two images; of one, 0 for the second."""
    return float(factors[0]), float(factors[1]) if len(factors) > 1 else 0.0

"""Bands of an image by orthogonal projections: columns, rows, fine scales, octaves of the rest.

An image without its mean is split into the profile of its columns (top and bottom half apart, as detectors
are read) and of its rows, both without what is smooth along them; what is left, into differences between
block means of 1, 2, 4, ... pixels; and the coarsest block means, into octave shells of their Fourier
transform. Parts add up to the image, and products of images over bands to the product of the images (the
blocks at the edges, if they are smaller, make a small difference); and a large image is gone through once,
where its Fourier transform would cost as much as decoding ten frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from mrcz_dask.numerics import kernels

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

HALVES = 2
SMOOTH_PARTS = 6
COARSE_PIXELS = 1 << 20
FINE_MODES = 16
SHORTEST_LINE = 32


@dataclass(frozen=True, slots=True)
class Bands:
    """The bands of images of one shape.

    Attributes
    ----------
    shape
        (ny, nx).
    level
        Fine scales are means of 1 .. 2**(level - 1) pixels; shells are taken of blocks of 2**level.
    lines
        Whether columns and rows have bands of their own.
    shells
        (my, mx // 2 + 1) int16: shell of each bin of the coarse image's half plane, 0 = the finest; -1 for
        the mean, which belongs to none.
    names, modes
        Of the bands: columns, rows, scale 1, scale 2, ..., then the shells; their degrees of freedom.
    """

    shape: tuple[int, int]
    level: int
    lines: tuple[bool, bool]
    shells: NDArray[np.int16]
    names: tuple[str, ...]
    modes: tuple[int, ...]

    def size(self, level: int) -> tuple[int, int]:
        """Return the shape of the image of block means at a level."""
        return _size(self.shape, level)

    def first(self) -> int:
        """Return the finest level of which block means are taken."""
        return min(1, self.level)


def _size(shape: tuple[int, int], level: int) -> tuple[int, int]:
    return -(-shape[0] >> level), -(-shape[1] >> level)


@lru_cache(maxsize=4)
def make_bands(shape: tuple[int, int], min_modes: int) -> Bands:
    """Return the bands of an image.

    Parameters
    ----------
    shape
        (ny, nx) of the image.
    min_modes
        No band has fewer modes, where the image has as many: columns and rows with fewer stay with the rest,
        a shell with fewer joins the next finer one.
    """
    level = _level(shape, min_modes)
    ny, nx = shape
    line_modes = (min(HALVES, ny) * (nx - _parts(nx)), ny - _parts(ny))
    lines = (_has_lines(level, ny, line_modes[0], min_modes), _has_lines(level, nx, line_modes[1], min_modes))
    pixels = [math.prod(_size(shape, k)) for k in range(level + 1)]
    shells, shell_modes = _shells(_size(shape, level), min_modes)
    names = [name for name, there in zip(("columns", "rows"), lines, strict=True) if there]
    names += [f"scale {1 << k}" for k in range(level)]
    names += [f"shell 1/{2 << (k + level)}" for k in range(len(shell_modes))]
    of_lines = [n for n, there in zip(line_modes, lines, strict=True) if there]
    of_rest = [*(pixels[k] - pixels[k + 1] for k in range(level)), *shell_modes]
    of_rest[:1] = [n - sum(of_lines) for n in of_rest[:1]]
    return Bands(shape, level, lines, shells, tuple(names), (*of_lines, *of_rest))


def _has_lines(level: int, length: int, modes: int, min_modes: int) -> bool:
    """Return whether lines of a length are a band: not in small images, nor where they are no lines."""
    return level > 0 and length >= SHORTEST_LINE and modes >= min_modes


def _level(shape: tuple[int, int], min_modes: int) -> int:
    """Return how many fine scales there are: enough to make the rest small, none in a tiny image."""
    if math.prod(_size(shape, 1)) < FINE_MODES * min_modes:
        return 0
    level = 1
    while math.prod(_size(shape, level)) > COARSE_PIXELS:
        level += 1
    return level


def _shells(size: tuple[int, int], min_modes: int) -> tuple[NDArray[np.int16], list[int]]:
    my, mx = size
    fy = np.fft.fftfreq(my)[:, None]
    fx = np.arange(mx // 2 + 1)[None, :] / mx
    radius = 2 * np.hypot(fy, fx)
    radius[0, 0] = 2
    shells = np.maximum(0, np.ceil(-np.log2(radius)) - 1).astype(np.int16)
    shells[0, 0] = -1
    weight = np.broadcast_to(_plane_weight(mx), shells.shape)
    modes = [int(weight[shells == k].sum()) for k in range(int(shells.max()) + 1)]
    while len(modes) > 1 and modes[-1] < min_modes:
        shells[shells == len(modes) - 1] = len(modes) - 2
        modes[-2:] = [modes[-2] + modes[-1]]
    return shells, modes


def _plane_weight(mx: int) -> Floats:
    """Return how many bins of the full plane each column of the half plane stands for."""
    fx = np.arange(mx // 2 + 1)
    return np.where((fx == 0) | (2 * fx == mx), 1.0, 2.0)


def _smooth_width(n: int) -> int:
    return 1 << max(0, int(math.log2(max(1, n / SMOOTH_PARTS))))


def _parts(n: int) -> int:
    return -(-n // _smooth_width(n))


@dataclass(frozen=True, slots=True)
class Parts:
    """An image without its mean, split into parts; the image itself is not kept.

    Attributes
    ----------
    mean
        What was taken off.
    columns, rows
        (2, nx) and (ny,): the profiles, without what is smooth; zero where they have no band.
    means
        Block means of what is left, from level `Bands.first()` to `Bands.level`.
    spectrum
        Half plane of the Fourier transform of the last of them.
    """

    mean: float
    columns: Floats
    rows: Floats
    means: tuple[Floats, ...]
    spectrum: NDArray[np.complex128]


def split(image: Image, mask: Mask, mean: float, bands: Bands) -> Parts:
    """Return the parts of image - mean, 0 at the mask.

    Parameters
    ----------
    image
        (ny, nx) float32.
    mask
        (ny, nx) bool, True = outlier.
    mean
        What to take off.
    bands
        As `make_bands` gives them for this shape.
    """
    ny, nx = image.shape
    columns, rows = np.zeros((HALVES, nx)), np.zeros(ny)
    sums = np.zeros(bands.size(bands.first()))
    kernels.profiles(image, mask, mean, bands.first(), columns, rows, sums)
    columns = _rough(columns / _half_rows(ny)[:, None]) if bands.lines[0] else columns * 0
    rows = _rough(rows / nx) if bands.lines[1] else rows * 0
    means = []
    for k in range(bands.first(), bands.level + 1):
        coarser = _pair_sums(sums) if k < bands.level else sums
        _divide(sums, bands.shape, k)
        _take_off_lines(sums, columns, rows, k)
        means.append(sums)
        sums = coarser
    return Parts(mean, columns, rows, tuple(means), scipy.fft.rfft2(means[-1], workers=1))


def unmasked_mean(image: Image, mask: Mask) -> float:
    """Return the mean over unmasked pixels; 0 if there are none."""
    total, count = kernels.unmasked_sum(image, mask)
    return total / count if count else 0.0


def _half_rows(ny: int) -> Floats:
    """Return the number of rows of the top and the bottom half; at least 1, to divide by."""
    top = -(-ny // 2)
    return np.array([top, max(1, ny - top)], np.float64)


def _rough(profile: Floats) -> Floats:
    """Return profiles minus their means over blocks: what is smooth along them stays with the image."""
    width = _smooth_width(profile.shape[-1])
    return np.asarray(profile - _spread(_line_means(profile, width), width, profile.shape[-1]))


def _line_means(profile: Floats, width: int) -> Floats:
    n = profile.shape[-1]
    starts = np.arange(0, n, width)
    return np.asarray(np.add.reduceat(profile, starts, axis=-1) / np.diff(np.append(starts, n)))


def _spread(values: Floats, width: int, n: int) -> Floats:
    return np.asarray(np.repeat(values, width, axis=-1)[..., :n])


def _pair_sums(image: Floats) -> Floats:
    """Return sums over blocks of 2 x 2 pixels, those at the edges smaller."""
    odd_rows, odd_columns = image.shape[0] % 2, image.shape[1] % 2
    if odd_rows or odd_columns:
        image = np.pad(image, ((0, odd_rows), (0, odd_columns)))
    rows = image[0::2] + image[1::2]
    return np.asarray(rows[:, 0::2] + rows[:, 1::2])


@lru_cache(maxsize=8)
def _pixels(shape: tuple[int, int], level: int) -> Floats:
    """Return the number of pixels in every block of a level."""
    return _sizes(shape[0], level)[:, None] * _sizes(shape[1], level)[None, :]


def _sizes(n: int, level: int) -> Floats:
    """Return the lengths of the blocks of a level along an axis; the last may be shorter."""
    return np.diff(np.append(np.arange(0, n, 1 << level), n)).astype(np.float64)


def _divide(sums: Floats, shape: tuple[int, int], level: int) -> None:
    """Make means of sums over blocks, in place."""
    down, across = (_sizes(n, level) for n in shape)
    sums /= down[:, None]
    sums /= across[None, :]


def _take_off_lines(means: Floats, columns: Floats, rows: Floats, level: int) -> None:
    """Subtract the block means of the two profiles at a level, in place."""
    width, top = 1 << level, -(-rows.size // HALVES)
    across, down = _line_means(columns, width), _line_means(rows, width)
    means -= down[:, None]
    whole = top // width
    means[:whole] -= across[0]
    if top % width:
        share = top % width / _sizes(rows.size, level)[whole]
        means[whole] -= share * across[0] + (1 - share) * across[1]
        whole += 1
    means[whole:] -= across[1]


def band_products(full: float, a: Parts, b: Parts, bands: Bands) -> Floats:
    """Return the product of two images in each band.

    Parameters
    ----------
    full
        The product of the images themselves: the sum over unmasked pixels of (a - mean a)(b - mean b).
    a, b
        Their parts.
    bands
        The bands.
    """
    half_rows, nx = _half_rows(bands.shape[0]), bands.shape[1]
    column = float(((a.columns * b.columns).sum(axis=1) * half_rows).sum())
    row = float((a.rows * b.rows).sum() * nx)
    lines = [v for v, there in zip((column, row), bands.lines, strict=True) if there]
    left = [full - column - row] if bands.level else []
    for k, (x, y) in enumerate(zip(a.means, b.means, strict=True), bands.first()):
        left.append(float((x * y * _pixels(bands.shape, k)).sum()))
    scales = [fine - coarse for fine, coarse in pairwise(left)]
    return np.array([*lines, *scales, *_shell_products(a, b, bands)])


def _shell_products(a: Parts, b: Parts, bands: Bands) -> Floats:
    my, mx = bands.size(bands.level)
    power = (a.spectrum.real * b.spectrum.real + a.spectrum.imag * b.spectrum.imag) * _plane_weight(mx)
    sums = np.bincount(bands.shells.ravel() + 1, power.ravel(), int(bands.shells.max()) + 2)[1:]
    return np.asarray(sums * (math.prod(bands.shape) / (my * mx) / (my * mx)))


def combine(images: Sequence[Image], parts: Sequence[Parts], factors: Floats, bands: Bands) -> Image:
    """Return the sum over images and bands of factor * part, (ny, nx) float32.

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
    small = _combine_coarse(parts, scales, shells, bands)
    columns = sum((f[0] - k) * p.columns for f, k, p in zip(on_lines, finest, parts, strict=True))
    rows = sum((f[1] - k) * p.rows for f, k, p in zip(on_lines, finest, parts, strict=True))
    offset = float(sum(k * p.mean for k, p in zip(finest, parts, strict=True)))
    small -= offset
    return kernels.add_up(
        images[0],
        images[-1],
        finest[0],
        finest[1] if len(images) > 1 else 0.0,
        np.asarray(columns),
        np.asarray(rows),
        small,
        bands.first(),
    )


def _combine_coarse(parts: Sequence[Parts], scales: Floats, shells: Floats, bands: Bands) -> Floats:
    """Return what the coarse levels add at the finest of them, minus what the finest scale counts twice."""
    table = np.concatenate([shells, np.zeros((len(parts), 1))], axis=1)
    spectrum = sum(p.spectrum * t[bands.shells] for p, t in zip(parts, table, strict=True))
    small = scipy.fft.irfft2(spectrum, s=bands.size(bands.level), workers=1)
    for k in range(bands.level - 1, -1, -1):
        for p, c in zip(parts, scales[:, k], strict=True):
            small -= c * p.means[k + 1 - bands.first()]
        if k >= bands.first():
            my, mx = bands.size(k)
            small = np.repeat(np.repeat(small, 2, axis=0)[:my], 2, axis=1)[:, :mx]
            for p, c in zip(parts, scales[:, k], strict=True):
                small = small + c * p.means[k - bands.first()]
    return np.asarray(small)

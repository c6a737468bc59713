"""Divide an image into bands (columns, rows, octaves of spatial frequency), each of which gets a coefficient
of its own in the fit.

An image without its mean is split into the profile of its columns (top and bottom half apart, as detectors
are read) and of its rows, both without what is smooth along them; what is left, into differences between
block means of 1, 2, 4, ... pixels; and the coarsest block means, into octave shells of their Fourier
transform. Parts add up to the image, and products of images over bands to the product of the images (the
blocks at the edges, if they are smaller, make a small difference); and a large image is gone through once,
where its Fourier transform would cost as much as decoding ten frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HALVES = 2
SMOOTH_PARTS = 6
COARSE_PIXELS = 1 << 20
FINE_MODES = 16
SHORTEST_LINE = 32
LONG_WAVES = 4  # fewer waves in the image are long ones

Shells = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Bands:
    """The bands into which images of one shape are divided for the fit: their names, frequencies and numbers
    of degrees of freedom.

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
    fitted
        As `shells`, and -1 for waves longer than a quarter of the image: an illumination that grows to one
        side is in few of them, and as likely as not in the references as well. They take the coefficients
        of their shell, but do not decide about them.
    names, modes
        Names and degrees of freedom of the bands: columns, rows, scale 1, scale 2, ..., then the shells.
    """

    shape: tuple[int, int]
    level: int
    lines: tuple[bool, bool]
    shells: NDArray[np.int16]
    fitted: NDArray[np.int16]
    names: tuple[str, ...]
    modes: tuple[int, ...]

    def size(self, level: int) -> tuple[int, int]:
        """Return the shape of the image of block means, over 2**level pixels a side."""
        return _size(self.shape, level)

    def first(self) -> int:
        """Return the finest level at which block means are computed: 1, or 0 in a tiny image."""
        return min(1, self.level)


def _size(shape: tuple[int, int], level: int) -> tuple[int, int]:
    return -(-shape[0] >> level), -(-shape[1] >> level)


@lru_cache(maxsize=4)
def make_bands(shape: tuple[int, int], min_modes: int) -> Bands:
    """Choose the bands for images of a shape, each large enough for a coefficient of its own in the fit.

    Parameters
    ----------
    shape
        (ny, nx) of the image.
    min_modes
        No band has fewer modes, where the image has as many: columns and rows with fewer stay with the rest,
        a shell with fewer joins the next finer one.
    """
    ny, nx = shape
    # enough fine scales to make the rest small, none in a tiny image
    level = 1 if math.prod(_size(shape, 1)) >= FINE_MODES * min_modes else 0
    while level and math.prod(_size(shape, level)) > COARSE_PIXELS:
        level += 1
    smooth = [-(-n // smooth_width(n)) for n in shape]
    line_modes = (min(HALVES, ny) * (nx - smooth[1]), ny - smooth[0])
    columns, rows = (
        level > 0 and length >= SHORTEST_LINE and modes >= min_modes
        for length, modes in zip(shape, line_modes, strict=True)
    )
    lines = columns, rows
    pixels = [math.prod(_size(shape, k)) for k in range(level + 1)]
    shells, fitted, shell_modes = _shells(_size(shape, level), min_modes)
    names = [name for name, there in zip(("columns", "rows"), lines, strict=True) if there]
    names += [f"scale {1 << k}" for k in range(level)]
    names += [f"shell 1/{2 << (k + level)}" for k in range(len(shell_modes))]
    of_lines = [n for n, there in zip(line_modes, lines, strict=True) if there]
    of_rest = [*(pixels[k] - pixels[k + 1] for k in range(level)), *shell_modes]
    of_rest[:1] = [n - sum(of_lines) for n in of_rest[:1]]
    return Bands(shape, level, lines, shells, fitted, tuple(names), (*of_lines, *of_rest))


def _shells(size: tuple[int, int], min_modes: int) -> tuple[Shells, Shells, list[int]]:
    """Return the shells, those that are fitted, and the modes of each shell."""
    my, mx = size
    fy = np.fft.fftfreq(my)[:, None]
    fx = np.arange(mx // 2 + 1)[None, :] / mx
    radius = 2 * np.hypot(fy, fx)
    radius[0, 0] = 2
    shells = np.maximum(0, np.ceil(-np.log2(radius)) - 1).astype(np.int16)
    shells[0, 0] = -1
    fitted = np.where(np.hypot(fy * my, fx * mx) < LONG_WAVES, np.int16(-1), shells)
    weight = np.broadcast_to(plane_weight(mx), shells.shape)
    modes = _modes(fitted, weight, int(shells.max()))
    while len(modes) > 1 and modes[-1] < min_modes:
        for numbers in (shells, fitted):
            numbers[numbers == len(modes) - 1] = len(modes) - 2
        modes = _modes(fitted, weight, int(shells.max()))
    enough = bool(modes) and modes[-1] >= min_modes
    return shells, fitted if enough else shells, _modes(shells, weight, int(shells.max()))


def _modes(shells: Shells, weight: Floats, last: int) -> list[int]:
    """Return the number of bins of the full plane in each of the shells up to the last."""
    return [int(weight[shells == k].sum()) for k in range(last + 1)]


def plane_weight(mx: int) -> Floats:
    """Return how many bins of the full FFT each column of a real FFT of mx columns stands for: 1 or 2."""
    fx = np.arange(mx // 2 + 1)
    return np.where((fx == 0) | (2 * fx == mx), 1.0, 2.0)


def smooth_width(n: int) -> int:
    """Return the length over which a profile of n pixels is smoothed: a power of two, about n / 6."""
    return 1 << max(0, int(math.log2(max(1, n / SMOOTH_PARTS))))

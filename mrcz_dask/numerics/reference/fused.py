"""Compiled sums and products of a stack's mean image and its references, row by row, for the fit in bands.

Sums are in float64 and in a fixed order: every 128th pixel of a row, then these together, so that they are
vectors whatever the processor. The mean image is values * factor / dose, in float32, made as it is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import LANES, compiled, inner, total

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Stack = tuple[NDArray[Any], np.float32, np.float32]
"""Values, factor and dose of a mean image, see `MeanImage`."""
Sums = tuple[Floats, Floats, Floats]
"""Sums over columns (images, 2 halves, nx), rows (images, ny), and blocks (images, rows, columns)."""


@compiled
def masked_sum(stack: Stack, mask: Mask) -> tuple[float, int]:
    """Return the sum of a stack's mean image over unmasked pixels, and the number of these pixels."""
    nx = mask.shape[1]
    row, lanes, good = np.empty(nx), np.zeros(LANES), 0
    for y in range(mask.shape[0]):
        _scaled_off_mean(stack, y, mask[y], 0.0, row)
        _add_to_lanes(row, lanes)
        masked = mask[y]
        for x in range(nx):
            good += not masked[x]
    return total(lanes), good


@compiled
def two_sums(a: Image, b: Image) -> tuple[float, float]:
    """Return the sum of the pixels of each of two images, in one pass."""
    lanes, others = np.zeros(LANES), np.zeros(LANES)
    for y in range(a.shape[0]):
        _add_to_lanes(a[y], lanes)
        _add_to_lanes(b[y], others)
    return total(lanes), total(others)


@inner
def _add_to_lanes(row: NDArray[Any], lanes: Floats) -> None:
    for start in range(0, row.size, LANES):
        part = row[start : start + LANES]
        for j in range(part.size):
            lanes[j] += part[j]


@inner
def _row_sum(row: Floats, lanes: Floats) -> float:
    """Return the sum of a row; uses lanes."""
    for lane in range(lanes.size):
        lanes[lane] = 0.0
    _add_to_lanes(row, lanes)
    return total(lanes)


@inner
def _add_products(own: Floats, first: Floats, second: Floats, lanes: Floats) -> None:
    """Add the products 00, 01, 02, 11, 12, 22 of a row to lanes (6, LANES)."""
    for start in range(0, own.size, LANES):
        u, v, w = own[start : start + LANES], first[start : start + LANES], second[start : start + LANES]
        for j in range(u.size):
            lanes[0, j] += u[j] * u[j]
            lanes[1, j] += u[j] * v[j]
            lanes[2, j] += u[j] * w[j]
            lanes[3, j] += v[j] * v[j]
            lanes[4, j] += v[j] * w[j]
            lanes[5, j] += w[j] * w[j]


@inner
def _off_mean(row: NDArray[Any], masked: Mask, mean: float, out: Floats) -> None:
    for x in range(out.size):
        out[x] = 0.0 if masked[x] else row[x] - mean


@inner
def _scaled_off_mean(stack: Stack, y: int, masked: Mask, mean: float, out: Floats) -> None:
    values, factor, dose = stack
    row = values[y]
    for x in range(out.size):
        out[x] = 0.0 if masked[x] else np.float32(row[x]) * factor / dose - mean


@inner
def _add_row(row: Floats, level: int, columns: Floats, blocks: Floats) -> None:
    """Add a row to the sums of columns, and to those of blocks of 2**level (level 0 or 1)."""
    for x in range(row.size):
        columns[x] += row[x]
    if level == 0:
        for x in range(row.size):
            blocks[x] += row[x]
        return
    half = row.size // 2
    for k in range(half):
        blocks[k] = blocks[k] + row[2 * k] + row[2 * k + 1]
    if row.size % 2:
        blocks[half] += row[row.size - 1]


@compiled
def add_profiles(
    stack: Stack,
    a: Image,
    b: Image,
    mask: Mask,
    means: Floats,
    level: int,
    images: tuple[int, int],
    sums: Sums,
    products: Floats,
) -> None:
    """Add images, each minus its mean, to running sums over columns, rows and blocks of pixels, from which
    bands are made.

    The images are the mean image of a stack (0) and two references a and b (1, 2), 0 at the mask, which may
    be empty; those from images[0] to images[1] - 1 are added. With the mean image the products 00, 01, 02,
    11, 12, 22 of the images are put into products (6,).
    """
    columns, rows, blocks = sums
    first, last = images
    ny, nx = a.shape
    line, lanes, of_pairs = np.empty((3, nx)), np.empty(LANES), np.zeros((6, LANES))
    nothing = np.zeros(nx, np.bool_)
    for y in range(ny):
        masked = mask[y] if mask.size else nothing
        if first == 0:
            _scaled_off_mean(stack, y, masked, means[0], line[0])
        _off_mean(a[y], masked, means[1], line[1])
        _off_mean(b[y], masked, means[2], line[2])
        for k in range(first, last):
            half = 1 if 2 * y >= ny else 0
            _add_row(line[k], level, columns[k - first, half], blocks[k - first, y >> level])
            rows[k - first, y] = _row_sum(line[k], lanes)
        if first == 0:
            _add_products(line[0], line[1], line[2], of_pairs)
    for k in range(6):
        products[k] = total(of_pairs[k])


@compiled
def pair_sums(image: Floats, out: Floats) -> None:
    """Write the sums over blocks of 2 x 2 pixels of an image into `out`; edge blocks may be smaller."""
    ny, nx = image.shape
    empty = np.zeros(nx)
    for k in range(out.shape[0]):
        above, below, into = image[2 * k], image[2 * k + 1] if 2 * k + 1 < ny else empty, out[k]
        for j in range(nx // 2):
            into[j] = (above[2 * j] + below[2 * j]) + (above[2 * j + 1] + below[2 * j + 1])
        if nx % 2:
            into[nx // 2] = above[nx - 1] + below[nx - 1]


@compiled
def finish_means(
    sums: Floats,
    tall: Floats,
    wide: Floats,
    down: Floats,
    across: Floats,
    middle: Floats,
    top: int,
    mixed: bool,
) -> None:
    """Turn block sums into block means, in place, and subtract the row and column profiles from them.

    tall and wide are the lengths of the blocks; down and across (of each half) the profiles' means over them;
    row `top` of the blocks is the first of the lower half, or if `mixed` it takes `middle`.
    """
    narrow = 1 / wide
    for k in range(sums.shape[0]):
        row, low, off = sums[k], 1 / tall[k], down[k]
        lines = middle if mixed and k == top else across[0] if k < top else across[1]
        for j in range(row.size):
            row[j] = row[j] * low * narrow[j] - off - lines[j]


@compiled
def block_products(a: Floats, b: Floats, c: Floats, tall: Floats, wide: Floats, out: Floats) -> None:
    """Add the products of the block means of three images (00, 01, 02, 11, 12, 22), weighted by block size,
    to out (6,).
    """
    for k in range(a.shape[0]):
        first, second, third = a[k], b[k], c[k]
        p00, p01, p02, p11, p12, p22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(first.size):
            u, v, w = first[j], second[j], third[j]
            p00 += u * u * wide[j]
            p01 += u * v * wide[j]
            p02 += u * w * wide[j]
            p11 += v * v * wide[j]
            p12 += v * w * wide[j]
            p22 += w * w * wide[j]
        out[0] += p00 * tall[k]
        out[1] += p01 * tall[k]
        out[2] += p02 * tall[k]
        out[3] += p11 * tall[k]
        out[4] += p12 * tall[k]
        out[5] += p22 * tall[k]


@compiled
def shell_products(
    a: NDArray[np.complex128],
    b: NDArray[np.complex128],
    c: NDArray[np.complex128],
    shells: NDArray[np.int16],
    weight: Floats,
    out: Floats,
) -> None:
    """Add the products of the Fourier transforms of three images, summed over each frequency shell, to out
    (6, 1 + shells).
    """
    for y in range(shells.shape[0]):
        for x in range(shells.shape[1]):
            u, v, w, s, n = a[y, x], b[y, x], c[y, x], shells[y, x] + 1, weight[x]
            out[0, s] += (u.real * u.real + u.imag * u.imag) * n
            out[1, s] += (u.real * v.real + u.imag * v.imag) * n
            out[2, s] += (u.real * w.real + u.imag * w.imag) * n
            out[3, s] += (v.real * v.real + v.imag * v.imag) * n
            out[4, s] += (v.real * w.real + v.imag * w.imag) * n
            out[5, s] += (w.real * w.real + w.imag * w.imag) * n


@compiled
def add_up(
    first: Image,
    second: Image,
    c_first: float,
    c_second: float,
    columns: Floats,
    rows: Floats,
    small: Floats,
    level: int,
    out: Image,
) -> None:
    """Compose an image from weighted references, column and row profiles and an enlarged coarse image; write
    it to `out`.
    """
    ny, nx = first.shape
    under = np.empty(nx)
    for y in range(ny):
        half, row, above, below, into = columns[1 if 2 * y >= ny else 0], rows[y], first[y], second[y], out[y]
        if y % (1 << level) == 0:
            of_blocks = small[y >> level]
            for x in range(nx):
                under[x] = of_blocks[x >> level]
        for x in range(nx):
            lines = half[x] + row + under[x]
            into[x] = np.float32(c_first * above[x] + c_second * below[x] + lines)


@compiled
def raise_level(
    coarse: Floats,
    first: Floats,
    second: Floats,
    c_first: float,
    c_second: float,
    finer_first: float,
    finer_second: float,
    offset: float,
    out: Floats,
) -> None:
    """Enlarge a coarse image twofold and exchange the weights of one level of block means in it, to compose a
    pattern from bands.
    """
    under = np.empty(out.shape[1])
    for k in range(out.shape[0]):
        of_blocks, into, one, two = coarse[k >> 1], out[k], first[k], second[k]
        for j in range(under.size):
            under[j] = of_blocks[j >> 1]
        for j in range(into.size):
            value = under[j] + c_first * one[j] + c_second * two[j]
            into[j] = value - finer_first * one[j] - finer_second * two[j] - offset

"""Find what the stacks of a window share that is the specimen's, not the detector's.

A detector's pattern stays on its pixels. Two things tell the specimen from it: a gain-corrected detector has
little smooth structure, and the specimen moves with the drift inside a stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, median_filter

from mrcz_dask.numerics.kernels import compiled
from mrcz_dask.numerics.moments import block_sums
from mrcz_dask.numerics.reference.movement import Movement

GRID, SMALLEST = 96, 4  # blocks along each side of a coarse image, and pixels of a block
FEWEST_BLOCKS = 32  # images of fewer are like no other
SMALLEST_SIDE = 128  # in smaller images what is smooth is as short as the pattern, and is not looked at
SMOOTH = 6  # structure longer than this part of the image is smooth
EDGE = 8  # this part of an image is faded out at its edges
SMALL_DRIFT = 0.05
PARTS = 6  # of a window; each is compared with the others

Floats = NDArray[np.float64]
Image = NDArray[np.float32]


class CoarseStack(NamedTuple):
    """Means of a stack's sum over a grid of blocks, and how its frames differ from early to late.

    Attributes
    ----------
    image
        (by, bx), relative to the mean, less 1.
    differences
        (2, by, bx): early less late frames, each relative to its mean, of frames 0, 2, ... and 1, 3, ...
    counts
        Sum of the frames, counts per pixel.
    """

    image: Floats
    differences: Floats
    counts: float


def grid(shape: Sequence[int]) -> tuple[int, int]:
    """Return the numbers of blocks, along y and x, of the coarse image of an image of this shape."""
    by, bx = (max(1, min(GRID, max(n // SMALLEST, min(n // 2, FEWEST_BLOCKS)))) for n in shape)
    return by, bx


def block_edges(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and the columns between which the blocks of a coarse image lie."""
    rows, columns = (
        np.arange(k + 1, dtype=np.int64) * n // k for k, n in zip(grid(shape), shape, strict=True)
    )
    return rows, columns


def coarse_means(image: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> Floats:
    """Return the means of an image over the blocks of a coarse grid, (by, bx).

    Parameters
    ----------
    image
        (ny, nx) counts.
    mask
        (ny, nx) bool, True = left out; a block of nothing else is not a number. None = all pixels count.
    """
    sums, pixels = block_sums(image, mask, *block_edges(image.shape))
    return np.divide(sums, pixels, out=np.full_like(sums, np.nan), where=pixels > 0)


def coarse_image(total: NDArray[Any], mask: NDArray[np.bool_]) -> Floats:
    """Return the means of a stack's sum over the blocks of a coarse grid, relative to their mean, less 1.

    Parameters
    ----------
    total
        (ny, nx) sum of the frames, in any unit.
    mask
        (ny, nx) bool, True = outlier, left out; a block of nothing else is as the mean.
    """
    means = coarse_means(total, mask)
    good = np.isfinite(means)
    mean = means[good].mean() if good.any() else 0.0
    return np.where(good, means / mean - 1, 0.0) if mean > 0 else np.zeros_like(means)


def early_less_late(early: Floats, n_early: int, whole: Floats, n: int, offset: float = 0.0) -> Floats:
    """Return the mean of the early frames less that of the late ones, each relative to its own dose.

    Parameters
    ----------
    early, whole
        (by, bx) sums of the early frames, and of all frames.
    n_early, n
        Numbers of frames in them.
    offset
        Counts that every pixel has too many.
    """
    if not 0 < n_early < n:
        return np.zeros_like(whole)
    first, second = early / n_early - offset, (whole - early) / (n - n_early) - offset
    if not min(first.mean(), second.mean()) > 0:
        return np.zeros_like(whole)
    return np.asarray(first / first.mean() - second / second.mean())


def smooth_structure(coarse: Floats) -> Floats:
    """Return the running median of a coarse image; it keeps edges, and nothing that is short."""
    return np.asarray(median_filter(coarse, [n // SMOOTH | 1 for n in coarse.shape], mode="nearest"))


def movement_of_reference(own: CoarseStack, members: Sequence[CoarseStack]) -> Movement:
    """Compare the smooth structure of the reference with the drift of each stack, which is not in it.

    A sixth of the members is compared with the mean of the others, of which it is not.

    Parameters
    ----------
    own, members
        The stack, and the members of its window.
    """
    parts = [members[k::PARTS] for k in range(PARTS)]
    rest = [[one for j, one in enumerate(members) if j % PARTS != k] for k in range(PARTS)]
    found = Movement()
    for stacks, others in zip([(own,), *parts], [members, *rest], strict=True):
        if stacks and others:
            reference = halved(_mean(others))
            smooth = smooth_structure(reference)
            for stack in stacks:
                found = found.with_(_movement(stack, reference, smooth))
    return found


def _mean(stacks: Sequence[CoarseStack]) -> Floats:
    """Return the mean of the images of stacks, by their counts."""
    return np.asarray(sum(m.image * m.counts for m in stacks) / sum(m.counts for m in stacks))


def movement_of_removed(
    removed: Image, dose: float, stack: CoarseStack, members: Sequence[CoarseStack]
) -> Movement:
    """Look for movement with the specimen in what is taken off a stack.

    Parameters
    ----------
    removed
        (ny, nx) float32, in the unit of `dose`.
    dose
        Mean of the stack.
    stack, members
        The stack, and the members of its window; their mean is taken off before its drift is fitted.
    """
    if not members or not dose > 0:
        return Movement()
    smoothed = gaussian_filter(halved(coarse_means(removed) / dose), 1)
    return _movement(stack, halved(_mean(members)), smoothed)


def _movement(stack: CoarseStack, reference: Floats, image: Floats) -> Movement:
    """Compare what a stack's drift does to an image with the difference of its early and late frames.

    The drift is fitted to the specimen, the stack less its reference, in frames 0, 2, ... and in frames 1,
    3, ...; what one predicts is looked for in the other.
    """
    fade = halved(faded_edges(stack.image.shape))
    slopes = np.array(np.gradient(image)) * fade
    differences = halved(stack.differences)
    drifts = [_drift(halved(stack.image) - reference, one, fade) for one in differences]
    expected = [-np.tensordot(drift, slopes, 1) for drift in drifts]
    mean = (expected[0] + expected[1]) / 2
    return Movement(
        float((expected[0] * differences[1] + expected[1] * differences[0]).sum()) / 2,
        float((expected[0] * expected[1]).sum()),
        float(differences.mean(axis=0).var() * (mean**2).sum()),
    )


def _drift(specimen: Floats, difference: Floats, fade: Floats) -> Floats:
    """Fit the shift (y, x) in blocks from late to early frames, by which the specimen makes a difference."""
    slopes = np.array(np.gradient(specimen)) * fade
    products = np.tensordot(slopes, slopes, ((1, 2), (1, 2)))
    products += np.eye(2) * (SMALL_DRIFT * np.trace(products) or 1.0)
    return np.asarray(np.linalg.solve(products, -np.tensordot(slopes, difference * fade, 2)))


def smooth_deviation(coarse: Floats) -> float:
    """Return the standard deviation of the smooth structure in a coarse image, relative to its mean.

    The median of m blocks keeps pi / 2m of their variance by chance. Twice that is taken off, as it varies.
    """
    smooth = smooth_structure(coarse)
    blocks = math.prod(n // SMOOTH | 1 for n in coarse.shape)
    variance = smooth.var() - math.pi / blocks * (coarse - smooth).var()
    return math.sqrt(max(0.0, float(variance))) / float(coarse.mean() or 1.0)


def without_smooth(reference: Image, coarse: Floats) -> Image:
    """Return a reference without its smooth structure, (ny, nx) float32; its mean stays.

    Parameters
    ----------
    reference
        (ny, nx) float32.
    coarse
        Its `coarse_means`.
    """
    smooth = smooth_structure(coarse)
    smooth += smooth_structure(coarse - smooth)  # what the median misses where edges bend or meet the border
    smooth -= smooth.mean()
    return reference - expand(smooth, reference.shape)


def halved(image: Floats) -> Floats:
    """Return means over 2 x 2 pixels of the last two axes; a row or column that is left over is dropped."""
    by, bx = (n // 2 * 2 for n in image.shape[-2:])
    four = image[..., :by, :bx].reshape(*image.shape[:-2], by // 2, 2, bx // 2, 2)
    return np.asarray(four.mean(axis=(-3, -1)))


def expand(coarse: Floats, shape: tuple[int, ...]) -> Image:
    """Return a coarse image on the pixels of the whole one, float32, linear between the middles of blocks."""
    below, shares = [], []
    for blocks, n in zip(coarse.shape, shape, strict=True):
        place = np.clip((np.arange(n) + 0.5) * blocks / n - 0.5, 0, blocks - 1)
        below.append(np.minimum(place.astype(np.intp), max(0, blocks - 2)))
        shares.append(place - below[-1])
    padded = np.pad(coarse, (0, 1), mode="edge")  # of a single block there is no next one
    out = np.empty(shape, np.float32)
    _between(padded, below[0], below[1], shares[0], shares[1], out)
    return out


@compiled
def _between(
    coarse: Floats,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    down: Floats,
    across: Floats,
    out: Image,
) -> None:
    """Fill an image with values between those of four blocks, `down` and `across` of the way to the next."""
    for y in range(out.shape[0]):
        i, share, line = rows[y], down[y], out[y]
        top, bottom = coarse[i], coarse[i + 1]
        for x in range(line.size):
            j = columns[x]
            left = top[j] + share * (bottom[j] - top[j])
            right = top[j + 1] + share * (bottom[j + 1] - top[j + 1])
            line[x] = np.float32(left + across[x] * (right - left))


def faded_edges(shape: tuple[int, ...]) -> Floats:
    """Return weights that fall to 0 at the edges of an image."""
    ramps = []
    for n in shape:
        length = max(1, n // EDGE)
        ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)
        ramps.append(np.concatenate([ramp, np.ones(max(0, n - 2 * length)), ramp[::-1]])[:n])
    return np.asarray(ramps[0][:, None] * ramps[1])

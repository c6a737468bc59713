"""Find rectangles of pixels that read too much or too little: a read-out block, a tile, a dead corner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrcz_dask.numerics.arrays import Floats, Mask
from mrcz_dask.numerics.kernels import compiled, native

MOST = 2.0**58  # counts: so large a pixel fits into the sum of a small square
CELL, EACH = 4, 8  # pixels along a side of a small square; small ones along a side of those that are compared
DEAD, SURE = 1 / 8, 6.0  # of the center, below which a region is dead; sigma by which it is below
MOST_DEAD, FILLED = 0.2, 0.95  # of the image; of its rectangle that a dead region covers
KNOWN = 0.5  # share of known defects from which it is none
NEARBY = 9  # squares along a side that tell how bright it is around
CLEAR, MAD = 5.0, 1.4826  # sigma among squares by which those of a block differ
SMALLEST, LARGEST = 0.1, 1 / 16  # excess; share of the image
MARGIN = 48  # pixels around squares that differ, within which the block's edges are
LEAST = 24  # pixels along a side of a block
STRIP = 6  # pixels on each side of an edge that are compared
EDGE_SHARE, EDGE_SIGMAS, ALL_SIGMAS = 0.7, 1.5, 5.5  # least step at each edge; of all edges together
SURPLUS = {1: 2.0, STRIP: 1.5}  # errors by which the step of one pixel, and of a strip, may be less
PARTS, ALIKE = 4, 0.35  # of each side, by which parts of a block may differ from its excess, relative
NEAREST, FARTHEST = 3, 6  # sigma above the center that a pixel counts at most: to find a block; its excess
BROKEN = 0.5  # excess from which a block is masked whatever other stacks have
OFTEN, OVERLAP = 0.25, 0.5  # share of stacks with a block that KOMA takes off; of its pixels that they share
ROUNDS = 5

Indices = NDArray[np.intp]


class BadBlock(NamedTuple):
    """A rectangle of pixels that read too much or too little.

    Attributes
    ----------
    top, bottom, left, right
        First row, the one after the last, first column, the one after the last.
    excess
        How much it reads too much, relative to what is around.
    """

    top: int
    bottom: int
    left: int
    right: int
    excess: float

    @property
    def pixels(self) -> tuple[slice, slice]:
        """The pixels of the block, as an index of an image (y, x)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def passing_blocks(blocks: Sequence[BadBlock], others: Sequence[Sequence[BadBlock]]) -> list[BadBlock]:
    """Return the blocks of a stack that few of the other stacks have: the others are a pattern for KOMA.

    Parameters
    ----------
    blocks
        Bad blocks of the stack.
    others
        Bad blocks of each of the stacks around it.
    """
    passing = []
    for block in blocks:
        have = sum(any(_is_same(block, other) for other in stack) for stack in others)
        if have <= OFTEN * len(others):
            passing.append(block)
    return passing


def _is_same(block: BadBlock, other: BadBlock) -> bool:
    """Return whether another block reads too much or too little as well, in most of the same pixels."""
    height = min(block.bottom, other.bottom) - max(block.top, other.top)
    width = min(block.right, other.right) - max(block.left, other.left)
    largest = max((b.bottom - b.top) * (b.right - b.left) for b in (block, other))
    return block.excess * other.excess > 0 and min(height, width) > 0 and height * width > OVERLAP * largest


def blocks_of(
    values: NDArray[Any], middle: float, sigma: float, unknown: Mask | None = None
) -> tuple[tuple[BadBlock, ...], Indices]:
    """Find the bad blocks of a sum, and the pixels of its dead regions.

    Parameters
    ----------
    values
        (y, x) counts.
    middle, sigma
        Center and width of the good pixels, counts.
    unknown
        (y, x) bool, True = known defect; None = nowhere. What consists of them is no block.

    Returns
    -------
    blocks
        Rectangles that read too much or too little.
    dead
        Flat indices of pixels in regions that read less than an eighth of the center.
    """
    if min(values.shape) < CELL or not 0 < middle <= values.max():  # a center beyond all pixels is none
        return (), np.zeros(0, np.intp)
    high = math.ceil(min(middle + NEAREST * sigma, MOST))
    cells = np.zeros((values.shape[0] // CELL, values.shape[1] // CELL), np.int64)
    _add_cells(native(values), high, cells)
    few = ndimage.maximum_filter(cells < DEAD * middle * CELL * CELL, 3)
    dead = _dead_regions(values, few, middle, sigma, unknown) if few.any() else np.zeros(0, np.intp)
    blocks = _blocks(values, cells, middle, sigma, high)
    return tuple(b for b in blocks if unknown is None or unknown[b.pixels].mean() < KNOWN), dead


def _dead_regions(
    values: NDArray[Any], few: Mask, middle: float, sigma: float, unknown: Mask | None
) -> Indices:
    """Return the pixels in rectangles, of 10 x 10 at least, that read less than an eighth of the center.

    A live pixel may count nothing by chance; the squares that make them up, of 5 x 5 at least, do not.
    They are looked for around the small squares that have `few` counts.
    """
    half = max(5, math.ceil(SURE * sigma / ((1 - DEAD) * middle))) // 2
    side = 2 * half + 1
    dead = np.zeros(values.shape, bool)
    for cells in ndimage.find_objects(ndimage.label(few)[0]):
        around = tuple(slice(max(0, s.start * CELL - 2 * side), s.stop * CELL + 2 * side) for s in cells)
        image = np.clip(values[around], 0, math.ceil(middle)).astype(np.float64)
        low = np.zeros(image.shape, bool)
        if side <= min(image.shape):
            inside = slice(half, -half), slice(half, -half)  # squares that do not leave the image
            low[inside] = ndimage.uniform_filter(image, side)[inside] < DEAD * middle
        dead[around] |= ndimage.maximum_filter(low, side)
    for place in ndimage.find_objects(ndimage.label(dead)[0]):  # beads and holes are round
        rectangle = dead[place]
        known = unknown is not None and unknown[place].mean() >= KNOWN
        if known or min(rectangle.shape) < 2 * side or rectangle.mean() < FILLED:
            rectangle[:] = False
    return np.flatnonzero(dead) if dead.mean() <= MOST_DEAD else np.zeros(0, np.intp)


def _blocks(
    values: NDArray[Any], cells: NDArray[np.int64], middle: float, sigma: float, high: int
) -> tuple[BadBlock, ...]:
    """Find rectangles with straight and sharp edges along rows and columns.

    All of their edges inside the image have the same step, and their parts read alike. So neither
    particles nor ice are taken for blocks. A block has three such edges at least, in a corner two.
    """
    squares = tuple(n // EACH for n in cells.shape)
    if min(squares) < NEARBY:
        return ()
    whole = cells[: squares[0] * EACH, : squares[1] * EACH].reshape(squares[0], EACH, squares[1], EACH)
    bright = whole.sum(axis=(1, 3)) / (CELL * EACH) ** 2
    around = np.maximum(ndimage.median_filter(bright, NEARBY, mode="nearest"), middle * DEAD)
    apart = bright / around - 1
    spread = max(MAD * float(np.median(np.abs(apart))), sigma / middle / (CELL * EACH))
    found: list[BadBlock] = []
    for sign in (1, -1):
        parts, _ = ndimage.label(sign * apart > max(SMALLEST / 2, CLEAR * spread))
        for place in ndimage.find_objects(parts):
            block = _block(values, place, sign, high, sigma / middle)
            if block is not None and block not in found:
                found.append(block)
    return tuple(found)


def _block(
    values: NDArray[Any], place: tuple[slice, slice], sign: int, high: int, noise: float
) -> BadBlock | None:
    """Return the block to which some squares belong; None if they have no such edges."""
    box = [[s.start * CELL * EACH, s.stop * CELL * EACH] for s in place]
    for _ in range(ROUNDS):
        sides = [stop - start for start, stop in box]
        if min(sides) < LEAST or math.prod(sides) > LARGEST * values.size:
            return None
        first = [max(0, start - MARGIN) for start, _ in box]
        image = np.clip(values[first[0] : box[0][1] + MARGIN, first[1] : box[1][1] + MARGIN], 0, high)
        edges = [[end - f for end in e] for e, f in zip(box, first, strict=True)]
        inside = np.zeros(image.shape, bool)
        inside[slice(*edges[0]), slice(*edges[1])] = True
        level = float(image[~inside].mean())
        excess = float(image[inside].mean()) / level - 1
        for axis in (0, 1):
            across = slice(*edges[1 - axis])
            part = image[:, across] if axis == 0 else image[across]
            profile = sign * (part.mean(axis=1 - axis) / level - 1 - excess / 2)
            above = np.concatenate([[0.0], np.cumsum(profile)])
            stop = int(np.argmax(above - np.minimum.accumulate(above)))
            edges[axis] = [int(np.argmin(above[: stop + 1])), stop]
        box = [[end + f for end in e] for e, f in zip(edges, first, strict=True)]
    if not _is_block(image / level - 1, edges, first, values.shape, excess, noise):
        return None
    (top, bottom), (left, right) = box
    found = BadBlock(top, bottom, left, right, excess)
    far = high + (FARTHEST - NEAREST) * noise * level
    return found._replace(excess=float(np.clip(values[found.pixels], 0, far).mean()) / level - 1)


def _is_block(
    apart: Floats, box: list[list[int]], first: list[int], shape: tuple[int, ...], excess: float, noise: float
) -> bool:
    """Return whether a rectangle has the same step at all its edges, and reads alike everywhere."""
    sign = math.copysign(1, excess)
    if abs(excess) < SMALLEST:
        return False
    (top, bottom), (left, right) = box
    steps: tuple[list[float], list[float]] = [], []
    for axis, (start, stop) in enumerate(box):
        side = slice(left, right) if axis == 0 else slice(top, bottom)
        lines = (apart[:, side] if axis == 0 else apart[side].T).mean(axis=1)
        for edge, inward, border in ((start, 1, 0), (stop, -1, shape[axis])):
            if edge + first[axis] == border:
                continue
            if not STRIP <= edge <= lines.size - STRIP:
                return False
            for width in SURPLUS:  # a detector's edges are sharp
                sums = np.cumsum(np.concatenate([[0.0], lines]))
                everywhere = (sums[2 * width :] - 2 * sums[width:-width] + sums[: -2 * width]) / width
                error = noise * math.sqrt(2 / width / (side.stop - side.start))
                step = sign * inward * float(everywhere[edge - width])
                if step < EDGE_SHARE * abs(excess) - SURPLUS[width] * error:
                    return False
            error = max(error, MAD * float(np.median(np.abs(everywhere))))  # the specimen has steps as well
            if step < EDGE_SIGMAS * error:
                return False
            steps[axis].append(step / error)
    clear = steps[0] + steps[1]
    if not (steps[0] and steps[1]) or sum(clear) / math.sqrt(len(clear)) < ALL_SIGMAS:
        return False
    for rows in np.array_split(apart[top:bottom, left:right], PARTS):
        for part in np.array_split(rows, PARTS, axis=1):
            error = noise / math.sqrt(part.size)
            if abs(float(part.mean()) - excess) > ALIKE * abs(excess) + 3 * error:
                return False
    return True


@compiled
def _add_cells(values: NDArray[Any], most: int, cells: NDArray[np.int64]) -> None:
    """Add pixels, at most `most`, to the squares to which they belong; the rest is left out."""
    ny, nx = cells.shape
    for y in range(ny * CELL):
        row, into = values[y], cells[y // CELL]
        for x in range(nx * CELL):
            value: Any = np.int64(row[x])
            into[x // CELL] += min(max(value, 0), most)

"""Make thumbnails of a stack before and after correction, and a patch at full size, for the report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.arrays import Image
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.reference.correction import Correction
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import MrczDaskError

SIDE = 192
PATCH = 96
# Of each block so many rows are looked at, evenly spread: all of them would take four times as long.
ROWS = 2
# Share of the pixels of the image after the correction that is darker than black, and brighter than white.
CLIPPED = 0.005
GRAYS = 255
# Standard deviations of the pattern that are drawn black and white, and the gray of 0.
SPAN, MIDDLE = 3.0, 127.5


def keep_thumbnails(store: SessionStore, stem: str, mean: MeanImage, correction: Correction) -> None:
    """Write thumbnails and patch of a stack to the session store; a failure to write is ignored.

    Parameters
    ----------
    store
        The session store.
    stem
        Stem of the stack's output.
    mean
        Its mean image over frames, counts.
    correction
        Correction of each of its frames.
    """
    before, after, taken = thumbnails(mean, correction)
    images, (low, high) = in_grays(before, after)
    span = SPAN * float(taken.std())
    pattern = np.rint(np.clip(taken / (span or 1.0), -1, 1) * MIDDLE + MIDDLE).astype(np.uint8)
    average = float(before.mean())
    piece, weight, at = patch(mean, correction)
    with suppress(MrczDaskError, OSError):
        store.put_thumbnails(
            stem,
            {"images": np.concatenate([images, pattern[None]]), "patch": piece, "patch_weight": weight},
            {"low": low, "high": high, "span": span / average if average > 0 else 0.0, "patch_at": list(at)},
        )


def thumbnails(mean: MeanImage, correction: Correction) -> tuple[Image, Image, Image]:
    """Make thumbnails of a stack's mean image, before and after correction, and of the pattern that goes.

    Parameters
    ----------
    mean
        (ny, nx), counts per frame.
    correction
        Correction of the frames.

    Returns
    -------
    before, after, taken
        (y, x) float32, counts per frame, means of blocks, at most 192 a side; the third without what filled
        outliers. Blocks that are cut off by the last rows and columns are left out; of high blocks two rows
        are looked at.
    """
    ny, nx = mean.values.shape
    block = max(1, -(-max(ny, nx) // SIDE))
    rows = _rows(ny, min(block, ny))
    before = mean.values[rows].astype(np.float32) * np.float32(mean.factor)
    ready = correction.take_rows(rows).ready()
    unfilled = replace(ready.correction, fill=ready.correction.fill[:0])
    kept = replace(ready, correction=unfilled, where=ready.where[:0], share=ready.share[:0]).apply(before)
    many = min(ROWS, block, ny)
    after, taken = (_binned(image, many, block) for image in (ready.apply(before), before - kept))
    return _binned(before, many, block), after, taken


def patch(mean: MeanImage, correction: Correction) -> tuple[Image, NDArray[np.uint8], tuple[int, int]]:
    """Cut out, at full size, the square of a stack with most outliers, before and after its correction.

    Parameters
    ----------
    mean
        (ny, nx), counts per frame.
    correction
        Correction of the frames.

    Returns
    -------
    images, weight, corner
        (2, y, x) float32, counts per frame, before and after the correction, at most 96 pixels a side;
        (y, x) uint8, the weight in 255ths; row and column of the first pixel.
    """
    weight = correction.weight
    y, x = corner(weight)
    rows, columns = (np.arange(k, min(k + PATCH, n)) for k, n in zip((y, x), weight.shape, strict=True))
    before = mean.values[rows].astype(np.float32) * np.float32(mean.factor)
    after = correction.take_rows(rows).ready().apply(before)
    images = np.stack([before[:, columns], after[:, columns]])
    return images, np.ascontiguousarray(weight[np.ix_(rows, columns)]), (y, x)


def corner(weight: NDArray[np.uint8]) -> tuple[int, int]:
    """Return (row, column) of the first pixel of the 96 x 96 square with most outliers (weight < 128)."""
    half = PATCH // 2
    ny, nx = weight.shape
    down, across = (max(2, -(-n // half)) for n in weight.shape)
    outliers = np.flatnonzero(is_masked(weight))
    cells = np.bincount(outliers // nx // half * across + outliers % nx // half, minlength=down * across)
    grid = cells.reshape(down, across)
    four = grid[:-1, :-1] + grid[1:, :-1] + grid[:-1, 1:] + grid[1:, 1:]
    row, column = np.unravel_index(int(four.argmax()), four.shape)
    return min(int(row) * half, max(0, ny - PATCH)), min(int(column) * half, max(0, nx - PATCH))


def in_grays(before: Image, after: Image) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Convert two images to 8-bit grays on one scale, which is set by the second one.

    Returns
    -------
    images, range
        (2, y, x) uint8, and the counts per frame that are 0 and 255.
    """
    low, high = (float(v) for v in np.quantile(after, (CLIPPED, 1 - CLIPPED)))
    scale = GRAYS / (high - low) if high > low else 0.0
    grays = np.clip((np.stack([before, after]).astype(np.float64) - low) * scale, 0, GRAYS)
    return np.rint(grays).astype(np.uint8), (low, high)


def _rows(ny: int, block: int) -> NDArray[np.intp]:
    """Return the rows that are looked at, block by block."""
    count = min(ROWS, block)
    inside = np.arange(count) * block // count
    starts = np.arange(ny // block) * block
    return np.asarray((starts[:, None] + inside).ravel(), np.intp)


def _binned(image: NDArray[Any], rows: int, block: int) -> Image:
    """Return means over groups of rows and blocks of columns."""
    columns = min(block, image.shape[1])
    across = image.shape[1] // columns
    whole = image[:, : across * columns].reshape(image.shape[0] // rows, rows, across, columns)
    return np.asarray(whole.mean(axis=(1, 3), dtype=np.float32))

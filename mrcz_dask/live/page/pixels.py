"""Reduces frames to small gray images for the web page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SIDE = 512  # most pixels a side that are sent to a browser
CLIPPED = 0.005  # share of the pixels that is darker than black, and brighter than white
WHITE = 255
SAMPLED = 128  # pixels a side, evenly spread, from which quantiles are found
MARGIN = 0.25  # of the part that is seen, sent on each side of it, for moving it

Contrast = Literal["automatic", "min-max", "fixed"]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class FrameDisplay:
    """Options of showing a frame: its contrast, and the part of it that is on the screen.

    Attributes
    ----------
    contrast
        Black and white are percentiles, minimum and maximum, or `fixed`.
    fixed
        Values of black and white.
    seen
        x0, x1, y0, y1 of the part on the screen, pixels; None = all.
    """

    contrast: Contrast = "automatic"
    fixed: tuple[float, float] = (0.0, 1.0)
    seen: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame, or a part of it, as a small gray image for the screen.

    Attributes
    ----------
    shape
        (ny, nx) of the frame.
    grays
        (y, x) uint8.
    box
        y0, y1, x0, x1 of the part, pixels of the frame.
    scale
        Values of black and white.
    """

    shape: tuple[int, int]
    grays: NDArray[np.uint8]
    box: Box
    scale: tuple[float, float]


def picture(frame: NDArray[Any], look: FrameDisplay) -> Picture:
    """Return a frame, or the part of it on the screen, as a gray image of few pixels.

    Parameters
    ----------
    frame
        (ny, nx), real numbers.
    look
        Contrast, and part of the frame.
    """
    shape = int(frame.shape[0]), int(frame.shape[1])
    y0, y1, x0, x1 = 0, shape[0], 0, shape[1]
    if look.seen is not None:
        columns, rows = _with_margin(look.seen[:2], shape[1]), _with_margin(look.seen[2:], shape[0])
        if rows[0] < rows[1] and columns[0] < columns[1]:
            y0, y1, x0, x1 = *rows, *columns
    image, block = binned(frame[y0:y1, x0:x1])
    box = y0, y0 + block * image.shape[0], x0, x0 + block * image.shape[1]
    low, high = look.fixed if look.contrast == "fixed" else limits(image, look.contrast == "automatic")
    factor = np.float32(WHITE / (high - low) if high > low else 0.0)
    scaled = np.clip((image - np.float32(low)) * factor, 0, WHITE)
    return Picture(shape, np.asarray(np.nan_to_num(scaled, nan=0.0), np.uint8), box, (low, high))


def binned(image: NDArray[Any], side: int = SIDE) -> tuple[NDArray[np.float32], int]:
    """Return an image reduced by averaging square blocks of pixels, and the side of a block in pixels.

    Parameters
    ----------
    image
        (ny, nx).
    side
        Most pixels a side of the result; last rows and columns that fill no block are left out.
    """
    block = int(min(max(1, -(-max(image.shape) // side)), *image.shape))
    if block == 1:
        return np.asarray(image, np.float32), 1
    ny, nx = (n // block * block for n in image.shape)
    rows = np.zeros((ny // block, nx), np.float32)
    for k in range(block):
        np.add(rows, image[k:ny:block, :nx], out=rows, casting="unsafe")
    means: NDArray[np.float32] = rows[:, ::block].copy()
    for k in range(1, block):
        means += rows[:, k::block]
    means /= np.float32(block * block)
    return means, block


def limits(image: NDArray[Any], clipped: bool) -> tuple[float, float]:
    """Return the pixel values to show as black and white: the extremes, or quantiles if `clipped`.

    They are (0, 1) if no pixel is finite.
    """
    step = 1 + max(image.shape) // SAMPLED if clipped else 1
    sampled = image[::step, ::step]
    finite = sampled[np.isfinite(sampled)]
    if finite.size == 0:
        return 0.0, 1.0
    black, white = np.quantile(finite, (CLIPPED, 1 - CLIPPED)) if clipped else (finite.min(), finite.max())
    low, high = float(black), float(white)
    return (low, high) if high > low else (low, low + 1.0)


def _with_margin(ends: tuple[float, ...], size: int) -> tuple[int, int]:
    """Return first and last pixel of a range that is seen, with a margin, along an axis of `size` pixels."""
    low, high = min(ends), max(ends)
    margin = MARGIN * (high - low)
    return max(0, int(low - margin)), min(size, int(high + margin) + 1)

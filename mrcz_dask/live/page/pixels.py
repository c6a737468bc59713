"""Images as a screen needs them: few pixels, in greys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# So many pixels a side are sent to a browser.
SIDE = 512
# Share of the pixels that is darker than black, and brighter than white.
CLIPPED = 0.005
WHITE = 255
# A quantile is found from so many pixels a side, evenly spread.
SAMPLED = 128
# Of the part that is seen, so much more is sent to each side, for moving it.
MARGIN = 0.25

Contrast = Literal["automatic", "min-max", "fixed"]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """How a frame is to be shown.

    Attributes
    ----------
    contrast
        What black and white are: percentiles, minimum and maximum, or what is said.
    fixed
        What is said.
    seen
        x0, x1, y0, y1 of what the screen shows, pixels; None = all.
    """

    contrast: Contrast = "automatic"
    fixed: tuple[float, float] = (0.0, 1.0)
    seen: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame, or a part of it, in greys.

    Attributes
    ----------
    number
        Of the frame.
    shape
        (ny, nx) of the frame.
    greys
        (y, x) uint8.
    box
        y0, y1, x0, x1 of the part, pixels of the frame.
    scale
        What is black, and what is white.
    extremes
        Smallest and largest value that is shown.
    """

    number: int
    shape: tuple[int, int]
    greys: NDArray[np.uint8]
    box: Box
    scale: tuple[float, float]
    extremes: tuple[float, float]


def picture(number: int, frame: NDArray[Any], look: Look) -> Picture:
    """Return a frame as it is to be shown.

    Parameters
    ----------
    number
        Of the frame.
    frame
        (ny, nx), real numbers.
    look
        How it is to be shown.
    """
    shape = (int(frame.shape[0]), int(frame.shape[1]))
    y0, y1, x0, x1 = _part(shape, look.seen)
    image, block = binned(frame[y0:y1, x0:x1])
    box = y0, y0 + block * image.shape[0], x0, x0 + block * image.shape[1]
    scale = look.fixed if look.contrast == "fixed" else limits(image, look.contrast == "automatic")
    return Picture(number, shape, _greys(image, scale), box, scale, limits(image, False))


def binned(image: NDArray[Any], side: int = SIDE) -> tuple[NDArray[np.float32], int]:
    """Return means over square blocks, and the side of a block.

    Parameters
    ----------
    image
        (ny, nx).
    side
        No more pixels than these to a side come out; last rows and columns that fill no block are left out.
    """
    block = int(min(max(1, -(-max(image.shape) // side)), *image.shape))
    if block == 1:
        return np.asarray(image, np.float32), 1
    ny, nx = (n // block * block for n in image.shape)
    rows = np.zeros((ny // block, nx), np.float32)
    for k in range(block):
        np.add(rows, image[k:ny:block, :nx], out=rows, casting="unsafe")
    whole: NDArray[np.float32] = rows[:, ::block].copy()
    for k in range(1, block):
        whole += rows[:, k::block]
    whole /= np.float32(block * block)
    return whole, block


def limits(image: NDArray[Any], clipped: bool) -> tuple[float, float]:
    """Return what is black and white: the extremes, or what few pixels exceed; (0, 1) if none is finite."""
    step = 1 + max(image.shape) // SAMPLED if clipped else 1
    seen = image[::step, ::step]
    finite = seen[np.isfinite(seen)]
    if finite.size == 0:
        return 0.0, 1.0
    found = np.quantile(finite, (CLIPPED, 1 - CLIPPED)) if clipped else (finite.min(), finite.max())
    low, high = float(found[0]), float(found[1])
    return (low, high) if high > low else (low, low + 1.0)


def _part(shape: tuple[int, int], seen: tuple[float, float, float, float] | None) -> Box:
    if seen is None:
        return 0, shape[0], 0, shape[1]
    x0, x1 = _around(seen[0], seen[1], shape[1])
    y0, y1 = _around(seen[2], seen[3], shape[0])
    return (y0, y1, x0, x1) if y1 > y0 and x1 > x0 else (0, shape[0], 0, shape[1])


def _around(one: float, other: float, size: int) -> tuple[int, int]:
    low, high = sorted((one, other))
    more = MARGIN * (high - low)
    return max(0, int(low - more)), min(size, int(high + more) + 1)


def _greys(image: NDArray[np.float32], scale: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = scale
    factor = np.float32(WHITE / (high - low) if high > low else 0.0)
    scaled = (image - np.float32(low)) * factor
    return np.asarray(np.nan_to_num(np.clip(scaled, 0, WHITE), nan=0.0), np.uint8)

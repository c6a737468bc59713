"""Whether integers that a header calls signed are counts from 0: programs write both under modes 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST = 256  # pixels that say nothing
CLEARLY = 4
SMOOTH = 16
BEGINS = 0.01  # share of pixels just above 0 that makes it the beginning of a histogram
DRIFT = 1 / 16  # of the range: a dark that is too bright makes pixels no more negative than that


def unsigned_by_pixels(stored: NDArray[Any]) -> tuple[bool, str]:
    """Decide by the histogram of pixels whether they are unsigned, and say why where it is doubtful.

    The histogram of signed pixels goes on across 0, that of unsigned bytes across 127. Bytes that do neither
    are counts, which are never negative. For 16 bits, as MRC has an unsigned mode of its own, that must be
    plainer: counts begin at 0, or as negative numbers some would lie further from the others, or most far
    below 0.

    Parameters
    ----------
    stored
        Pixels, int8 or int16, in any shape.
    """
    pixels = stored.reshape(-1).astype(np.int64)
    negative = pixels[pixels < 0]
    if not negative.size or pixels.size < FEWEST:
        return False, ""
    half = 1 << (8 * stored.dtype.itemsize - 1)
    width = max(1, int(min(_spread(pixels), _spread(pixels % (2 * half))) / 4))
    near, below = np.count_nonzero((pixels >= 0) & (pixels < width)), np.count_nonzero(negative >= -width)
    edge = min(np.count_nonzero(pixels >= half - width), np.count_nonzero(pixels < width - half))
    if edge > CLEARLY * min(near, below):
        return True, f"their histogram goes on across {half - 1}, and breaks at 0"
    if near and below and max(near, below) <= SMOOTH * min(near, below):
        return False, f"their histogram goes on across 0, and breaks at {half - 1}" if half < 256 else ""
    if stored.dtype.itemsize == 1 or near > BEGINS * pixels.size:
        return True, "no histogram goes on below 0, and counts are not negative"
    middle = float(np.median(pixels))
    if middle < 0:
        found = middle < -DRIFT * half
        return found, f"most are {'far' if found else 'just'} below 0, and counts are not negative"
    found = bool(np.median(negative + 2 * half - middle) < np.median(middle - negative))
    return found, f"so those beyond {half - 1} lie closer to the others" if found else ""


def _spread(pixels: NDArray[np.int64]) -> float:
    low, high = np.quantile(pixels, (0.16, 0.84))
    return float(high - low) / 2

"""Converts between MRC's MODE numbers and dtypes, packs 4-bit pixels, and decides if integers are signed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mrcz_dask.values.errors import DtypeError, FormatError, ParameterError

PIXELS_OF_MODE = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 7: "i4", 8: "u4", 12: "f2", 101: "u1"}
CODECS = {1: "blosclz", 2: "lz4", 3: "lz4hc", 4: "snappy", 5: "zlib", 6: "zstd"}  # thousands of MODE
FOUR_BIT = 101
_NUMBERS = {name: number for number, name in CODECS.items()}
_MODES = {text: mode for mode, text in PIXELS_OF_MODE.items() if mode != FOUR_BIT}
_CAST_TO = {
    "float64": "float32",
    "longdouble": "float32",
    "complex128": "complex64",
    "int64": "int32 (or int16, float32)",
    "uint64": "uint32 (or uint16, float32)",
    "bool": "uint8",
}
# super-resolution frames of K2 and K3, whose packed form IMOD and RELION know by its size
_SUPER_RESOLUTION = ((7676, 7420), (7680, 7424), (11520, 8184))
_TOLERANCE = 2
FEWEST = 256  # pixels that say nothing about their sign
_CLEARLY = 4
_SMOOTH = 16
_BEGINS = 0.01  # share of pixels just above 0 that makes it the beginning of a histogram
_DRIFT = 1 / 16  # of the range: a dark that is too bright makes pixels no more negative than that


def split_mode(mode: int) -> tuple[str, str | None]:
    """Split an MRC MODE into the pixels' type as text, such as ``i2``, and the codec (None: not compressed).

    Raises
    ------
    FormatError
        MODE is not one that this package knows.
    """
    number, pixel = divmod(mode, 1000)
    if mode < 0 or pixel not in PIXELS_OF_MODE or (number and number not in CODECS):
        raise FormatError(
            f"MODE is {mode}; expected one of {sorted(PIXELS_OF_MODE)}, plus 1000 times a codec "
            f"({', '.join(f'{k} {v}' for k, v in CODECS.items())}) if compressed"
        )
    return PIXELS_OF_MODE[pixel], CODECS.get(number)


def join_mode(mode: int, codec: str | None) -> int:
    """Return the MODE for the header from a pixel mode and a codec name (None: not compressed)."""
    return mode + 1000 * (0 if codec is None else _NUMBERS[codec])


def pixel_mode(dtype: DTypeLike) -> int:
    """Return the MRC MODE for pixels of a dtype; not for uint8, for which the writer chooses 0 or 6.

    Raises
    ------
    DtypeError
        MRC has no mode for it; the message names the type to cast to.
    """
    dtype = np.dtype(dtype)
    text = f"{dtype.kind}{dtype.itemsize}"
    if text not in _MODES:
        target = _CAST_TO.get(dtype.name, "int16, uint16 or float32")
        raise DtypeError(
            f"MRC cannot hold {dtype.name} pixels; cast to {target}: array.astype({target.split()[0]!r})"
        )
    return _MODES[text]


def packed_row(nx: int) -> int:
    """Return the bytes that a row of `nx` 4-bit pixels takes; an odd last pixel takes a whole byte."""
    return (nx + 1) // 2


def pack(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """Pack 4-bit pixels (ny, nx), values 0 to 15, two to a byte; the first one in the low half.

    Raises
    ------
    ParameterError
        A value does not fit into four bits.
    """
    low, high = int(frame.min()), int(frame.max())
    if low < 0 or high > 15:
        raise ParameterError(f"4-bit pixels hold 0..15, these are {low}..{high}; write 8 or 16 bits")
    ny, nx = frame.shape
    packed = np.zeros((ny, packed_row(nx)), np.uint8)
    packed |= frame[:, ::2].astype(np.uint8)
    packed[:, : nx // 2] |= frame[:, 1::2].astype(np.uint8) << 4
    return packed


def unpack_into(packed: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Unpack bytes with two 4-bit pixels each into the frame `out`, (ny, nx) uint8."""
    out[:, ::2] = packed & 0x0F
    out[:, 1::2] = packed[:, : out.shape[1] // 2] >> 4


def half_super_resolution(ny: int, nx: int) -> bool:
    """Return True if a frame's size is that of a K2 or K3 super-resolution
    frame with two pixels to a byte.
    """
    return any(
        abs(2 * nx - wide) <= 2 * _TOLERANCE and abs(ny - high) <= _TOLERANCE
        for size in _SUPER_RESOLUTION
        for wide, high in (size, size[::-1])
    )


def unsigned_by_pixels(stored: NDArray[Any]) -> tuple[bool, str]:
    """Decide from the histogram of 8- or 16-bit pixels whether they are unsigned; with a note if in doubt.

    Programs write counts from 0 and signed integers under the same modes 0 and 1. The histogram of signed
    pixels goes on across 0, that of unsigned bytes across 127. Bytes that do neither are counts, which are
    never negative. For 16 bits, as MRC has an unsigned mode of its own, that must be plainer: counts begin at
    0, or as negative numbers some would lie further from the others, or most far below 0.

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
    if edge > _CLEARLY * min(near, below):
        return True, f"their histogram goes on across {half - 1}, and breaks at 0"
    if near and below and max(near, below) <= _SMOOTH * min(near, below):
        return False, f"their histogram goes on across 0, and breaks at {half - 1}" if half < 256 else ""
    if stored.dtype.itemsize == 1 or near > _BEGINS * pixels.size:
        return True, "no histogram goes on below 0, and counts are not negative"
    middle = float(np.median(pixels))
    if middle < 0:
        unsigned = middle < -_DRIFT * half
        return unsigned, f"most are {'far' if unsigned else 'just'} below 0, and counts are not negative"
    unsigned = bool(np.median(negative + 2 * half - middle) < np.median(middle - negative))
    return unsigned, f"so those beyond {half - 1} lie closer to the others" if unsigned else ""


def _spread(pixels: NDArray[np.int64]) -> float:
    low, high = np.quantile(pixels, (0.16, 0.84))
    return float(high - low) / 2

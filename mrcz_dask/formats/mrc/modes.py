"""What MODE says: the pixel type, and (as a hint) the codec times a thousand."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from mrcz_dask.values.errors import DtypeError, FormatError

PIXELS = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 7: "i4", 8: "u4", 12: "f2", 101: "u1"}
CODECS = {1: "blosclz", 2: "lz4", 3: "lz4hc", 4: "snappy", 5: "zlib", 6: "zstd"}
FOUR_BIT = 101
_NUMBERS = {name: number for number, name in CODECS.items()}
_MODES = {text: mode for mode, text in PIXELS.items() if mode != FOUR_BIT}
_CAST_TO = {
    "float64": "float32",
    "longdouble": "float32",
    "complex128": "complex64",
    "int64": "int32 (or int16, float32)",
    "uint64": "uint32 (or uint16, float32)",
    "bool": "uint8",
}


def split_mode(mode: int) -> tuple[str, str | None]:
    """Return (pixel type without byte order, codec name or None) of a MODE.

    Raises
    ------
    FormatError
        MODE is not one that this package knows.
    """
    number, pixel = divmod(mode, 1000)
    if mode < 0 or pixel not in PIXELS or (number and number not in CODECS):
        raise FormatError(
            f"MODE is {mode}; expected one of {sorted(PIXELS)}, plus 1000 times a codec "
            f"({', '.join(f'{k} {v}' for k, v in CODECS.items())}) if compressed"
        )
    return PIXELS[pixel], CODECS.get(number)


def join_mode(pixel_mode: int, codec: str | None) -> int:
    """Return MODE for a pixel mode and a codec name (None: not compressed)."""
    return pixel_mode + 1000 * (0 if codec is None else _NUMBERS[codec])


def pixel_mode(dtype: DTypeLike) -> int:
    """Return the pixel mode that holds `dtype`; uint8 is the writer's business, as 0 or 6.

    Raises
    ------
    DtypeError
        MRC has no mode for it; the message names the type to cast to.
    """
    found = np.dtype(dtype)
    text = f"{found.kind}{found.itemsize}"
    if text not in _MODES:
        target = _CAST_TO.get(found.name, "int16, uint16 or float32")
        raise DtypeError(
            f"MRC cannot hold {found.name} pixels; cast to {target}: array.astype({target.split()[0]!r})"
        )
    return _MODES[text]

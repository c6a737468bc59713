"""Checks LZW-compressed strips of TIFF files for damage before they are decoded.

The decoder of imagecodecs trusts them: after damage it reads memory that is not its own, which ends the
process or gives any pixels, and leaves what a stream that ends early does not fill as it finds it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.numerics.kernels import compiled
from mrcz_dask.values.errors import DamagedError

_CLEAR, _END, _FIRST = 256, 257, 258
_TABLE = 1 << 13  # decoders complain long before


def check_lzw(stream: bytes, nbytes: int) -> None:
    """Raise an error unless an LZW stream of a TIFF file decodes to at least `nbytes`.

    Raises
    ------
    DamagedError
        It has a code that means nothing, or ends too early.
    """
    decoded = _decoded_bytes(np.frombuffer(stream, np.uint8), nbytes)
    if decoded < nbytes:
        problem = (
            "has a code that means nothing" if decoded < 0 else f"ends after {decoded} of {nbytes} bytes"
        )
        raise DamagedError(f"a strip in LZW {problem}; copy the file again")


@compiled
def _decoded_bytes(stream: NDArray[Any], nbytes: int) -> int:
    """Return how many bytes, up to about `nbytes`, a stream decodes to; -1 at a code that means nothing."""
    reversed_bits = stream.size > 1 and stream[0] == 0 and stream[1] & 1 == 1  # old files
    lengths = np.ones(_TABLE, np.int64)  # of the string that each code stands for
    used, width, previous, count = _FIRST, 9, -1, 0
    bits: Any = 0
    held, place = 0, 0
    while count < nbytes:
        while held < width:
            if place == stream.size:
                return count
            byte = np.int64(stream[place])
            bits = bits | byte << held if reversed_bits else (bits & 0xFFFF) << 8 | byte
            held, place = held + 8, place + 1
        held -= width
        code = bits & (1 << width) - 1 if reversed_bits else bits >> held & (1 << width) - 1
        bits = bits >> width if reversed_bits else bits
        if code == _END:
            return count
        if code == _CLEAR:
            used, width, previous = _FIRST, 9, -1
            continue
        if code > (used if previous >= 0 else 255) or used == _TABLE:
            return -1
        if previous >= 0:
            lengths[used] = lengths[previous] + 1
            used += 1
            if used + (not reversed_bits) in (512, 1024, 2048):
                width += 1
        count += int(lengths[code])
        previous = code
    return count

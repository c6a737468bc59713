"""4-bit pixels (mode 101): two in a byte, the first in the low nibble, each row in whole bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.values.errors import ParameterError

# Super-resolution frames of K2 and K3, whose packed form IMOD and RELION know by its size.
_SUPER_RESOLUTION = ((7676, 7420), (7680, 7424), (11520, 8184))
_TOLERANCE = 2


def packed_row(nx: int) -> int:
    """Return the bytes of a row of `nx` 4-bit pixels; the odd one out takes a whole byte."""
    return (nx + 1) // 2


def pack(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """Pack integers (ny, nx) of 0..15 into (ny, (nx+1)//2) bytes.

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
    """Unpack (ny, (nx+1)//2) bytes into `out`, (ny, nx) uint8 of 0..15."""
    out[:, ::2] = packed & 0x0F
    out[:, 1::2] = packed[:, : out.shape[1] // 2] >> 4


def half_super_resolution(ny: int, nx: int) -> bool:
    """Return whether frames of `nx` bytes a row may be 4-bit super-resolution frames of a K2 or K3."""
    return any(
        abs(2 * nx - wide) <= 2 * _TOLERANCE and abs(ny - high) <= _TOLERANCE
        for size in _SUPER_RESOLUTION
        for wide, high in (size, size[::-1])
    )

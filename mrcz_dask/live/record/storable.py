"""Checks that a live frame can be stored, before the recorder accepts it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrcz_dask.formats.compression.chunks import ChunkHeader, check_size
from mrcz_dask.formats.frames import PIXELS
from mrcz_dask.formats.mrc.modes import pixel_mode
from mrcz_dask.formats.provenance import plain
from mrcz_dask.values.errors import FormatError

LARGEST_NUMBER = 1 << 53
_LATEST = 1e11  # seconds since 1970
_MOST_LEVELS = 16


def check_chunk(chunk: bytes, nbytes: int, itemsize: int) -> None:
    """Check that a frame's compressed chunk can be stored unchanged: blosc version 2,
    expected pixel size and bytes.

    Raises
    ------
    DamagedError, FormatError
        The chunk differs.
    """
    header = ChunkHeader.parse(chunk)
    check_size(header, nbytes)
    if header.version != 2 or header.typesize != itemsize or header.cbytes != len(chunk):
        raise FormatError(
            f"a chunk of version {header.version}, typesize {header.typesize} and {header.cbytes} bytes; "
            f"expected version 2, typesize {itemsize} and {len(chunk)} bytes"
        )


def check_pixels(dtype: np.dtype[Any]) -> None:
    """Check that MRC files can hold pixels of a dtype.

    Raises
    ------
    DtypeError
        MRC cannot; names the type to cast to.
    """
    if dtype.newbyteorder("=") not in PIXELS:
        pixel_mode(dtype)


def whole_number(value: object, key: str, most: int = LARGEST_NUMBER) -> int:
    """Return a value that is a whole number from 0 to `most`.

    Raises
    ------
    FormatError
        It is something else; names it.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not 0 <= value <= most:
        raise FormatError(f"{key} is {value!r}; expected a whole number from 0 to {most}")
    return int(value)


def finite_number(value: object, key: str) -> float:
    """Return a value that is a number below 1e11, as times in seconds since 1970 are.

    Raises
    ------
    FormatError
        It is something else, or not finite; names it.
    """
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not abs(value) < _LATEST:  # type: ignore[arg-type]
        raise FormatError(f"{key} is {value!r:.100}; expected a number below {_LATEST:g}")
    return float(value)  # type: ignore[arg-type]


def plain_meta(stack: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return a frame's metadata as plain values, after checking that files can hold them.

    Raises
    ------
    FormatError
        The metadata are nested too deeply, or hold values that no file can hold.
    """
    if _is_deeper(meta, _MOST_LEVELS):
        raise FormatError(f"meta has more than {_MOST_LEVELS} levels; expected plain values")
    try:
        values: dict[str, Any] = plain(dict(meta))
        json.dumps([stack, values], ensure_ascii=False).encode()
    except ValueError as error:
        raise FormatError(f"stack or meta cannot be stored ({error}); expected plain values") from None
    return values


def _is_deeper(value: object, levels: int) -> bool:
    """Return True if maps and lists are nested in more than so many levels."""
    if not isinstance(value, (Mapping, list, tuple)):
        return False
    items = value.values() if isinstance(value, Mapping) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in items)

"""Writes stacks in every output format, with the dtype and order of rows that other programs expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from mrcz_dask.formats.compression.codecs import AIMS, check_codec
from mrcz_dask.formats.foreign import tiff_writer
from mrcz_dask.formats.foreign.zarr_writer import ZarrWriter
from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.frames import FrameSource
from mrcz_dask.formats.mrc import zstd_writer
from mrcz_dask.formats.mrc.modes import half_super_resolution
from mrcz_dask.formats.mrc.writer import StackWriter
from mrcz_dask.formats.places import rows_are_reversed
from mrcz_dask.values.errors import DtypeError, ParameterError
from mrcz_dask.values.params import OutputFormat

OUTPUT_SUFFIXES: dict[OutputFormat, str] = {
    "mrcz": ".mrcz",
    "mrcs": ".mrcs",
    "mrcs.zst": ".mrcs.zst",
    "tiff": ".tif",
    "zarr": ".zarr",
}
OURS: tuple[OutputFormat, ...] = ("mrcz", "zarr")
ROWS, TOP_DOWN = "rows", "TIFF"
_EXACT = 1 << 24  # what float32 holds of whole numbers
UINT4 = "uint4"
_NIBBLE = 15
# the most of counts that is not negative for any program: RELION 3.1 takes uint16 of MRC for int16
_MRC_COUNTS = {"i1": 127, "u2": 32_767}
_TIFF_COUNTS = {"u1": 255, "u2": 65_535}


def open_writer(
    target: Path,
    format: OutputFormat,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    *,
    codec: str = "auto",
    pixels: dict[str, Any] | None = None,
    four_bit: bool = False,
    **about: Any,
) -> FrameWriter:
    """Return a writer of a stack in any output format; the file appears, whole, when it is closed.

    Parameters
    ----------
    target
        A path; its suffix does not matter.
    format
        ``mrcz``, ``mrcs``, ``mrcs.zst``, ``tiff`` or ``zarr``.
    shape
        (n, ny, nx), or (ny, nx) for one image.
    dtype
        Type in which pixels are stored, as `stored_type` gives it.
    codec
        See `check_format_codec`.
    pixels
        Meaning of the pixels: ``unit``, ``scale`` and ``offset`` of quantized ones, ``dose_per_frame``; and
        ``dtype``, as ``<u2``, that they had before they were narrowed: frames are taken in that one too, what
        does not fit is an error, and readers give it back.
    four_bit
        For ``mrcs``: 0..15 in four bits (mode 101); with an odd number of columns in eight, as programs
        differ about the half byte at the end of a row, unless `codec` is ``uint4``.
    **about
        As `FrameWriter` takes it, and ``durable``: wait until all is on the disk. An extended header goes
        byte for byte into MRCZ, into the sidecar or attributes of the others; these keep an MRC header whole.

    Raises
    ------
    DtypeError
        The format cannot hold such pixels.
    ParameterError
        Options that do not go together.
    SpaceError
        The folder cannot take the file.
    """
    check_format_codec(format, codec)
    if codec == UINT4 and not four_bit:
        raise DtypeError(f"{UINT4} holds counts of 0..15, and these pixels are not known to be that")
    about["pixels"] = {key: value for key, value in (pixels or {}).items() if key != ROWS or format in OURS}
    match format:
        case "mrcz":
            return StackWriter(target, shape, dtype, codec=codec, kind="mrcz", **about)
        case "mrcs":
            packed = four_bit and (shape[-1] % 2 == 0 or codec == UINT4)
            about |= {"codec": "none", "kind": "mrcs", "footer": "sidecar", "four_bit": packed}
            return StackWriter(target, shape, dtype, **about)
        case "mrcs.zst":
            return zstd_writer.ZstdWriter(target, shape, dtype, codec=codec, **about)
        case "tiff":
            about["pixels"] = {"dtype": np.dtype(dtype).str, **about["pixels"]}
            if np.dtype(dtype) == np.uint8 and half_super_resolution(*shape[-2:]):
                dtype = np.uint16  # at this size programs take each byte for two pixels
            return tiff_writer.TiffWriter(target, shape, dtype, codec=codec, **about)
        case "zarr":
            return ZarrWriter(target, shape, dtype, codec=codec, **about)


def check_format_codec(format: OutputFormat, codec: str) -> None:
    """Raise an error if an output format cannot be compressed with a codec.

    Parameters
    ----------
    format
        Format of the output.
    codec
        ``auto``, ``auto:fast`` and ``auto:small`` go with all. Else NAME[:LEVEL[:FILTER]] or ``none`` (mrcz,
        zarr), ``none`` or ``uint4`` (mrcs), ``zstd[:LEVEL]`` (mrcs.zst), ``deflate[:LEVEL]``, ``lzw`` or
        ``none`` (tiff).

    Raises
    ------
    ParameterError
        It is none, or none of this format; before any file is opened.
    """
    if codec in AIMS:
        return
    match format:
        case "mrcs":
            if codec not in ("none", UINT4):
                raise ParameterError(f"codec is {codec!r} for a plain .mrcs; expected auto, none or {UINT4}")
        case _ if codec == UINT4:
            raise ParameterError(f"{UINT4} is two pixels in a byte of plain MRC; use it with --format mrcs")
        case "mrcs.zst":
            zstd_writer.parse_level(codec)
        case "tiff":
            tiff_writer.parse_codec(codec)
        case _:
            check_codec(codec)


def stored_type(
    format: OutputFormat, dtype: DTypeLike, low: float, high: float, codec: str = "auto"
) -> tuple[np.dtype[Any], bool]:
    """Choose the dtype in which an output format holds pixels without loss, readable for other programs.

    Parameters
    ----------
    format
        ``mrcz`` and ``zarr`` keep the dtype.
    dtype
        Type of the pixels.
    low, high
        Least and greatest of the stack.
    codec
        ``uint4`` asks for four bits.

    Returns
    -------
    dtype, four_bit
        As `open_writer` takes them.

    Raises
    ------
    DtypeError
        No type of the format holds all of them, or four bits do not; says what to do.
    """
    dtype = np.dtype(dtype).newbyteorder("=")
    is_count = dtype.kind in "iu"
    if codec == UINT4 and not (is_count and low >= 0 and high <= _NIBBLE):
        here = f"{low}..{high}" if is_count else f"{dtype}"
        raise DtypeError(f"4-bit pixels hold counts of 0..{_NIBBLE}, these are {here}; use --codec auto")
    if format in OURS:
        return dtype, False
    if dtype.kind == "f":
        return np.dtype(np.float32), False
    if not is_count:
        raise DtypeError(f"{format} holds no {dtype} pixels for other programs; write mrcz or zarr")
    if format == "mrcs" and low >= 0 and high <= _NIBBLE:
        return np.dtype(np.uint8), True
    return _narrowest(format, int(low), int(high)), False


def _narrowest(format: OutputFormat, low: int, high: int) -> np.dtype[Any]:
    for kind, largest in (_TIFF_COUNTS if format == "tiff" else _MRC_COUNTS).items():
        if low >= 0 and high <= largest:
            return np.dtype(kind)
    signed = np.iinfo(np.int16)
    if signed.min <= low and high <= signed.max:
        return np.dtype(np.int16)
    if max(-low, high) <= _EXACT:
        return np.dtype(np.float32)
    raise DtypeError(
        f"pixels from {low} to {high} do not fit into 16 bits, nor exactly into float32, which is what "
        f"programs read of {format}; write mrcz or zarr, which keep them"
    )


def reversed_rows(source: FrameSource, format: OutputFormat) -> bool:
    """Return True if the rows of each frame must be written in reverse order, last row first.

    RELION, IMOD and MotionCor reverse the rows of TIFF when they read it. In outputs for them they see the
    image as they would see the input. MRCZ and Zarr keep the order; see `row_order`.

    Parameters
    ----------
    source
        The input.
    format
        Format of the output.
    """
    return format not in OURS and (is_top_down(source) != (format == "tiff"))


def row_order(source: FrameSource, format: OutputFormat) -> dict[str, str]:
    """Return the footer's entry about the order of rows, for MRCZ and Zarr; empty for other formats.

    ``rows: TIFF`` where MRCZ and Zarr hold them in the order of TIFF, so that `reversed_rows` puts them right
    when they go to another program.
    """
    return {ROWS: TOP_DOWN} if format in OURS and is_top_down(source) else {}


def is_top_down(source: FrameSource) -> bool:
    """Return True if the rows of a stack run from the top, as in TIFF and in our outputs made from TIFF."""
    return rows_are_reversed(source.format) or source.pixels.get(ROWS) == TOP_DOWN

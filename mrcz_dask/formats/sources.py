"""Opens stacks of every format; the format is found from the first bytes of the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

from numpy.typing import NDArray

from mrcz_dask.formats.frames import FrameSelection, FrameSource
from mrcz_dask.formats.mrc.header import HEADER_SIZE, labels_of
from mrcz_dask.formats.mrc.layout import Complain, lenient, load_footer, strict
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.wrapped import MAGIC as WRAPPED
from mrcz_dask.formats.mrc.wrapped import open_wrapped
from mrcz_dask.formats.parallel import available_cores
from mrcz_dask.formats.places import FORMATS, Place, expected_kind, is_zarr
from mrcz_dask.formats.sidecar import notes_without
from mrcz_dask.formats.source import ByteSource, Readable
from mrcz_dask.values.checks import checked, expect
from mrcz_dask.values.errors import FormatError, PlaceError
from mrcz_dask.values.params import InputParams

__all__ = ["FrameSource", "open_source", "read", "read_footer"]

_COMPRESSED = "compressed"


@checked
def open_source(
    path: Readable,
    params: InputParams | None = None,
    *,
    permissive: bool = False,
    complain: Complain | None = None,
) -> FrameSource:
    """Open a stack of any format in a ``with`` block, to read it frame by frame.

    Parameters
    ----------
    path
        A path, bytes, or a seekable binary stream; ``file.h5::/path`` and ``store.zarr::/path`` name an array
        in a file.
    params
        How it is read where its header leaves something open.
    permissive
        Warn instead of failing where something of an MRC file can still be read.
    complain
        Called instead of either with what is wrong there.

    Raises
    ------
    FormatError, TruncatedError, DamagedError, FooterError
        No stack, or a broken one.
    PlaceError
        A folder that is no Zarr store.
    MissingLibraryError
        The package that reads the format is not installed; names the extra.
    """
    params = params or InputParams()
    expect("params", params, InputParams, "InputParams")
    complain = complain or (lenient if permissive else strict)
    place = Place.of(path) if isinstance(path, (str, os.PathLike)) else None
    if place is not None and place.path.is_dir():
        if place.path.suffix.casefold() != ".zarr" and not is_zarr(place.path):
            raise PlaceError(f"{place.path}: is a folder; expected a file, or a Zarr array or group")
        return _opener("Zarr")(place.path, place.inside, params, complain)
    source, inside = ByteSource(path if place is None else place.path), "" if place is None else place.inside
    try:
        kind, head = _kind_of(source)
        if inside and not (kind in FORMATS and FORMATS[kind].holds_several):
            raise FormatError(f"{source.name}: no HDF5 file, so that there is no {inside} in it")
        promised = expected_kind(source.name)
        if kind is None and promised not in (None, "MRC"):
            text = f"{source.name}: begins with {head[:8]!r}; expected {promised}, as its name says"
            raise FormatError(f"{text}; copy it again")
        if kind in FORMATS:
            return _opener(kind)(source, inside, params, complain)
        if kind == _COMPRESSED:
            return open_wrapped(source, params, complain)
        return StackReader(source, mode0=params.mode0, complain=complain)
    except BaseException:
        source.close()
        raise


def _opener(format: str) -> Callable[[Any, str, InputParams, Complain], FrameSource]:
    opener: Callable[[Any, str, InputParams, Complain], FrameSource] = resolve_name(
        f"mrcz_dask.formats.foreign.{FORMATS[format].opener}"
    )
    return opener


def _kind_of(source: ByteSource) -> tuple[str | None, bytes]:
    """Return the kind of a file by its first bytes, None where they are unknown; and these bytes."""
    head = bytes(source.read_at(0, min(1024, source.size)))
    if head[208:211] == b"MAP":  # the stamp of an MRC header
        return "MRC", head
    if head.startswith(tuple(WRAPPED)):
        return _COMPRESSED, head
    return next((kind for kind, known in FORMATS.items() if head.startswith(known.magic)), None), head


@checked
def read(
    path: Readable,
    frames: FrameSelection = None,
    scaled: bool = True,
    permissive: bool = False,
    *,
    params: InputParams | None = None,
    nthreads: int | None = None,
) -> NDArray[Any]:
    """Read a stack of any format, or only some of its frames, as a NumPy array.

    Parameters
    ----------
    path
        A path, bytes, or a seekable binary stream, of any format that `open_stack` takes.
    frames
        None for all, a slice or list of frames (n, y, x), or one number (y, x).
    scaled
        Quantized pixels as float32 in their unit; False: the integers as stored.
    permissive
        Warn instead of failing where something of an MRC file can still be read.
    params
        How it is read where its header leaves something open.
    nthreads
        Threads, by default as many as there are cores.

    Returns
    -------
    ndarray
        (n, y, x), or (y, x) for one number, in native byte order.

    Raises
    ------
    FormatError, TruncatedError, DamagedError, FooterError
        As `open_source`; all are also ValueError.
    MissingLibraryError
        The package that reads the format is not installed; names the extra.
    """
    with open_source(path, params, permissive=permissive) as reader:
        return reader.frames(frames, scaled=scaled, nthreads=nthreads or available_cores())


@checked
def read_footer(path: Readable, permissive: bool = False) -> dict[str, Any] | None:
    """Return the metadata and checksums that this package wrote with a stack: footer,
    sidecar or Zarr attributes.

    Parameters
    ----------
    path
        A path, bytes, or a seekable binary stream, of any format that `open_stack` takes.
    permissive
        Warn about a broken footer of an MRC file and return None.

    Raises
    ------
    FooterError
        It is broken, or was promised with the scale of the pixels and is not there.
    """
    place = Place.of(path) if isinstance(path, (str, os.PathLike)) else None
    if place is None or not place.path.is_dir():
        source = ByteSource(path if place is None else place.path)
        try:
            if _kind_of(source)[0] in ("MRC", None):
                labels = labels_of(bytes(source.read_at(0, min(HEADER_SIZE, source.size))))
                footer = load_footer(source, lenient if permissive else strict, labels)
                if footer is None:
                    notes_without(source.name, labels)
                return footer.payload if footer else None
        finally:
            source.close()
    with open_source(path, permissive=permissive) as reader:
        return reader.footer

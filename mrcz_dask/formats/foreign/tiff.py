"""TIFF as cameras and image programs write it: a page a frame, decoded by tifffile and imagecodecs."""

from __future__ import annotations

import io
import math
import re
import threading
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.checksummed import ChecksummedSource
from mrcz_dask.formats.foreign.tiff_pages import page_offsets
from mrcz_dask.formats.frames import FirstRow, native
from mrcz_dask.formats.libraries import decoding, library, opening
from mrcz_dask.formats.mrc.packing import half_super_resolution, unpack_into
from mrcz_dask.formats.provenance import plain
from mrcz_dask.formats.sidecar import sidecar_path
from mrcz_dask.formats.source import Cursor, Source
from mrcz_dask.values.errors import DamagedError, FormatError, ParameterError, TruncatedError
from mrcz_dask.values.params import FourBit, InputParams
from mrcz_dask.values.timing import phase

_UNCOMPRESSED = 1
_WHEN, _UNIT, _PER_UNIT = 306, 296, 282
_ANGSTROM = {2: 2.54e8, 3: 1e8}  # in an inch, in a centimetre: the two units of a resolution
LARGEST_PIXEL = 1000.0  # Angstrom: beyond are 72 dots per inch, the default of programs
_LONGEST = 4096
_LARGEST_TAG = 1 << 20  # bytes of its text
# How pixels are stored, which is another matter in the output; and lists of places in the file.
_STORAGE = {*range(254, 260), 262, 266, 273, 277, 278, 279, 284, 317, *range(322, 326), 338, 339, 347}
_PLACES = {330: "SubIFDs", 34665: "ExifTag", 34853: "GPSTag"}
_AHEAD = 4096
_SHAPE = re.compile(r'\{"shape": \[(?P<sizes>\d+(?:, *\d+)+)\]')
_IMAGES = re.compile(r"ImageJ=.*?\bimages=(?P<count>\d+)", re.DOTALL)


class TiffPages:
    """The pages of a TIFF file, read when they are asked for; safe from several threads.

    Raises
    ------
    FormatError, TruncatedError
        No TIFF file, or one whose list of pages leads out of the file.
    MissingLibraryError
        tifffile or imagecodecs is not installed.
    """

    def __init__(self, source: Source) -> None:
        tifffile = library("tifffile", "tiff", "TIFF and EER files")
        library("imagecodecs", "tiff", "TIFF and EER files")
        self.source, self.name = source, source.name
        self._lock = threading.Lock()
        self.count = len(page_offsets(source))
        with opening(self.name, "a TIFF file"):
            self._file = tifffile.TiffFile(io.BufferedReader(Cursor(source), _AHEAD), name=self.name)
        self.first = self.page(0)

    def page(self, k: int) -> Any:
        """Return page k as tifffile knows it."""
        with self._lock, opening(self.name, f"a sound page {k}"):
            return self._file.pages[k]

    def segments(self, page: Any) -> list[tuple[int, int]]:
        """Return offset and bytes of every strip or tile of a page.

        Raises
        ------
        TruncatedError
            One is not in the file.
        DamagedError
            It does not say both of every strip.
        """
        offsets, counts = page.dataoffsets, page.databytecounts
        if len(offsets) != len(counts):
            raise DamagedError(
                f"page {page.index} says where {len(offsets)} strips are, and how long {len(counts)} are; "
                "expected both of every strip; copy the file again"
            )
        found = list(zip(offsets, counts, strict=True))
        for offset, count in found:
            if not offset or not count or offset + count > self.source.size:
                raise TruncatedError(
                    f"page {page.index} has {count} bytes at {offset}, but the file ends at "
                    f"{self.source.size}; copy the file again"
                )
        if not found:
            raise FormatError(f"page {page.index} has no pixels")
        return found

    def close(self) -> None:
        """Close the file if it was opened here."""
        self._file.close()
        self.source.close()


class TiffReader(ChecksummedSource):
    """A TIFF file of grey images of one size and type; a page is a frame, row 0 at the top.

    Parameters
    ----------
    pages
        Of the file.
    params
        Whether bytes hold two pixels each (`four_bit`).
    payload
        Of its sidecar, or None.

    Raises
    ------
    FormatError
        Colours, pixels of a type that no stack has, no pages.
    DamagedError
        The sidecar is about another file.
    """

    format = "TIFF"
    first_row: FirstRow = "top"

    def __init__(self, pages: TiffPages, params: InputParams, payload: dict[str, Any] | None = None) -> None:
        self._pages, self.name = pages, pages.name
        first = pages.first
        _check_grey(self.name, first)
        self._stored = (*first.shape, np.dtype(first.dtype))
        self.packed = payload is None and _is_packed(self.name, first, params.four_bit)
        ny, nx = first.shape
        self.shape = (pages.count, ny, 2 * nx if self.packed else nx)
        self.dtype = native(self.name, first.dtype)
        _check_pages(self.name, first, pages.count)
        with opening(self.name, "a last page as large as the first"):
            self._check(pages.page(pages.count - 1))
        self.vouch(payload, str(sidecar_path(self.name)))

    @property
    def codec(self) -> str | None:
        """The name of the compression, in lower case."""
        compression = self._pages.first.compression
        return None if compression == _UNCOMPRESSED else compression.name.lower()

    def _own_pixel_size(self) -> tuple[float, float, float] | None:
        found = resolution(self._pages.first)
        return None if found is None else (found, found, found)

    @property
    def labels(self) -> tuple[str, ...]:
        """The lines of the image description."""
        text = str(self._pages.first.description or "")[:_LONGEST]
        return tuple(line.strip() for line in text.splitlines() if line.strip())

    def _own_meta(self) -> dict[str, Any]:
        first = self._pages.first
        read = {"format": self.format, "first_row": self.first_row, "four_bit_packed": self.packed}
        found = {
            "description": str(first.description or "")[:_LONGEST],
            "software": str(first.software or ""),
            "datetime": _when(first),
        }
        known = {key: value for key, value in found.items() if value}
        return {**known, "input": {**read, **({"codec": self.codec} if self.codec else {})}}

    @cached_property
    def _all_tags(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Tags of the first page, under ``pages`` those in which others differ; and what is too much."""
        if self.footer is not None:
            return {}, ()
        first, dropped = _tags(self._pages.first)
        pages = {}
        for k in range(1, self._pages.count):
            found, more = _tags(self._pages.page(k))
            dropped |= more
            if differing := {key: value for key, value in found.items() if first.get(key) != value}:
                pages[str(k)] = differing
        return {**first, **({"pages": pages} if pages else {})}, tuple(sorted(dropped))

    @property
    def tags(self) -> dict[str, Any]:
        """All tags but those about how pixels are stored; ``pages`` has what differs from the first page."""
        return self._all_tags[0]

    @property
    def not_kept(self) -> tuple[str, ...]:
        """Names tags that are too large, and those that lead to other images in the file."""
        return tuple(f"TIFF tag {name}" for name in self._all_tags[1])

    def decode(self, i: int, out: NDArray[Any]) -> None:
        """Decode frame `i`, (ny, nx); nothing is compared."""
        with decoding(self.name, i):
            page = self._pages.page(i)
            self._check(page)
            stored = np.empty(page.shape, page.dtype) if self.packed else out
            self._fill(page, stored)
            if self.packed:
                unpack_into(stored, out)

    def _fill(self, page: Any, out: NDArray[Any]) -> None:
        filled = 0
        for k, (offset, count) in enumerate(self._pages.segments(page)):
            raw = bytes(self._pages.source.read_at(offset, count))
            with phase("decode", out.nbytes):
                tile, (_, _, y, x, _), shape = page.decode(raw, k)
                rows, columns = out[y : y + shape[1], x : x + shape[2]].shape
                out[y : y + rows, x : x + columns] = tile[0, :rows, :columns, 0]
            filled += rows * columns
        if filled != out.size:
            raise FormatError(f"its strips hold {filled} pixels, expected {out.size}")

    def _check(self, page: Any) -> None:
        found = (*page.shape, np.dtype(page.dtype))
        if found != self._stored:
            raise FormatError(
                f"{self.name}: page {page.index} is {page.shape} {page.dtype}, the first one "
                f"{self._stored[:2]} {self._stored[2]}; expected pages of one kind"
            )
        self._pages.segments(page)

    def close(self) -> None:
        """Close the file if it was opened here."""
        self._pages.close()


def _check_grey(name: str, page: Any) -> None:
    if page.samplesperpixel != 1 or len(page.shape) != 2:
        raise FormatError(
            f"{name}: a page has the shape {page.shape} with {page.samplesperpixel} samples a pixel; "
            "expected grey images"
        )


def _check_pages(name: str, page: Any, pages: int) -> None:
    """Complain where the first page announces another number than there are.

    ImageJ keeps frames behind a single page beyond 4 GiB; tifffile does so where it is asked to.
    """
    text = str(page.description or "")
    said = _IMAGES.match(text)
    if said and int(said["count"]) != pages:
        raise FormatError(
            f"{name}: has {pages} pages, and ImageJ says that there are {said['count']} images; expected a "
            "page for each; save it as another format (raw frames behind one page are not read)"
        )
    shape = _SHAPE.match(text)
    announced = math.prod(map(int, shape["sizes"].split(",")[:-2])) if shape else pages
    if announced > pages:
        raise TruncatedError(
            f"{name}: has {pages} pages, and its description says that there are {announced}; copy it again"
        )


def _is_packed(name: str, page: Any, four_bit: FourBit) -> bool:
    byte = page.dtype == np.uint8 and page.bitspersample == 8
    if four_bit == "packed" and not byte:
        raise FormatError(
            f"{name}: has {page.bitspersample} bits a pixel; expected 8 with two pixels in each"
        )
    return byte and (four_bit == "packed" or (four_bit == "auto" and half_super_resolution(*page.shape)))


def resolution(page: Any) -> float | None:
    """Return the edge of a pixel in Angstrom as the tags of a resolution say it, or None."""
    inch_or_cm, ratio = page.tags.valueof(_UNIT, 2), page.tags.valueof(_PER_UNIT)
    try:
        found = _ANGSTROM[int(inch_or_cm)] * ratio[1] / ratio[0]
    except (KeyError, TypeError, IndexError, ZeroDivisionError):
        return None
    return float(f"{found:.7g}") if 0 < found <= LARGEST_PIXEL else None


def _tags(page: Any) -> tuple[dict[str, Any], set[str]]:
    """Return the tags of a page as plain values by name, and the names of those that are not kept."""
    found: dict[str, Any] = {}
    dropped = set()
    for tag in page.tags:
        if tag.code in _STORAGE:
            continue
        value = _plain_tag(tag.value)
        if tag.code in _PLACES or len(repr(value)) > _LARGEST_TAG:
            dropped.add(_PLACES.get(tag.code, tag.name))
        else:
            found[tag.name] = value
    return found, dropped


def _plain_tag(value: Any) -> Any:
    """Return a tag's value as texts, numbers and lists."""
    try:
        return plain(value.value if isinstance(value, Enum) else value)
    except ParameterError:
        return str(value)


def _when(page: Any) -> str:
    try:
        return datetime.strptime(str(page.tags.valueof(_WHEN, "")), "%Y:%m:%d %H:%M:%S").isoformat(" ")
    except ValueError:
        return ""

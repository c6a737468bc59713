"""Reads TIFF stacks of cameras and image programs, one page a frame, with tifffile and imagecodecs."""

from __future__ import annotations

import io
import math
import re
import struct
import threading
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.checksummed import ChecksummedSource
from mrcz_dask.formats.costs import check_cost
from mrcz_dask.formats.frames import FirstRow, PixelSizes, native
from mrcz_dask.formats.libraries import decoding, opening
from mrcz_dask.formats.mrc.modes import half_super_resolution, unpack_into
from mrcz_dask.formats.places import FORMATS
from mrcz_dask.formats.provenance import plain
from mrcz_dask.formats.sidecar import notes_without, sidecar_path
from mrcz_dask.formats.source import ByteSource, Cursor
from mrcz_dask.values.errors import DamagedError, FormatError, HeaderError, ParameterError, TruncatedError
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.timing import phase

MAGIC = FORMATS["TIFF"].magic
_MOST_PAGES = 1 << 20
# Codecs that are told how much they give. Others, such as JPEG, hold an image that may be of any size.
_CODECS = {
    1: None,
    5: "lzw",
    8: "adobe_deflate",
    32773: "packbits",
    32946: "deflate",
    34925: "lzma",
    34926: "zstd",
    50000: "zstd",
}
_LZW = 5
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # bits of a byte, last one first
_WHEN, _UNIT, _PER_UNIT = 306, 296, 282
_ANGSTROM = {2: 2.54e8, 3: 1e8}  # in an inch, in a centimeter: the two units of a resolution
LARGEST_PIXEL = 1000.0  # Angstrom: beyond are 72 dots per inch, the default of programs
_LONGEST = 4096
_LARGEST_TAG = 1 << 20  # bytes of its text
# How pixels are stored, which is another matter in the output; and lists of places in the file.
_STORAGE = {*range(254, 260), 262, 266, 273, 277, 278, 279, 284, 317, *range(322, 326), 338, 339, 347}
_PLACES = {330: "SubIFDs", 34665: "ExifTag", 34853: "GPSTag"}
_AHEAD = 4096
_SHAPE = re.compile(r'\{"shape": \[(?P<sizes>\d+(?:, *\d+)+)\]')
_OME_PIXELS = re.compile(r"<Pixels\s([^>]*)>")
_OME_SIZES = re.compile(r"Size([ZCT])=[\"'](\d{1,9})[\"']")
_OME_FILES = re.compile(r"FileName=[\"']([^\"']+)[\"']")
_IMAGES = re.compile(r"ImageJ=.*?\bimages=(?P<count>\d+)", re.DOTALL)


def page_offsets(source: ByteSource) -> list[int]:
    """Return the file offsets of all pages of a TIFF; a broken chain of pages is an error.

    Other readers stop silently where the chain is broken.

    Raises
    ------
    FormatError
        No TIFF file, or one whose pages lead in a circle.
    TruncatedError
        A page is described behind the end of the file.
    """
    head = bytes(source.read_at(0, min(16, source.size)))
    if head[:4] not in MAGIC:
        raise FormatError(f"{source.name}: begins with {head[:4]!r}; expected a TIFF file")
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head[2:4]
    number, tag, pointer = (order + "Q", 20, order + "Q") if big else (order + "H", 12, order + "I")
    if len(head) < (16 if big else 8):
        raise TruncatedError(f"{source.name}: ends at {source.size} bytes, in its header")
    (offset,) = struct.unpack_from(pointer, head, 8 if big else 4)
    offsets: dict[int, None] = {}
    while offset:
        if offset in offsets or len(offsets) >= _MOST_PAGES:
            raise FormatError(f"{source.name}: its list of pages leads in a circle after {len(offsets)}")
        offsets[offset] = None
        try:
            (tags,) = struct.unpack(number, source.read_at(offset, struct.calcsize(number)))
            at = offset + struct.calcsize(number) + tags * tag
            (offset,) = struct.unpack(pointer, source.read_at(at, struct.calcsize(pointer)))
        except TruncatedError as error:
            raise TruncatedError(
                f"{source.name}: page {len(offsets)} is described at {offset}, but the file ends at "
                f"{source.size}; copy the file again"
            ) from error
    if not offsets:
        raise FormatError(f"{source.name}: has no pages; expected a page for each frame")
    return list(offsets)


def _turned(page: Any) -> Iterator[str]:
    """Yield notes about tags that say how a page is shown, which no reader of movies heeds."""
    for tag, name, usual in ((262, "PhotometricInterpretation", 1), (274, "Orientation", 1)):
        value = page.tags.valueof(tag, usual)
        if value != usual:
            number = int(value) if isinstance(value, int) else value
            yield f"its tag {name} is {number!r:.40}, not {usual}; frames are taken as they are stored"


class TiffPages:
    """Gives the pages of a TIFF file, each read when it is asked for; safe from several threads.

    Raises
    ------
    FormatError, TruncatedError
        No TIFF file, or one whose list of pages leads out of the file.
    """

    def __init__(self, source: ByteSource) -> None:
        import tifffile

        self.source, self.name = source, source.name
        self._lock = threading.Lock()
        self.count = len(page_offsets(source))
        with opening(self.name, "a TIFF file"):
            self._file = tifffile.TiffFile(io.BufferedReader(Cursor(source), _AHEAD), name=self.name)
        self.first = self.page(0)

    def page(self, k: int) -> Any:
        """Return page `k`, with its tags, as tifffile's object."""
        with self._lock, opening(self.name, f"a sound page {k}"):
            return self._file.pages[k]

    def segments(self, page: Any) -> list[tuple[int, int]]:
        """Return offset and size in bytes of every strip or tile of a page.

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
        strips = list(zip(offsets, counts, strict=True))
        for offset, count in strips:
            if not offset or not count or offset + count > self.source.size:
                raise TruncatedError(
                    f"page {page.index} has {count} bytes at {offset}, but the file ends at "
                    f"{self.source.size}; copy the file again"
                )
        if not strips:
            raise FormatError(f"page {page.index} has no pixels")
        return strips

    def close(self) -> None:
        """Close the file; a stream that the caller opened stays open."""
        self._file.close()
        self.source.close()


class TiffReader(ChecksummedSource):
    """Reads a TIFF stack of gray images of one size and type; each page is a frame, row 0 at the top.

    Parameters
    ----------
    pages
        Pages of the file.
    params
        Whether bytes hold two pixels each (`four_bit`).
    payload
        Payload of its sidecar, or None.

    Raises
    ------
    FormatError
        Colors, pixels of a type that no stack has, no pages.
    DamagedError
        The sidecar is about another file.
    FooterError
        The sidecar with the scale of its pixels is not there.
    """

    format = "TIFF"
    first_row: FirstRow = "top"

    def __init__(self, pages: TiffPages, params: InputParams, payload: dict[str, Any] | None = None) -> None:
        self._pages, self.name = pages, pages.name
        first = pages.first
        if first.samplesperpixel != 1 or len(first.shape) != 2:
            raise FormatError(
                f"{self.name}: a page has the shape {first.shape} with {first.samplesperpixel} samples a "
                "pixel; expected gray images"
            )
        self._stored = (*first.shape, np.dtype(first.dtype))
        is_byte = first.dtype == np.uint8 and first.bitspersample == 8
        if payload is None and params.four_bit == "packed" and not is_byte:
            raise FormatError(
                f"{self.name}: has {first.bitspersample} bits a pixel; expected 8 with two pixels in each"
            )
        packed_by_size = params.four_bit == "auto" and half_super_resolution(*first.shape)
        self.packed = payload is None and is_byte and (params.four_bit == "packed" or packed_by_size)
        ny, nx = first.shape
        self.shape = (pages.count, ny, 2 * nx if self.packed else nx)
        self.dtype = native(self.name, first.dtype)
        size, nbytes = pages.source.size, ny * nx * self.dtype.itemsize
        check_cost(self.name, stored=size, decoded=pages.count * nbytes, at_once=nbytes, parts=pages.count)
        _check_count(self.name, first, pages.count)
        with opening(self.name, "a last page as large as the first"):
            self._check(first)
            self._check(pages.page(pages.count - 1))
            turned = tuple(_turned(first)) if payload is None else ()
        self.attach_payload(payload, str(sidecar_path(self.name)))
        if payload is None:
            self.notes = (*notes_without(self.name, [str(first.software or "")]), *turned)
        description = str(first.description or "")[:_LONGEST]
        self.labels = tuple(line.strip() for line in description.splitlines() if line.strip())
        self._file_pixel_size = resolution(first)
        texts = {"description": description, "software": str(first.software or ""), "datetime": _time(first)}
        read = {"format": self.format, "first_row": self.first_row, "four_bit_packed": self.packed}
        if self.codec:
            read["codec"] = self.codec
        self._file_meta = {**{key: text for key, text in texts.items() if text}, "input": read}

    @property
    def codec(self) -> str | None:
        """Name of the compression of the frames, in lower case, such as ``deflate``;
        None if there is none.
        """
        return _CODECS[self._pages.first.compression]

    @cached_property
    def _all_tags(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Tags of the first page, under ``pages`` those in which others differ; and names of the dropped."""
        if self.footer is not None:
            return {}, ()
        first, dropped = _plain_tags(self._pages.first)
        pages = {}
        for k in range(1, self._pages.count):
            tags, more = _plain_tags(self._pages.page(k))
            dropped |= more
            if differing := {key: value for key, value in tags.items() if first.get(key) != value}:
                pages[str(k)] = differing
        return {**first, **({"pages": pages} if pages else {})}, tuple(sorted(dropped))

    @property
    def tags(self) -> dict[str, Any]:
        """TIFF tags as plain values, except those about pixel storage;
        ``pages`` has those that differ from page 0.
        """
        return self._all_tags[0]

    @property
    def not_kept(self) -> tuple[str, ...]:
        """Names of the TIFF tags that `tags` leaves out: too large ones,
        and those leading to other images.
        """
        return tuple(f"TIFF tag {name}" for name in self._all_tags[1])

    def decode(self, i: int, out: NDArray[Any]) -> None:
        """Decode frame `i` into an array (ny, nx), without comparing its checksum."""
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
                if page.compression == _LZW:  # whose decoder does not check it
                    from mrcz_dask.formats.foreign.lzw import check_lzw  # numba takes long to import

                    stream = raw if page.fillorder == 1 else raw.translate(_TURNED)
                    _, height, width, _ = page.decode(None, k)[2]
                    check_lzw(stream, height * (width * page.bitspersample * page.samplesperpixel + 7 >> 3))
                tile, (_, _, y, x, _), shape = page.decode(raw, k)
                rows, columns = out[y : y + shape[1], x : x + shape[2]].shape
                if tile.shape[1] < rows or tile.shape[2] < columns:
                    raise FormatError(f"a strip holds {tile.shape[1:3]} pixels, expected {rows, columns}")
                out[y : y + rows, x : x + columns] = tile[0, :rows, :columns, 0]
            filled += rows * columns
        if filled != out.size:
            raise FormatError(f"its strips hold {filled} pixels, expected {out.size}")

    def _check(self, page: Any) -> None:
        actual = (*page.shape, np.dtype(page.dtype))
        if actual != self._stored:
            raise FormatError(
                f"{self.name}: page {page.index} is {page.shape} {page.dtype}, the first one "
                f"{self._stored[:2]} {self._stored[2]}; expected pages of one kind"
            )
        if page.compression not in _CODECS:
            known = ", ".join(dict.fromkeys(filter(None, _CODECS.values())))
            raise HeaderError(
                f"{self.name}: page {page.index} has compression {page.compression!r}; expected none, {known}"
                "; save it with one of these"
            )
        self._pages.segments(page)

    def close(self) -> None:
        """Close the file; a stream that the caller opened stays open."""
        self._pages.close()


def _check_count(name: str, page: Any, pages: int) -> None:
    """Complain where the first page announces another number of pages than there are.

    ImageJ keeps frames behind a single page beyond 4 GiB; tifffile does so where it is asked to.
    """
    text = str(page.description or "")
    images_of = _OME_PIXELS.findall(text) if "<OME" in text else []
    sizes = [{key: int(n) for key, n in _OME_SIZES.findall(pixels)} for pixels in images_of]
    announced = sum(math.prod(n.get(axis, 1) for axis in "ZCT") for n in sizes)
    if announced > pages:
        files = f", in {', '.join(names[:3])}" if (names := sorted(set(_OME_FILES.findall(text)))) else ""
        raise TruncatedError(
            f"{name}: has {pages} pages, and its OME description says that there are {announced}{files}; "
            "write all frames into one file"
        )
    images = _IMAGES.match(text)
    if images and int(images["count"]) != pages:
        raise FormatError(
            f"{name}: has {pages} pages, and ImageJ says that there are {images['count']} images; expected a "
            "page for each; save it as another format (raw frames behind one page are not read)"
        )
    shape = _SHAPE.match(text)
    announced = math.prod(map(int, shape["sizes"].split(",")[:-2])) if shape else pages
    if announced > pages:
        raise TruncatedError(
            f"{name}: has {pages} pages, and its description says that there are {announced}; copy it again"
        )


def resolution(page: Any) -> PixelSizes:
    """Return the pixel size (x, y, z) in Angstrom from a page's TIFF resolution tags, or None."""
    inch_or_cm, ratio = page.tags.valueof(_UNIT, 2), page.tags.valueof(_PER_UNIT)
    try:
        edge = _ANGSTROM[int(inch_or_cm)] * ratio[1] / ratio[0]
    except (KeyError, TypeError, IndexError, ZeroDivisionError):
        return None
    edge = float(f"{edge:.7g}")
    return (edge, edge, edge) if 0 < edge <= LARGEST_PIXEL else None


def _plain_tags(page: Any) -> tuple[dict[str, Any], set[str]]:
    """Return the tags of a page as plain values by name, and the names of those that are not kept."""
    tags: dict[str, Any] = {}
    dropped = set()
    for tag in page.tags:
        if tag.code in _STORAGE:
            continue
        try:
            value = plain(tag.value.value if isinstance(tag.value, Enum) else tag.value)
        except ParameterError:
            value = str(tag.value)
        if tag.code in _PLACES or len(repr(value)) > _LARGEST_TAG:
            dropped.add(_PLACES.get(tag.code, tag.name))
        else:
            tags[tag.name] = value
    return tags, dropped


def _time(page: Any) -> str:
    try:
        return datetime.strptime(str(page.tags.valueof(_WHEN, "")), "%Y:%m:%d %H:%M:%S").isoformat(" ")
    except ValueError:
        return ""

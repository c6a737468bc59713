"""Reads and writes the 1024-byte MRC2014 header and the extended header behind it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Literal, NamedTuple

import numpy as np

from mrcz_dask.formats.metadata import parse_json
from mrcz_dask.formats.mrc.modes import FOUR_BIT, half_super_resolution, join_mode, packed_row, split_mode
from mrcz_dask.formats.provenance import plain
from mrcz_dask.values.errors import FormatError, HeaderError, TruncatedError

HEADER_SIZE = 1024
ByteOrder = Literal["<", ">"]
_STAMPS: dict[ByteOrder, bytes] = {"<": b"\x44\x44\x00\x00", ">": b"\x11\x11\x00\x00"}
_LABEL, LABELS = 80, 10
# a label, so that a file that lost its footer is not taken for one that never had any
PROMISE = "footer: checksums and provenance behind the last frame"
_OWN_LABELS = ("MRCZ-dask ", "footer: checksums and provenance")
JSON = "json"  # type of python-mrcz's extended header
_OWN_META = "mrcz_dask"
_IMOD = 1146047817  # its stamp, behind which are its flags
_SIGNED, _PACKED = 1, 16
_NOT_IN_FILE = "its frames are not in the file: "
_NEGATIVE = "NSYMBT is "


class Statistics(NamedTuple):
    """Pixel statistics in a header: minimum, maximum, mean, deviation; defaults mean "unknown" in MRC2014."""

    minimum: float = 0.0
    maximum: float = -1.0
    mean: float = -2.0
    rms: float = -1.0


UNDETERMINED = Statistics()


@dataclass(frozen=True, slots=True)
class Header:
    """Record of the values in an MRC or MRCZ header: shape, mode, codec, pixel size, statistics, labels.

    Attributes
    ----------
    shape
        (nz, ny, nx).
    mode
        MODE without the codec.
    codec
        Codec by MODE, a hint (chunks know better), or None if not compressed.
    byteorder
        ``<`` or ``>``, of header and pixels.
    pixel_size
        (x, y, z) in Angstrom, or None where the header has none.
    stats
        Minimum, maximum, mean and standard deviation of the stored pixels, as written.
    mz, ispg, nversion
        As in the file. MZ = 1 is also python-mrcz's mark of a list of frames.
    labels
        Up to ten texts.
    packed_size
        Bytes of all chunks, 0 where it is not said.
    extended_type
        Four characters, empty where there is none.
    extended_size
        Bytes between this header and the first frame.
    extended
        These bytes if they were read.
    imod_signed
        Whether IMOD's flag calls 8-bit pixels signed; None where IMOD did not stamp the header.
    stamped
        Whether it has the stamp ``MAP``; without, a file is taken only if its size is what it asks for.
    raw
        The 1024 bytes over which `to_bytes` writes the rest; empty: zeros.
    """

    shape: tuple[int, int, int]
    mode: int
    codec: str | None = None
    byteorder: ByteOrder = "<"
    pixel_size: tuple[float, float, float] | None = None
    stats: Statistics = UNDETERMINED
    mz: int = 0
    ispg: int = 0
    nversion: int = 20141
    labels: tuple[str, ...] = ()
    packed_size: int = 0
    extended_type: str = ""
    extended_size: int = 0
    extended: bytes = field(default=b"", repr=False)
    imod_signed: bool | None = None
    stamped: bool = True
    raw: bytes = field(default=b"", repr=False, compare=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels in the file's byte order; uint8 for unpacked 4-bit pixels."""
        return np.dtype(self.byteorder + split_mode(self.mode)[0])

    @property
    def data_offset(self) -> int:
        """Offset of the first frame in the file, in bytes."""
        return HEADER_SIZE + self.extended_size

    @property
    def four_bit(self) -> bool:
        """True if pixels have 4 bits, so that two share a byte."""
        return self.mode == FOUR_BIT

    @property
    def says_unsigned(self) -> bool | None:
        """True if the header shows that integers are unsigned counts, False if signed, None if unclear."""
        if self.mode == 0 and self.imod_signed is not None:
            return not self.imod_signed
        most = np.iinfo(self.dtype).max
        return True if self.stats.minimum >= 0 and most < self.stats.maximum <= 2 * most + 1 else None

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Shape of a frame in the file: rows, and items of `dtype` in a row."""
        _, ny, nx = self.shape
        return ny, packed_row(nx) if self.four_bit else nx

    @property
    def frame_nbytes(self) -> int:
        """Bytes of one frame before compression."""
        rows, items = self.frame_shape
        return rows * items * self.dtype.itemsize

    @property
    def compressed(self) -> bool:
        """True if each frame is compressed as a blosc chunk (MRCZ)."""
        return self.codec is not None

    @property
    def plain_nbytes(self) -> int:
        """Size in bytes that the file should have if its frames are not compressed."""
        return self.data_offset + self.shape[0] * self.frame_nbytes

    def compared_with(self, file_size: int) -> str:
        """Return text that compares the file's size with the header, and says which values would fit."""
        parts = f"{HEADER_SIZE} + NSYMBT {self.extended_size} + NZ {self.shape[0]} x {self.frame_nbytes}"
        text = f"the header asks for {self.plain_nbytes} bytes ({parts}), the file has {file_size}"
        behind = file_size - self.plain_nbytes
        if behind > 0 and behind % self.frame_nbytes == 0:
            return f"{text}, as for NZ {self.shape[0] + behind // self.frame_nbytes}"
        fitting = self.extended_size + behind
        return f"{text}, as for NSYMBT {fitting}" if fitting >= 0 else text

    @classmethod
    def parse(cls, data: bytes | memoryview, *, name: str = "header", file_size: int | None = None) -> Header:
        """Read an MRC header from the first 1024 bytes of a file; further bytes are the extended header.

        Parameters
        ----------
        data
            The first 1024 bytes of a file, or these and the extended header.
        name
            Name of the file in error messages.
        file_size
            If given, sizes that such a file cannot hold are refused.

        Raises
        ------
        TruncatedError
            Fewer bytes than a header.
        FormatError
            No MRC header, or one whose sizes or mode make no sense; all that is wrong is listed.
        HeaderError
            Only its sizes cannot be those of the file.
        """
        if len(data) < HEADER_SIZE:
            raise TruncatedError(f"{name}: {len(data)} bytes; an MRC header takes {HEADER_SIZE}")
        raw = bytes(data[:HEADER_SIZE])
        orders = _byte_orders(raw)
        problems = [_problems(raw, order, file_size) for order in orders]
        for order, texts in zip(orders, problems, strict=True):
            if not texts:
                header = _parse(raw, order)
                if len(data) >= header.data_offset:
                    header = replace(header, extended=bytes(data[HEADER_SIZE : header.data_offset]))
                return header
        text = "; ".join(problems[0])
        kind = HeaderError if text.startswith((_NOT_IN_FILE, _NEGATIVE)) else FormatError
        remedy = "; correct the header" if kind is HeaderError else ""
        raise kind(f"{name}: no MRC file that can be read: {text}{remedy}")

    def to_bytes(self) -> bytes:
        """Return the header as bytes for the file: 1024, then the extended header."""
        raw = bytearray(self.raw or HEADER_SIZE)
        nz, ny, nx = self.shape
        mode = join_mode(self.mode, self.codec)
        struct.pack_into(self.byteorder + "4i", raw, 0, nx, ny, nz, mode)
        if not self.raw:
            struct.pack_into(self.byteorder + "3i", raw, 16, 0, 0, 0)
            struct.pack_into(self.byteorder + "2i", raw, 28, nx, ny)
            struct.pack_into(self.byteorder + "3f3i", raw, 52, 90, 90, 90, 1, 2, 3)
        struct.pack_into(self.byteorder + "i", raw, 36, self.mz)
        if _pixel_size(raw, self.byteorder, self.labels) != self.pixel_size:
            step = self.pixel_size or (0.0, 0.0, 0.0)
            mx, my = struct.unpack_from(self.byteorder + "2i", raw, 28)
            samples = (mx if mx > 0 else nx, my if my > 0 else ny, self.mz if self.mz > 0 else nz)
            cell = (s * m for s, m in zip(step, samples, strict=True))
            struct.pack_into(self.byteorder + "3f", raw, 40, *cell)
        lowest, highest, mean, rms = self.stats
        extended = len(self.extended)
        struct.pack_into(self.byteorder + "3f2i", raw, 76, lowest, highest, mean, self.ispg, extended)
        raw[104:108] = self.extended_type.encode("latin-1").ljust(4, b"\0")[:4]
        struct.pack_into(self.byteorder + "i", raw, 108, self.nversion)
        struct.pack_into(self.byteorder + "q", raw, 144, self.packed_size)
        raw[208:216] = b"MAP " + _STAMPS[self.byteorder]
        struct.pack_into(self.byteorder + "fi", raw, 216, rms, len(self.labels))
        raw[224:] = bytes(HEADER_SIZE - 224)
        for i, label in enumerate(self.labels[:LABELS]):
            text = label.encode("latin-1", "replace")[:_LABEL].ljust(_LABEL)
            raw[224 + _LABEL * i : 304 + _LABEL * i] = text
        return bytes(raw) + self.extended

    def carry(self, raw: bytes) -> Header:
        """Return this header with labels, MZ, ISPG, cell and origin taken from
        the header of the original file.

        Labels that this program wrote are not carried, nor are the last ones where there are more than ten.

        Parameters
        ----------
        raw
            The other header's 1024 bytes, in either byte order. Of a big-endian one the words that MRC2014
            does not define are left out.
        """
        orders = _byte_orders(raw)
        order = orders[1] if _problems(raw, orders[0], None) else orders[0]
        mz, ispg = (struct.unpack_from(order + "i", raw, at)[0] for at in (36, 88))
        labels = (*self.labels, *foreign_labels(raw))[:LABELS]
        return replace(self, mz=mz, ispg=ispg, labels=labels, raw=_little_endian(raw, order))

    def to_dict(self) -> dict[str, Any]:
        """Return the header as plain values, as `read_header` does; unknown statistics are None."""
        low, high, mean, rms = self.stats
        determined = (low <= high, low <= high, mean >= min(low, high), rms >= 0)
        stats = zip(self.stats._asdict().items(), determined, strict=True)
        return {
            "shape": list(self.shape),
            "dtype": self.dtype.str,
            "mode": self.mode,
            "codec": self.codec,
            "byteorder": "big" if self.byteorder == ">" else "little",
            "pixel_size": list(self.pixel_size) if self.pixel_size else None,
            "stats": {name: value if known else None for (name, value), known in stats},
            "mz": self.mz,
            "ispg": self.ispg,
            "nversion": self.nversion,
            "labels": list(self.labels),
            "packed_size": self.packed_size,
            "extended_type": self.extended_type,
            "extended_size": self.extended_size,
            "data_offset": self.data_offset,
        }


def foreign_labels(raw: bytes) -> tuple[str, ...]:
    """Return the text labels in an MRC header (1024 bytes) that other programs wrote."""
    return tuple(text for text in labels_of(raw) if not text.startswith(_OWN_LABELS))


def _little_endian(raw: bytes, order: ByteOrder) -> bytes:
    """Return 1024 bytes of a header, little-endian, whose flags are those of pixels as we write them."""
    little = bytearray(raw[:HEADER_SIZE])
    if order == ">":
        little[96:196] = bytes(100)  # shorts, words and texts of other programs
        for begin, end in ((0, 96), (196, 208)):
            little[begin:end] = np.frombuffer(raw[begin:end], ">u4").astype("<u4").tobytes()
    stamp, flags = struct.unpack_from("<2i", little, 152)
    if stamp == _IMOD:
        struct.pack_into("<i", little, 156, (flags | _SIGNED) & ~_PACKED)
    return bytes(little)


def _byte_orders(raw: bytes) -> tuple[ByteOrder, ByteOrder]:
    """Return both byte orders, first the one that the machine stamp names (some writers leave it out)."""
    return (">", "<") if raw[212:213] == b"\x11" else ("<", ">")


def _problems(raw: bytes, order: ByteOrder, file_size: int | None) -> list[str]:
    nx, ny, nz, mode = struct.unpack_from(order + "4i", raw, 0)
    (extended,) = struct.unpack_from(order + "i", raw, 92)
    problems = []
    if min(nx, ny, nz) < 1:
        problems.append(f"its sizes are NX {nx}, NY {ny}, NZ {nz}, each expected to be at least 1")
    if extended < 0:
        problems.append(f"{_NEGATIVE}{extended}; expected 0 or more")
    try:
        split_mode(mode)
    except FormatError as error:
        problems.append(str(error))
    fits = False
    if not problems:
        header = _parse(raw, order)
        # c-mrcz writes no stamp; chunks are compared with the size of frames when they are looked for
        fits = file_size is not None and (header.compressed or header.plain_nbytes == file_size)
        # a chunk has a header of 16 bytes; 2 GiB is what blosc can hold in one
        count, offset = header.shape[0], header.data_offset
        if file_size is not None and offset + 16 * count * header.compressed > file_size:
            text = f"{_NOT_IN_FILE}{count} frames behind {offset} bytes cannot be in {file_size} bytes"
            problems += [text if header.compressed else f"{text}: {header.compared_with(file_size)}"]
        elif file_size is not None and header.compressed and header.frame_nbytes >= 1 << 31:
            problems += [f"a frame of {header.frame_nbytes} bytes cannot be one blosc chunk"]
    if not (fits or raw[208:211] == b"MAP"):
        problems.insert(0, f"bytes 208-211 are {raw[208:212]!r}, expected b'MAP '")
    return problems


def _parse(raw: bytes, order: ByteOrder) -> Header:
    nx, ny, nz, mode = struct.unpack_from(order + "4i", raw, 0)
    lowest, highest, mean, ispg, extended = struct.unpack_from(order + "3f2i", raw, 76)
    (rms,) = struct.unpack_from(order + "f", raw, 216)
    (nversion,) = struct.unpack_from(order + "i", raw, 108)
    (packed,) = struct.unpack_from(order + "q", raw, 144)
    stamp, flags = struct.unpack_from(order + "2i", raw, 152)
    labels = labels_of(raw)
    packed_flag = stamp == _IMOD and bool(flags & _PACKED)
    packed_label = len(labels) == 1 and "4 bits packed" in labels[0] and half_super_resolution(ny, nx)
    halved = mode == 0 and (packed_flag or packed_label)  # NX is half then, as SerialEM writes frames
    return Header(
        shape=(nz, ny, 2 * nx if halved else nx),
        mode=FOUR_BIT if halved else mode % 1000,
        codec=split_mode(mode)[1],
        byteorder=order,
        pixel_size=_pixel_size(raw, order, labels),
        stats=Statistics(lowest, highest, mean, rms),
        mz=struct.unpack_from(order + "i", raw, 36)[0],
        ispg=ispg,
        nversion=nversion,
        labels=labels,
        packed_size=packed,
        extended_type=raw[104:108].rstrip(b"\0 ").decode("latin-1"),
        extended_size=extended,
        imod_signed=bool(flags & _SIGNED) if stamp == _IMOD else None,
        stamped=raw[208:211] == b"MAP",
        raw=raw,
    )


def labels_of(raw: bytes | bytearray) -> tuple[str, ...]:
    """Return all text labels in an MRC header (1024 bytes)."""
    texts = [raw[at : at + _LABEL].split(b"\0")[0].rstrip() for at in range(224, HEADER_SIZE, _LABEL)]
    return tuple(text.decode("latin-1") for text in texts if text)


def _pixel_size(
    raw: bytes | bytearray, order: ByteOrder, labels: tuple[str, ...]
) -> tuple[float, float, float] | None:
    sizes = struct.unpack_from(order + "3i", raw, 0)
    samples = list(struct.unpack_from(order + "3i", raw, 28))
    if labels and labels[0].startswith("MRCZ") and not labels[0].startswith("MRCZ-dask"):
        samples = [0, 0, 0]  # python-mrcz uses MZ as a flag and divides by NX, NY, NZ
    cell = struct.unpack_from(order + "3f", raw, 40)
    steps = [c / (m if m > 0 else n) for c, m, n in zip(cell, samples, sizes, strict=True)]
    if not all(isfinite(s) for s in steps) or min(steps[:2]) <= 0:
        return None
    x, y, z = (float(f"{s:.7g}") for s in steps)  # what float32 can hold
    return x, y, z if z > 0 else x


def encode_meta(meta: dict[str, Any] | None, pixels: dict[str, Any]) -> bytes:
    """Return metadata as a JSON extended header, which python-mrcz reads too; b"" if there are none."""
    content = plain(meta or {})
    if "scale" in pixels:
        content[_OWN_META] = {key: pixels[key] for key in ("scale", "offset", "unit") if key in pixels}
    return json.dumps(content, ensure_ascii=False).encode() if content else b""


def decode_meta(kind: str, data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read metadata and pixel scale from a JSON extended header; both are empty for other kinds of header.

    Raises
    ------
    FormatError
        It is marked as JSON and is not.
    """
    if kind != JSON or not data:
        return {}, {}
    content = parse_json(data, "the extended header")
    pixels = content.pop(_OWN_META, {})
    return content, pixels if isinstance(pixels, dict) else {}

"""Decodes the network messages of senders, and checks all sizes before memory is allocated.

Every message is a kind, JSON, and for a frame its pixels: see `docs/how-to/send-frames.md`.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import decompress_into
from mrcz_dask.formats.frames import PIXEL_TYPES
from mrcz_dask.formats.metadata import parse_json
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.spool import (
    check_chunk,
    check_pixels,
    finite_number,
    plain_meta,
    whole_number,
)
from mrcz_dask.values.errors import DtypeError, FormatError

PROTOCOL = 1
LARGEST_HEADER = 1 << 16
_LARGEST_SIDE = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DTYPES = {dtype.newbyteorder("<").str: dtype for dtype in PIXEL_TYPES}
_DTYPE = re.compile(r"[<>|=]?[a-zA-Z]\d{1,2}")


class BrokenInTransitError(FormatError):
    """Error: a frame was changed on its way over the network, and should be sent again."""


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a sender: names of camera and sender, and how far its frames are acknowledged.

    Attributes
    ----------
    stream, session
        Name of the camera, and of this run of its sender.
    greeting
        Number of the greeting, which tells the answers apart.
    acknowledged
        Number below which the sender keeps no frames.
    token
        Password that the receiver may ask for.
    """

    stream: str
    session: str
    greeting: int
    acknowledged: int
    token: str

    @classmethod
    def parse(cls, data: bytes) -> Hello:
        """Read a sender's first message, and check it.

        Raises
        ------
        FormatError
            The bytes are no greeting, or one of another protocol.
        """
        fields = _json_object(data)
        if fields.get("protocol") != PROTOCOL:
            raise FormatError(
                f"protocol is {fields.get('protocol')!r}; expected {PROTOCOL}; take sender.py of this version"
            )
        stream, session, token = (fields.get(key) for key in ("stream", "session", "token"))
        if not isinstance(stream, str) or not _NAME.fullmatch(stream):
            raise FormatError(f"stream is {stream!r}; expected up to 64 letters, digits, '.', '-' and '_'")
        if not isinstance(session, str) or not _NAME.fullmatch(session):
            raise FormatError(f"session is {session!r}; expected up to 64 letters and digits")
        greeting, acknowledged = (whole_number(fields.get(key), key) for key in ("greeting", "acknowledged"))
        return cls(stream, session, greeting, acknowledged, token if isinstance(token, str) else "")


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """Header of a frame's network message, read and checked before the pixels.

    Attributes
    ----------
    frame
        The frame, without pixels.
    after
        Number of the frame that was sent before it, plus one.
    dtype, shape
        Type and (ny, nx) of its pixels.
    encoding, crc
        ``blosc`` or ``raw``, and CRC-32 of the bytes that were sent.
    """

    frame: Frame
    after: int
    dtype: np.dtype[Any]
    shape: tuple[int, int]
    encoding: str
    crc: int

    @classmethod
    def parse(cls, data: bytes, stream: str, largest: int) -> FrameHeader:
        """Read a frame's header from a network message; refuse more than `largest` bytes of pixels.

        Raises
        ------
        FormatError
            A field makes no sense; says what was expected.
        DtypeError
            The pixels cannot be recorded; names the type to cast to.
        """
        fields = _json_object(data)
        number = whole_number(fields.get("number"), "number")
        dtype, shape = _dtype(fields.get("dtype")), _shape(fields.get("shape"))
        if prod(shape) * dtype.itemsize > largest:
            raise FormatError(f"a frame {shape} {dtype}; expected {largest} bytes at most")
        encoding = fields.get("encoding")
        if encoding not in ("blosc", "raw"):
            raise FormatError(f"encoding is {encoding!r}; expected blosc or raw")
        time, size, stack, meta = (fields.get(key) for key in ("time", "pixel_size", "stack", "meta"))
        if time is None or not isinstance(stack, str) or not isinstance(meta, dict):
            raise FormatError(f"frame {number}: expected a time, the name of a stack, and an object as meta")
        pixel_size = None if size is None else finite_number(size, "pixel_size")
        if pixel_size is not None and pixel_size <= 0:
            raise FormatError(
                f"frame {number}: pixel_size is {pixel_size!r}; expected a size above 0, or null"
            )
        time, index = finite_number(time, "time"), whole_number(fields.get("index"), "index")
        facts = (stack, index, pixel_size, plain_meta(stack, meta))
        frame = Frame(number, time, np.empty((0, 0), np.uint8), *facts, stream=stream)
        after = whole_number(fields.get("after"), "after", number)
        return cls(frame, after, dtype, shape, encoding, whole_number(fields.get("crc"), "crc", 1 << 32))

    def pixels(self, payload: bytes) -> NDArray[Any]:
        """Check and decompress the pixels of this frame from the bytes received; read-only.

        Raises
        ------
        BrokenInTransitError
            The bytes differ from those that were sent.
        FormatError
            The bytes do not fit the header.
        """
        if zlib.crc32(payload) != self.crc:
            raise BrokenInTransitError(f"frame {self.frame.number} was changed on its way")
        nbytes, dtype = prod(self.shape) * self.dtype.itemsize, self.dtype.newbyteorder("<")
        if self.encoding == "raw":
            if len(payload) != nbytes:
                raise FormatError(f"frame {self.frame.number} has {len(payload)} bytes; expected {nbytes}")
            return np.frombuffer(payload, dtype).reshape(self.shape)
        check_chunk(payload, nbytes, self.dtype.itemsize)
        pixels = np.empty(self.shape, dtype)
        decompress_into(payload, pixels)
        pixels.flags.writeable = False
        return pixels


def _json_object(data: bytes) -> dict[str, Any]:
    if len(data) > LARGEST_HEADER:
        raise FormatError(f"a header of {len(data)} bytes; expected {LARGEST_HEADER} at most")
    return parse_json(data, "a header", "send again", FormatError)


def _dtype(name: object) -> np.dtype[Any]:
    if isinstance(name, str) and name in _DTYPES:
        return _DTYPES[name]
    if isinstance(name, str) and _DTYPE.fullmatch(name):
        try:
            check_pixels(np.dtype(name))
        except TypeError as error:
            if isinstance(error, DtypeError):
                raise
    raise FormatError(f"dtype is {name!r}; expected one of {', '.join(sorted(_DTYPES))}")


def _shape(sides: object) -> tuple[int, int]:
    if not isinstance(sides, list) or len(sides) != 2 or 0 in sides:
        raise FormatError(f"shape is {sides!r}; expected [ny, nx], at least one pixel")
    ny, nx = (whole_number(side, "shape", _LARGEST_SIDE) for side in sides)
    return ny, nx

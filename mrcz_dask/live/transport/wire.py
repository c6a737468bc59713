"""Messages of a sender, as the receiver believes them: nothing is allocated before its size was checked.

Every message is a kind, JSON, and for a frame its pixels: see `docs/how-to/send-frames.md`.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import ChunkHeader, check_size, decompress_into
from mrcz_dask.formats.frames import PIXELS
from mrcz_dask.formats.mrc.modes import pixel_mode
from mrcz_dask.formats.provenance import plain
from mrcz_dask.live.frames import Frame
from mrcz_dask.values.errors import DtypeError, FormatError

PROTOCOL = 1
LARGEST_HEADER = 1 << 16
LARGEST_NUMBER = 1 << 53
_LARGEST_SIDE = 1 << 20
_LATEST = 1e11  # seconds since 1970
_DEEPEST = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DTYPES = {one.newbyteorder("<").str: one for one in PIXELS}
_SHORT = re.compile(r"[<>|=]?[a-zA-Z]\d{1,2}")


class BrokenInTransitError(FormatError):
    """A frame is not as it was sent; it should be sent again."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a sender says of itself.

    Attributes
    ----------
    stream, session
        Name of the camera, and of this run of its sender.
    greeting
        Which one this is, to tell the answers apart.
    acknowledged
        The number below which the sender keeps no frames.
    token
        What the receiver may ask for.
    """

    stream: str
    session: str
    greeting: int
    acknowledged: int
    token: str

    @classmethod
    def parse(cls, data: bytes) -> Hello:
        """Read a greeting.

        Raises
        ------
        FormatError
            It is none, or one of another protocol.
        """
        said = _values(data)
        if said.get("protocol") != PROTOCOL:
            raise FormatError(
                f"protocol is {said.get('protocol')!r}; expected {PROTOCOL}; take sender.py of this version"
            )
        stream, session, token = (said.get(key) for key in ("stream", "session", "token"))
        if not isinstance(stream, str) or not _NAME.fullmatch(stream):
            raise FormatError(f"stream is {stream!r}; expected up to 64 letters, digits, '.', '-' and '_'")
        if not isinstance(session, str) or not _NAME.fullmatch(session):
            raise FormatError(f"session is {session!r}; expected up to 64 letters and digits")
        greeting, acknowledged = (_whole(said, key, LARGEST_NUMBER) for key in ("greeting", "acknowledged"))
        return cls(stream, session, greeting, acknowledged, token if isinstance(token, str) else "")


@dataclass(frozen=True, slots=True)
class Announced:
    """What is said of a frame, before its pixels are looked at.

    Attributes
    ----------
    frame
        Without pixels.
    after
        One more than the number of the frame that was sent before it.
    dtype, shape
        Of its pixels.
    """

    frame: Frame
    after: int
    dtype: np.dtype[Any]
    shape: tuple[int, int]
    encoding: str
    crc: int

    @classmethod
    def parse(cls, data: bytes, stream: str, largest: int) -> Announced:
        """Read what is said of a frame of at most `largest` bytes.

        Raises
        ------
        FormatError
            It makes no sense; says what was expected.
        DtypeError
            Pixels that cannot be recorded; names the type to cast to.
        """
        said = _values(data)
        number = _whole(said, "number", LARGEST_NUMBER)
        dtype, shape = _dtype(said.get("dtype")), _shape(said.get("shape"))
        if prod(shape) * dtype.itemsize > largest:
            raise FormatError(f"a frame {shape} {dtype}; expected {largest} bytes at most")
        encoding = said.get("encoding")
        if encoding not in ("blosc", "raw"):
            raise FormatError(f"encoding is {encoding!r}; expected blosc or raw")
        frame = _described(said, number, stream)
        return cls(frame, _whole(said, "after", number), dtype, shape, encoding, _whole(said, "crc", 1 << 32))

    def pixels(self, payload: bytes) -> NDArray[Any]:
        """Return the pixels, not to be changed.

        Raises
        ------
        BrokenInTransitError
            The bytes are not those that were sent.
        FormatError
            They are no such frame.
        """
        if zlib.crc32(payload) != self.crc:
            raise BrokenInTransitError(f"frame {self.frame.number} was changed on its way")
        nbytes = prod(self.shape) * self.dtype.itemsize
        if self.encoding == "raw":
            if len(payload) != nbytes:
                raise FormatError(f"frame {self.frame.number} has {len(payload)} bytes; expected {nbytes}")
            return np.frombuffer(payload, self.dtype.newbyteorder("<")).reshape(self.shape)
        check_chunk(payload, nbytes, self.dtype.itemsize)
        made = np.empty(self.shape, self.dtype.newbyteorder("<"))
        decompress_into(payload, made)
        made.flags.writeable = False
        return made


def check_chunk(chunk: bytes, nbytes: int, itemsize: int) -> None:
    """Return if a chunk may be stored as it is: version 2, of so many bytes, in items of that size.

    Raises
    ------
    DamagedError, FormatError
        It may not.
    """
    header = ChunkHeader.parse(chunk)
    check_size(header, nbytes)
    if header.version != 2 or header.typesize != itemsize or header.cbytes != len(chunk):
        raise FormatError(
            f"a chunk of version {header.version}, typesize {header.typesize} and {header.cbytes} bytes; "
            f"expected version 2, typesize {itemsize} and {len(chunk)} bytes"
        )


def check_pixels(dtype: np.dtype[Any]) -> None:
    """Return if pixels of a type can be recorded.

    Raises
    ------
    DtypeError
        MRC cannot hold them; names the type to cast to.
    """
    if dtype.newbyteorder("=") not in PIXELS:
        pixel_mode(dtype)


def plain_meta(stack: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a frame as a stack can hold them, the name of its stack beside them.

    Raises
    ------
    FormatError
        They are nested too deeply, or there are values that no file can hold.
    """
    if _depth(meta) > _DEEPEST:
        raise FormatError(f"meta has more than {_DEEPEST} levels; expected plain values")
    try:
        made: dict[str, Any] = plain(dict(meta))
        json.dumps([stack, made], ensure_ascii=False).encode()
    except ValueError as error:
        raise FormatError(f"stack or meta cannot be stored ({error}); expected plain values") from None
    return made


def _depth(value: object) -> int:
    """Return the levels of maps and lists, or one more than is allowed."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        inner = [one for one in level if isinstance(one, (Mapping, list, tuple))]
        level = [item for one in inner for item in (one.values() if isinstance(one, Mapping) else one)]
        depth += bool(inner)
    return depth


def _values(data: bytes) -> dict[str, Any]:
    if len(data) > LARGEST_HEADER:
        raise FormatError(f"a header of {len(data)} bytes; expected {LARGEST_HEADER} at most")
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"a header is no JSON ({error})") from None
    if not isinstance(said, dict):
        raise FormatError(f"a header is a JSON {type(said).__name__}; expected an object")
    return said


def _described(said: Mapping[str, Any], number: int, stream: str) -> Frame:
    time, size = _number(said, "time"), _number(said, "pixel_size")
    stack, meta = said.get("stack"), said.get("meta")
    if time is None or not isinstance(stack, str) or not isinstance(meta, dict):
        raise FormatError(f"frame {number}: expected a time, the name of a stack, and an object as meta")
    if size is not None and size <= 0:
        raise FormatError(f"frame {number}: pixel_size is {size!r}; expected Angstrom above 0, or null")
    nothing = np.empty((0, 0), np.uint8)
    index = _whole(said, "index", LARGEST_NUMBER)
    return Frame(number, time, nothing, stack, index, size, plain_meta(stack, meta), None, stream)


def _dtype(said: object) -> np.dtype[Any]:
    if isinstance(said, str) and said in _DTYPES:
        return _DTYPES[said]
    if isinstance(said, str) and _SHORT.fullmatch(said):
        try:
            check_pixels(np.dtype(said))
        except TypeError as error:
            if isinstance(error, DtypeError):
                raise
    raise FormatError(f"dtype is {said!r}; expected one of {', '.join(sorted(_DTYPES))}")


def _shape(said: object) -> tuple[int, int]:
    if not isinstance(said, list) or len(said) != 2:
        raise FormatError(f"shape is {said!r}; expected [ny, nx]")
    ny, nx = (_whole({"shape": one}, "shape", _LARGEST_SIDE) for one in said)
    if ny == 0 or nx == 0:
        raise FormatError(f"shape is {said!r}; expected at least one pixel")
    return ny, nx


def _whole(said: Mapping[str, Any], key: str, most: int) -> int:
    value = said.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise FormatError(f"{key} is {value!r}; expected a whole number from 0 to {most}")
    return value


def _number(said: Mapping[str, Any], key: str) -> float | None:
    value = said.get(key)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < _LATEST:
        raise FormatError(f"{key} is {value!r}; expected a number below {_LATEST:g}")
    return float(value)

"""Spool files of live frames, and the checks that a frame can be stored before it is accepted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import ChunkHeader, check_size, decompress_into
from mrcz_dask.formats.frames import PIXEL_TYPES
from mrcz_dask.formats.mrc.modes import pixel_mode
from mrcz_dask.formats.provenance import plain
from mrcz_dask.formats.source import open_file, read_bytes
from mrcz_dask.formats.spool import Damage, Spool, SpoolReader, SpoolRecord, scan
from mrcz_dask.formats.stats import FrameStats, frame_stats
from mrcz_dask.live.frames import Frame
from mrcz_dask.values.errors import DamagedError, FormatError

LARGEST_NUMBER = 1 << 53
_LATEST = 6e10  # seconds before and after 1970: years that dates can hold
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
    if dtype.newbyteorder("=") not in PIXEL_TYPES:
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
    """Return a value that is a number below 6e10, as times in seconds since 1970 are.

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


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Properties that all frames of a live stack share: names of camera and stack, dtype, shape, pixel size.

    Attributes
    ----------
    stream, stack
        Names of the camera and of the stack; '' if unknown.
    dtype, shape
        Pixel type of the frames, such as ``<u2``, and (ny, nx).
    pixel_size
        In Angstrom, or None.
    """

    stream: str
    stack: str
    dtype: str
    shape: tuple[int, int]
    pixel_size: float | None

    @classmethod
    def of(cls, frame: Frame) -> StreamInfo:
        """Return the properties that a frame shares with its stack."""
        ny, nx = frame.data.shape
        dtype = frame.data.dtype.newbyteorder("<").str
        return cls(frame.stream, frame.stack, dtype, (ny, nx), frame.pixel_size)

    @classmethod
    def parse(cls, header: Mapping[str, Any]) -> StreamInfo:
        """Read the properties of a stack from the first record of its spool file."""
        try:
            return cls(**{**header, "shape": tuple(header["shape"])})
        except (TypeError, KeyError) as error:
            raise FormatError(f"the first record of a spool says {header!r} ({error})") from error


@dataclass(frozen=True, slots=True)
class Entry:
    """Record of one frame in a spool file: its number, time, metadata and statistics, without pixels."""

    number: int
    time: float
    index: int
    meta: Mapping[str, Any]
    stats: FrameStats | None

    @classmethod
    def parse(cls, record: SpoolRecord) -> Entry:
        """Read a frame's number, time and metadata from the header of a spool record.

        Raises
        ------
        FormatError
            It is not that of a frame, such as a second first record.
        """
        try:
            stats = record.header["stats"]
            return cls(**{**record.header, "stats": FrameStats(*stats) if stats else None})
        except (TypeError, KeyError) as error:
            raise FormatError(f"a record of a spool holds no frame: {record.header!r} ({error})") from error

    def frame(self, about: StreamInfo, chunk: bytes) -> Frame:
        """Decompress the pixels and return the whole frame.

        Raises
        ------
        DamagedError
            If the chunk cannot be decoded.
        """
        data: NDArray[Any] = np.empty(about.shape, about.dtype)
        decompress_into(chunk, data)
        data = data.astype(data.dtype.newbyteorder("="), copy=False)
        facts = (about.stack, self.index, about.pixel_size, self.meta)
        return Frame(self.number, self.time, data, *facts, chunk, about.stream)


class FrameSpool(Spool):
    """Spool file to which the frames of one stack are appended until the stack is written."""

    @cached_property
    def about(self) -> StreamInfo:
        """Return the properties that all frames of the stack share."""
        return StreamInfo.parse(self.header)

    @property
    def entries(self) -> list[Entry]:
        """Return the frames in the spool, in order, without pixels."""
        return [Entry.parse(record) for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def add(self, frames: Sequence[tuple[Frame, bytes]]) -> None:
        """Append frames with their compressed pixels: all of them, or none if an error occurs.

        Raises
        ------
        SpaceError
            If the disk is full.
        """
        items = []
        for frame, chunk in frames:
            # the pixels are at hand now; whoever writes the stack need not decode them for the statistics
            stats = frame_stats(frame.data)
            entry = Entry(frame.number, frame.time, frame.index, dict(frame.meta), stats)
            items.append((asdict(entry) | {"stats": None if stats is None else astuple(stats)}, chunk))
        self.append(items)

    def frames(self) -> Iterator[NDArray[Any]]:
        """Yield the pixels of all frames in order, one frame in memory at a time."""
        for record in self.records:
            yield Entry.parse(record).frame(self.about, self.body(record)).data


def spooled(path: Path) -> Iterator[tuple[StreamInfo, Frame]]:
    """Yield the frames in a spool file with the properties of their stack, one frame in memory at a time.

    The file may grow meanwhile; a frame that is not whole yet ends it.

    Raises
    ------
    DamagedError
        The file is damaged; the frames before that have been yielded.
    """
    with os.fdopen(open_file(path), "rb") as stream:
        handle = stream.fileno()
        about: StreamInfo | None = None
        for record in scan(handle):
            if isinstance(record, Damage):
                raise DamagedError(
                    f"{path}: bytes {record.start} to {record.end} are no frame; expected one; record into "
                    "this folder again, which takes up all whole frames"
                )
            if about is None:
                about = StreamInfo.parse(record.header)
                continue
            chunk = read_bytes(handle, record.nbytes, record.offset)
            yield about, Entry.parse(record).frame(about, chunk)


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Return runs of consecutive frame numbers as [first, count], which is shorter than all numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == sum(runs[-1]):
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    return runs


def describe_damage(spool: SpoolReader, numbers: Iterable[int], first: int) -> str:
    """Return a warning about a damaged spool file: which frames were rescued and which are lost.

    Parameters
    ----------
    spool
        Spool that took up what is whole.
    numbers
        Numbers of its frames.
    first
        Number of the first frame that was written to it.
    """
    runs = ranges(sorted(numbers))
    name = f"{spool.path.name.removeprefix('.')}.damaged"
    if not runs:
        return f"{spool.path}: damaged, and no frame in it is whole; it stays beside it as {name}"
    kept = ", ".join(f"{first} to {first + n - 1}" for first, n in runs)
    gaps = [(a + n, b - 1) for (a, n), (b, _) in pairwise([[first, 0], *runs]) if a + n < b]
    lost = ", ".join(f"{first} to {last}" for first, last in gaps) or "none between them"
    return (
        f"{spool.path}: damaged; it stays beside it as {name}. Its whole frames are taken up: {kept}. "
        f"Frames that are lost: {lost}, and any behind them in the file"
    )

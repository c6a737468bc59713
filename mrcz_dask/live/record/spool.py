"""The file that frames go to as they come: records one behind the other, each with a checksum.

A record is ``<4sIQQ``: a mark, the bytes of its header and of its chunk, and xxh3-64 of both lengths, header
and chunk; then the header as JSON, then the frame as a blosc chunk. The first record says what all frames
have in common, and has no chunk. What follows the last whole record was never acknowledged.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.spool import checksum, read_bytes
from mrcz_dask.formats.atomic import explain
from mrcz_dask.formats.compression.chunks import decompress_into
from mrcz_dask.formats.stats import FrameStats, frame_stats
from mrcz_dask.live.frames import Frame
from mrcz_dask.values.errors import FormatError

MARK = b"MZS1"
_HEAD = struct.Struct("<4sIQQ")
_LENGTHS = struct.Struct("<IQ")
_LARGEST_HEADER = 1 << 24


@dataclass(frozen=True, slots=True)
class About:
    """What all frames of a stack have in common.

    Attributes
    ----------
    stream, stack
        Names of the camera and of the stack; '' if unknown.
    dtype, shape
        Of the frames: such as ``<u2``, and (ny, nx).
    pixel_size
        In Angstrom, or None.
    """

    stream: str
    stack: str
    dtype: str
    shape: tuple[int, int]
    pixel_size: float | None

    @classmethod
    def of(cls, frame: Frame) -> About:
        """Return what a frame has in common with others of its stack."""
        ny, nx = frame.data.shape
        dtype = frame.data.dtype.newbyteorder("<").str
        return cls(frame.stream, frame.stack, dtype, (ny, nx), frame.pixel_size)

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> About:
        """Read what the first record says."""
        try:
            return cls(**{**said, "shape": tuple(said["shape"])})
        except (TypeError, KeyError) as error:
            raise FormatError(f"the first record of a spool says {said!r} ({error})") from error


@dataclass(frozen=True, slots=True)
class Entry:
    """A frame in a spool: what is said of it, its statistics if it has any, and where its chunk is."""

    number: int
    time: float
    index: int
    meta: Mapping[str, Any]
    stats: FrameStats | None
    offset: int = field(compare=False)
    nbytes: int = field(compare=False)

    def frame(self, about: About, chunk: bytes) -> Frame:
        """Return the frame.

        Raises
        ------
        DamagedError
            The chunk cannot be decoded.
        """
        data: NDArray[Any] = np.empty(about.shape, about.dtype)
        decompress_into(chunk, data)
        data = data.astype(data.dtype.newbyteorder("="), copy=False)
        return Frame(
            self.number,
            self.time,
            data,
            about.stack,
            self.index,
            about.pixel_size,
            self.meta,
            chunk,
            about.stream,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """A whole record: its header, where its chunk is, and where the next one begins."""

    said: dict[str, Any]
    offset: int
    nbytes: int
    end: int

    def entry(self) -> Entry:
        """Return the frame that it holds."""
        known, said = self.said["stats"], self.said
        stats = FrameStats(*known) if known else None
        place = self.offset, self.nbytes
        return Entry(said["number"], said["time"], said["index"], said["meta"], stats, *place)


class Spool:
    """An open spool: frames of one stack, on the disk when `append` has returned.

    Parameters
    ----------
    path
        Of the file.
    about
        What its frames have in common.
    durable
        Wait for the disk.

    Attributes
    ----------
    path, about
        As given.
    entries
        The frames, in order.
    """

    def __init__(self, path: Path, about: About, *, durable: bool = True) -> None:
        self.path, self.about, self._durable = path, about, durable
        self.entries: list[Entry] = []
        self._end = 0
        self._handle = -1

    @classmethod
    def create(cls, path: Path, about: About, *, durable: bool = True) -> Self:
        """Begin a file that is not there yet.

        Raises
        ------
        SpaceError
            The folder is full or cannot be written.
        """
        made = cls(path, about, durable=durable)
        try:
            made._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            made._write(pack(asdict(about), b""))
            made._sync_folder()
        except OSError as error:
            made.remove()
            raise explain(error, path) from error
        return made

    @classmethod
    def open(cls, path: Path, *, durable: bool = True) -> Self | None:
        """Take up a file: what follows its last whole record is cut off; None if it holds no frame."""
        with path.open("rb") as stream:
            records = list(scan(stream.fileno()))
        if len(records) < 2:
            return None
        made = cls(path, About.parse(records[0].said), durable=durable)
        made.entries = [record.entry() for record in records[1:]]
        made._end = records[-1].end
        made._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        os.ftruncate(made._handle, made._end)
        return made

    def __len__(self) -> int:
        return len(self.entries)

    def append(self, frames: Sequence[tuple[Frame, bytes]]) -> None:
        """Add frames with their chunks: all of them are on the disk then, or none is in the file.

        Raises
        ------
        SpaceError
            The disk is full.
        """
        start, count = self._end, len(self.entries)
        try:
            for frame, chunk in frames:
                self._add(frame, chunk)
            self._sync()
        except BaseException as error:
            self._take_back(start, count)
            raise (explain(error, self.path) if isinstance(error, OSError) else error) from error

    def _add(self, frame: Frame, chunk: bytes) -> None:
        # the frame is decoded now; whoever writes the stack need not do it again
        meta, stats = dict(frame.meta), frame_stats(frame.data)
        said = {
            "number": frame.number,
            "time": frame.time,
            "index": frame.index,
            "meta": meta,
            "stats": None if stats is None else astuple(stats),
        }
        self._write(pack(said, chunk))
        place = self._end - len(chunk), len(chunk)
        self.entries.append(Entry(frame.number, frame.time, frame.index, meta, stats, *place))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            done = os.pwrite(self._handle, left, self._end)
            self._end += done
            left = left[done:]

    def _take_back(self, start: int, count: int) -> None:
        self._end = start
        del self.entries[count:]
        with suppress(OSError):  # what is left behind the end is overwritten, or cut off when it is taken up
            os.ftruncate(self._handle, start)

    def _sync(self) -> None:
        if self._durable:
            getattr(os, "fdatasync", os.fsync)(self._handle)

    def _sync_folder(self) -> None:
        if not self._durable:
            return
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems cannot sync a folder
                os.fsync(handle)
        finally:
            os.close(handle)

    def chunk(self, k: int) -> bytes:
        """Return the chunk of a frame."""
        entry = self.entries[k]
        return os.pread(self._handle, entry.nbytes, entry.offset)

    def frames(self) -> Iterator[NDArray[Any]]:
        """Yield the pixels of all frames, one in memory at a time."""
        for k, entry in enumerate(self.entries):
            yield entry.frame(self.about, self.chunk(k)).data

    def close(self) -> None:
        """Close the file; it stays."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def remove(self) -> None:
        """Close the file and delete it."""
        self.close()
        self.path.unlink(missing_ok=True)


def pack(said: Mapping[str, Any], chunk: bytes) -> bytes:
    """Return a record."""
    header = json.dumps(said).encode()
    lengths = _LENGTHS.pack(len(header), len(chunk))
    return _HEAD.pack(MARK, len(header), len(chunk), checksum(lengths, header, chunk)) + header + chunk


def scan(handle: int) -> Iterator[Record]:
    """Yield the whole records of an open file, up to the first that is not."""
    size, start = os.fstat(handle).st_size, 0
    while start + _HEAD.size <= size:
        mark, nheader, nchunk, found = _HEAD.unpack(read_bytes(handle, _HEAD.size, start))
        offset = start + _HEAD.size + nheader
        end = offset + nchunk
        if mark != MARK or nheader > _LARGEST_HEADER or end > size:
            return
        header, chunk = (
            read_bytes(handle, nheader, start + _HEAD.size),
            read_bytes(handle, nchunk, offset),
        )
        if checksum(_LENGTHS.pack(nheader, nchunk), header, chunk) != found:
            return
        yield Record(json.loads(header), offset, nchunk, end)
        start = end


def spooled(path: Path) -> Iterator[tuple[About, Frame]]:
    """Yield the frames of a spool, each with what they have in common, one in memory at a time.

    The file may grow meanwhile; a frame that is not whole yet ends it.
    """
    with path.open("rb") as stream:
        handle = stream.fileno()
        records = scan(handle)
        first = next(records, None)
        if first is not None:
            about = About.parse(first.said)
            for one in records:
                yield about, one.entry().frame(about, read_bytes(handle, one.nbytes, one.offset))

"""Where electrons wait until their stack is whole: batches as they come, in any order, each with a checksum.

A record is ``<4sIQQ``: a mark, the bytes of its header and of its body, and xxh3-64 of both lengths,
header and body. The first record says what the stack is, and has no body.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import xxhash

from mrcz_dask.counting.counter import Batch
from mrcz_dask.counting.packing import Found, unpack
from mrcz_dask.formats.atomic import explain
from mrcz_dask.values.errors import DamagedError

SUFFIX = ".counting"
_MARK = b"MZE1"
_HEAD = struct.Struct("<4sIQQ")
_LENGTHS = struct.Struct("<IQ")


@dataclass(frozen=True, slots=True)
class Kept:
    """A batch in a spool: its first frame, how many, digests, what else is said, and where it is."""

    first: int
    count: int
    frames: bytes
    said: dict[str, Any] = field(compare=False)
    offset: int = field(compare=False)
    nbytes: int = field(compare=False)


class SpoolReader:
    """Batches of one stack's electrons on the disk; nothing is changed there.

    Parameters
    ----------
    path
        Of the file.
    about
        What the stack is, plain values.
    handle
        Of the open file.

    Attributes
    ----------
    path, about
        As given.
    kept
        The batches as they came.
    """

    _flags = os.O_RDONLY

    def __init__(self, path: Path, about: dict[str, Any], handle: int) -> None:
        self.path, self.about, self._handle = path, about, handle
        self.kept: list[Kept] = []
        self._end = 0

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """Open a file up to its last whole record; None if there is no whole one."""
        handle = os.open(path, cls._flags | os.O_CLOEXEC)
        records = list(_scan(handle))
        if not records:
            os.close(handle)
            return None
        made = cls(path, records[0][0], handle)
        made.kept = [_kept(*one) for one in records[1:]]
        made._end = records[-1][1] + records[-1][2]
        return made

    def whole(self) -> list[Kept]:
        """Return the batches in order, as far as frames follow each other from 0 without a gap."""
        found: list[Kept] = []
        frames = 0
        for one in sorted(self.kept, key=lambda one: one.first):
            if one.first == frames:
                found.append(one)
                frames += one.count
        return found

    @property
    def frames(self) -> int:
        """Return up to which frame there is no gap."""
        return sum(one.count for one in self.whole())

    def read(self, one: Kept) -> Found:
        """Return the electrons of a batch.

        Raises
        ------
        DamagedError
            They cannot be read.
        """
        data = read_bytes(self._handle, one.nbytes, one.offset)
        if len(data) != one.nbytes:
            raise DamagedError(f"{self.path}: a batch of frame {one.first} is not all there; count it again")
        return unpack(data)

    def close(self) -> None:
        """Close the file; it stays."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class EventSpool(SpoolReader):
    """A spool that batches are added to, by one process at a time; see `SpoolReader`."""

    _flags = os.O_RDWR

    @classmethod
    def create(cls, path: Path, about: dict[str, Any]) -> Self:
        """Begin a file, in the place of one that is there.

        Raises
        ------
        SpaceError
            The folder is full or cannot be written.
        """
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise explain(error, path) from error
        made = cls(path, about, handle)
        made._write(json.dumps(about).encode(), b"")
        return made

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """Go on with a file; what follows its last whole record is cut off. None if there is no whole one."""
        made = super().open(path)
        if made is not None:
            os.ftruncate(made._handle, made._end)
        return made

    def append(self, batch: Batch, *, durable: bool = False, **said: Any) -> None:
        """Add a batch, and what else is said of it.

        Raises
        ------
        SpaceError
            The disk is full; the batch is not in the file.
        """
        header = {"first": batch.first, "frames": batch.frames.hex(), **said}
        offset = self._write(json.dumps(header).encode(), batch.packed)
        if durable:
            os.fdatasync(self._handle)
        self.kept.append(_kept(header, offset, len(batch.packed)))

    def _write(self, header: bytes, body: bytes) -> int:
        lengths = _LENGTHS.pack(len(header), len(body))
        head = _HEAD.pack(_MARK, len(header), len(body), checksum(lengths, header, body))
        data = memoryview(b"".join([head, header, body]))
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._handle, data[written:], self._end + written)
        except OSError as error:
            os.ftruncate(self._handle, self._end)
            raise explain(error, self.path) from error
        self._end += len(data)
        return self._end - len(body)

    def compacted(self) -> EventSpool:
        """Return the spool without what comes after a gap: those frames come again."""
        whole = self.whole()
        if len(whole) == len(self.kept):
            return self
        beside = self.path.with_name(f"{self.path.name}.part")
        made = EventSpool.create(beside, self.about)
        for one in whole:
            packed = read_bytes(self._handle, one.nbytes, one.offset)
            made.append(Batch(one.first, packed, one.frames), **one.said)
        os.fdatasync(made._handle)
        self.close()
        beside.replace(self.path)
        made.path = self.path
        return made

    def remove(self) -> None:
        """Close the file and delete it."""
        self.close()
        self.path.unlink(missing_ok=True)


def _kept(header: dict[str, Any], offset: int, nbytes: int) -> Kept:
    said = {key: value for key, value in header.items() if key not in ("first", "frames")}
    frames = bytes.fromhex(header["frames"])
    return Kept(header["first"], len(frames) // 16, frames, said, offset, nbytes)


def _scan(handle: int) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Yield the header, offset and bytes of the body of every whole record."""
    start, size = 0, os.fstat(handle).st_size
    while start + _HEAD.size <= size:
        mark, nheader, nbody, found = _HEAD.unpack(read_bytes(handle, _HEAD.size, start))
        offset = start + _HEAD.size + nheader
        if mark != _MARK or offset + nbody > size:
            return
        header, body = read_bytes(handle, nheader, start + _HEAD.size), read_bytes(handle, nbody, offset)
        if checksum(_LENGTHS.pack(nheader, nbody), header, body) != found:
            return
        yield json.loads(header), offset, nbody
        start = offset + nbody


def read_bytes(handle: int, count: int, offset: int) -> bytes:
    """Return bytes of an open file, fewer at its end; on Linux one read ends at 2 GiB."""
    parts: list[bytes] = []
    while count and (part := os.pread(handle, count, offset)):
        parts.append(part)
        count, offset = count - len(part), offset + len(part)
    return b"".join(parts)


def checksum(*parts: bytes) -> int:
    """Return the xxh3-64 of some bytes after each other."""
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest()

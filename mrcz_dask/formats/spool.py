"""Spools: files to which frames or events are appended until their stack is whole.

A record is ``<4sIQQ``: a mark, the lengths of its header and body, and xxh3-64 over both lengths, header and
body. Then come the header as JSON, and the body. The first record describes the stack and has no body.
A killed process may leave a last record that is cut off; everything before it can be read.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import xxhash

from mrcz_dask.formats.atomic import explain, sync_folder
from mrcz_dask.formats.source import open_file, read_bytes
from mrcz_dask.values.errors import DamagedError

_MARK = b"MZS1"
_HEAD = struct.Struct("<4sIQQ")
_LENGTHS = struct.Struct("<IQ")
_LARGEST_HEADER = 1 << 24


@dataclass(frozen=True, slots=True)
class Record:
    """The header of a record, and the place of its body in the file."""

    header: dict[str, Any]
    offset: int
    nbytes: int

    @property
    def end(self) -> int:
        """Offset of the next record."""
        return self.offset + self.nbytes


class SpoolReader:
    """Reads the whole records of a spool; nothing is changed, and another process may append meanwhile.

    Attributes
    ----------
    path
        Path of the file.
    header
        Header of the first record, which describes the stack.
    records
        The other records in the order in which they were appended.
    """

    def __init__(self, path: Path, header: dict[str, Any], records: list[Record], handle: int) -> None:
        self.path, self.header, self.records, self._handle = path, header, records, handle

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a spool. If not even its first record is whole, `header` and `records` are empty."""
        handle = open_file(path)
        records = list(scan(handle))
        return cls(path, records[0].header if records else {}, records[1:], handle)

    def body(self, record: Record) -> bytes:
        """Read the body of a record.

        Raises
        ------
        DamagedError
            If the file has become shorter.
        """
        data = read_bytes(self._handle, record.nbytes, record.offset)
        if len(data) != record.nbytes:
            raise DamagedError(
                f"{self.path}: {len(data)} bytes at {record.offset}; expected {record.nbytes}; another "
                "program has cut the file"
            )
        return data

    def close(self) -> None:
        """Close the file; it stays."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Spool(SpoolReader):
    """A spool to which one process at a time appends; see `SpoolReader`."""

    _end = 0
    _durable = True

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any], *, durable: bool = True) -> Self:
        """Begin a new file.

        Parameters
        ----------
        path
            Path of the file, which must not exist.
        header
            Description of the stack, JSON values.
        durable
            Whether `append` waits until the records are on the disk.

        Raises
        ------
        SpaceError
            If the folder is full, cannot be written, or has such a file.
        """
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise explain(error, path) from error
        spool = cls(path, dict(header), [], handle)
        spool._durable = durable
        try:
            spool._write(pack(header, b""))
            if durable:
                sync_folder(path.parent)
        except OSError as error:
            spool.remove()
            raise explain(error, path) from error
        return spool

    @classmethod
    def resume(cls, path: Path, *, durable: bool = True) -> Self | None:
        """Go on with a file, and cut off everything behind its last whole record.

        Returns None, and leaves the file as it is, if it holds no record but the first.
        """
        with SpoolReader.open(path) as left:
            if not left.records:
                return None
        spool = cls(path, left.header, left.records, open_file(path, os.O_RDWR))
        spool._durable, spool._end = durable, left.records[-1].end
        os.ftruncate(spool._handle, spool._end)
        return spool

    def append(self, items: Sequence[tuple[Mapping[str, Any], bytes]]) -> None:
        """Append records, each a header and a body: all of them, or on an error none.

        Raises
        ------
        SpaceError
            If the disk is full.
        """
        start, count = self._end, len(self.records)
        try:
            for header, body in items:
                self._write(pack(header, body))
                self.records.append(Record(dict(header), self._end - len(body), len(body)))
            if self._durable:
                getattr(os, "fdatasync", os.fsync)(self._handle)
        except BaseException as error:
            self._end = start
            del self.records[count:]
            with suppress(OSError):  # later records overwrite what is left behind the end
                os.ftruncate(self._handle, start)
            raise (explain(error, self.path) if isinstance(error, OSError) else error) from error

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            written = os.pwrite(self._handle, left, self._end)
            self._end += written
            left = left[written:]

    def remove(self) -> None:
        """Close the file and delete it."""
        self.close()
        self.path.unlink(missing_ok=True)


def pack(header: Mapping[str, Any], body: bytes) -> bytes:
    """Return the bytes of a record."""
    text = json.dumps(header).encode()
    checksum = _checksum(_LENGTHS.pack(len(text), len(body)), text, body)
    return _HEAD.pack(_MARK, len(text), len(body), checksum) + text + body


def scan(handle: int) -> Iterator[Record]:
    """Yield the whole records of an open file, up to the first that is cut off or damaged."""
    size, start = os.fstat(handle).st_size, 0
    while start + _HEAD.size <= size:
        mark, nheader, nbody, checksum = _HEAD.unpack(read_bytes(handle, _HEAD.size, start))
        offset = start + _HEAD.size + nheader
        if mark != _MARK or nheader > _LARGEST_HEADER or offset + nbody > size:
            return
        header = read_bytes(handle, nheader, start + _HEAD.size)
        if _checksum(_LENGTHS.pack(nheader, nbody), header, read_bytes(handle, nbody, offset)) != checksum:
            return
        yield Record(json.loads(header), offset, nbody)
        start = offset + nbody


def _checksum(*parts: bytes) -> int:
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest()

"""Spool files, to which frames or electrons of a stack are appended until the stack is complete.

A record is ``<4sIQQ``: a mark, the lengths of its header and body, and xxh3-64 over both lengths, header and
body. Then come the header as JSON, and the body. The first record describes the stack and has no body; all
other headers repeat it under ``spool``, so that they can be read without it.

A killed process may leave a last record that is cut off, whose frames were not acknowledged. All else that is
no whole record is damage: whole records behind it are read, and the damaged file is never removed.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, Self

import xxhash

from mrcz_dask.formats.atomic import explain, sync_folder
from mrcz_dask.formats.metadata import parse_json
from mrcz_dask.formats.source import Closing, open_file, read_bytes
from mrcz_dask.values.errors import DamagedError

_MARK = b"MZS1"
_HEAD = struct.Struct("<4sIQQ")
_LENGTHS = struct.Struct("<IQ")
_LARGEST_HEADER = 1 << 24
_STACK = "spool"
_BLOCK = 1 << 22


Item = tuple[Mapping[str, Any], bytes]


@dataclass(frozen=True, slots=True)
class SpoolRecord:
    """Header and place of one record in a spool file, such as that of a frame.

    Attributes
    ----------
    header
        Header without the copy of the first record.
    start, offset, nbytes
        Offsets of the record and of its body, and the size of the body.
    stack
        Copy of the first record; None in the first record itself, and in old files.
    """

    header: dict[str, Any]
    start: int
    offset: int
    nbytes: int
    stack: dict[str, Any] | None = None

    @property
    def end(self) -> int:
        """Offset of the byte behind the record, where the next one begins."""
        return self.offset + self.nbytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Range of bytes in a spool file, start <= k < end, that are damaged: no sound record."""

    start: int
    end: int


class SpoolReader(Closing):
    """Reads the sound records of a spool file, even while another process appends to it.

    Attributes
    ----------
    path
        Path of the file.
    header
        Header of the first record, which describes the stack.
    records
        The other records in the order in which they were appended.
    damage
        Bytes that are no records. A last record that is cut off is not among them.
    """

    def __init__(self, path: Path, header: dict[str, Any], records: list[SpoolRecord], handle: int) -> None:
        self.path, self.header, self.records, self._handle = path, header, records, handle
        self.damage: list[Damage] = []

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a spool file and find its sound records and damage."""
        handle = open_file(path)
        parts = list(scan(handle))
        records = [part for part in parts if isinstance(part, SpoolRecord)]
        first = [records.pop(0).header] if records and records[0].start == 0 else []
        copies = (record.stack for record in records if record.stack is not None)
        reader = cls(path, next(chain(first, copies), {}), records, handle)
        reader.damage = [part for part in parts if isinstance(part, Damage)]
        return reader

    def body(self, record: SpoolRecord) -> bytes:
        """Return the content of a record, after comparing its checksum.

        Raises
        ------
        DamagedError
            If it has changed since it was written, or the file has become shorter.
        """
        content = _content(self._handle, record.start)
        if content is None:
            raise DamagedError(
                f"{self.path}: the record at byte {record.start} has changed since it was written (its "
                "checksum does not match); check the disk and run again, which uses the sound records"
            )
        return content[2]

    def close(self) -> None:
        """Close the file, without deleting it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Spool(SpoolReader):
    """Spool file to which one process appends records, such as frames; see `SpoolReader`."""

    _end = 0
    _durable = True

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any], *, durable: bool = True) -> Self:
        """Create a spool file, whose first record describes the stack.

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
    def resume(cls, path: Path) -> Self | None:
        """Open an existing spool file to append to it; a last record that was cut off is removed.

        Of a damaged one the sound records go on in a new file, as `replacing` says.

        Returns None, and leaves the file as it is, if it is sound and holds no record but the first.

        Raises
        ------
        DamagedError
            If it is damaged and holds nothing to go on with; it stays under another name.
        """
        with SpoolReader.open(path) as left:
            if left.damage:
                return cls.replacing(left, ((record.header, left.body(record)) for record in left.records))
            if not left.records:
                return None
        spool = cls(path, left.header, left.records, open_file(path, os.O_RDWR))
        spool._end = left.records[-1].end
        os.ftruncate(spool._handle, spool._end)
        return spool

    @classmethod
    def replacing(cls, left: SpoolReader, items: Iterable[Item]) -> Self:
        """Replace a spool file by a new one with the given records; a damaged one is kept under another name.

        Raises
        ------
        DamagedError
            If the old one is damaged and says nothing of its stack; it stays under another name.
        SpaceError
            If the disk is full; the old one stays as it is.
        """
        if not left.header:
            kept = keep_damaged(left.path)
            left.path.unlink()
            raise DamagedError(
                f"{left.path}: no record is left that describes its stack; it stays as {kept.name}: keep it, "
                "and check the disk"
            )
        beside = left.path.with_name(f"{left.path.name}.part")
        beside.unlink(missing_ok=True)
        spool = cls.create(beside, left.header, durable=False)
        try:
            for item in items:
                spool.append([item])
        except BaseException:
            spool.remove()
            raise
        os.fsync(spool._handle)
        if left.damage:
            keep_damaged(left.path)
        spool.path, spool.damage, spool._durable = beside.replace(left.path), left.damage, True
        sync_folder(left.path.parent)
        return spool

    def append(self, items: Sequence[Item]) -> None:
        """Append records, each a header and a body: all of them, or none if an error occurs.

        Raises
        ------
        SpaceError
            If the disk is full.
        """
        start, count = self._end, len(self.records)
        try:
            for header, body in items:
                place = self._end
                self._write(pack({**header, _STACK: self.header}, body))
                self.records.append(SpoolRecord(dict(header), place, self._end - len(body), len(body)))
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
        """Close and delete the spool file, when its stack has been written."""
        self.close()
        self.path.unlink(missing_ok=True)


def pack(header: Mapping[str, Any], body: bytes) -> bytes:
    """Return a record as bytes for the spool file, with its checksum."""
    text = json.dumps(header).encode()
    checksum = _checksum(_LENGTHS.pack(len(text), len(body)), text, body)
    return _HEAD.pack(_MARK, len(text), len(body), checksum) + text + body


def scan(handle: int) -> Iterator[SpoolRecord | Damage]:
    """Yield the sound records of an open spool file, and the damaged ranges between them.

    A last record that is cut off, or not written to its end yet, ends it.
    """
    size, start = os.fstat(handle).st_size, 0
    while start < size:
        content = _content(handle, start)
        if content is None:
            whole = (at for at in _marks(handle, start + 1) if _content(handle, at) is not None)
            end = next(whole, size)
            if end == size and _is_cut_off(handle, start, size):
                return
            yield Damage(start, end)
            start = end
            continue
        header, offset, body = content
        stack = header.pop(_STACK, None)
        yield SpoolRecord(header, start, offset, len(body), stack)
        start = offset + len(body)


def keep_damaged(path: Path) -> Path:
    """Link or copy a damaged spool file to a visible name that ends in ``.damaged``, and return its path."""
    name = f"{path.name.removeprefix('.')}.damaged"
    places = (path.with_name(f"{name}{suffix}") for suffix in chain([""], (f"-{k}" for k in count(2))))
    place = next(place for place in places if not place.exists())
    try:
        os.link(path, place)
    except OSError:  # a file system without links
        shutil.copyfile(path, place)
    return place


def _content(handle: int, start: int) -> tuple[dict[str, Any], int, bytes] | None:
    """Return header, offset of the body, and body of the record that begins at an offset;
    None if no whole one does.
    """
    size, head = os.fstat(handle).st_size, read_bytes(handle, _HEAD.size, start)
    if len(head) < _HEAD.size:
        return None
    mark, nheader, nbody, checksum = _HEAD.unpack(head)
    offset = start + _HEAD.size
    if mark != _MARK or nheader > _LARGEST_HEADER or offset + nheader + nbody > size:
        return None
    header, body = read_bytes(handle, nheader, offset), read_bytes(handle, nbody, offset + nheader)
    if _checksum(_LENGTHS.pack(nheader, nbody), header, body) != checksum:
        return None
    with suppress(DamagedError):
        return parse_json(header, "header of a record"), offset + nheader, body
    return None


def _marks(handle: int, start: int) -> Iterator[int]:
    """Yield the offsets at which records may begin."""
    while block := read_bytes(handle, _BLOCK + len(_MARK) - 1, start):
        at = block.find(_MARK)
        while at >= 0:
            yield start + at
            at = block.find(_MARK, at + 1)
        start += _BLOCK


def _is_cut_off(handle: int, start: int, size: int) -> bool:
    """Return True if the bytes up to the end of the file are the beginning of a record."""
    head = read_bytes(handle, _HEAD.size, start)
    if len(head) < _HEAD.size:
        return head[: len(_MARK)] == _MARK[: len(head)]
    mark, nheader, nbody, checksum = _HEAD.unpack(head)
    rest = read_bytes(handle, size, start + _HEAD.size)
    if mark != _MARK or nheader + nbody <= len(rest):
        return False
    # a record with a damaged length may seem to be cut off: its bytes are whole with the length that is left
    lengths = (nheader, len(rest) - nheader), (len(rest) - nbody, nbody)
    return not any(min(n) >= 0 and _checksum(_LENGTHS.pack(*n), rest) == checksum for n in lengths)


def _checksum(*parts: bytes) -> int:
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest()

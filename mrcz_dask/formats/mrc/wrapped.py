"""Reads MRC files compressed as a whole by gzip, bzip2, xz or zstd,
without unpacking them first if possible.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import zstandard

from mrcz_dask.formats.compression.chunks import CHUNK_HEADER, ChunkHeader, check_size
from mrcz_dask.formats.costs import check_cost, check_temporary
from mrcz_dask.formats.mrc.footer import MAX_DECODED
from mrcz_dask.formats.mrc.header import HEADER_SIZE, PROMISE, Header
from mrcz_dask.formats.mrc.layout import Complain
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.zstd_writer import ROOM
from mrcz_dask.formats.sidecar import read_sidecar, section
from mrcz_dask.formats.source import ByteSource, Cursor
from mrcz_dask.values.errors import (
    DamagedError,
    FooterError,
    HeaderError,
    MrczDaskError,
    TruncatedError,
)
from mrcz_dask.values.params import InputParams
from mrcz_dask.values.timing import phase

MAGIC: dict[bytes, tuple[str, Callable[[IO[bytes]], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda file: gzip.GzipFile(fileobj=file)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\0": ("xz", lambda file: io.BufferedReader(XzStream(file), _BLOCK)),
    b"\x28\xb5\x2f\xfd": (
        "zstd",
        lambda file: io.BufferedReader(
            zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        ),
    ),
}
_AHEAD: int = 1 << 20
_BLOCK: int = 1 << 20
_DICTIONARY = 1 << 30  # bytes of memory for that of xz, which takes 65 MB at its highest level
_CHUNK_ROOM = 64  # bytes by which a chunk is larger than its frame, at most
_BROKEN = (OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError, ValueError)


class Unpacked(ByteSource):
    """Gives the unpacked bytes of an MRC file compressed by gzip, bzip2, xz or zstd;
    safe from several threads.

    Its beginning is unpacked again when frames are read from the first one on again; when they are read in
    another order, all of it goes to a temporary file once.

    Parameters
    ----------
    packed
        The compressed file; closed together with this.
    """

    def __init__(self, packed: ByteSource) -> None:
        head = bytes(packed.read_at(0, min(8, packed.size)))
        self.method, self._unpack = next(found for magic, found in MAGIC.items() if head.startswith(magic))
        self.name, self.path, self.beside, self.size = packed.name, None, packed.beside, 0
        self._packed, self._turns = packed, threading.Lock()
        self._head = b""
        self._broken: MrczDaskError | None = None
        self._file: IO[bytes] | None = None  # where all of it was unpacked to
        self._rewind()

    @property
    def stored(self) -> int:
        """Size of the compressed file in bytes."""
        return self._packed.size

    def _rewind(self) -> None:
        self._flow = self._unpack(io.BufferedReader(Cursor(self._packed), _AHEAD))
        self._at = 0

    def begin(self) -> None:
        """Unpack the header; unpack the whole file to a temporary one if it
        cannot be read from front to back.

        Raises
        ------
        FormatError, TruncatedError, DamagedError
            No MRC file within, or it cannot be unpacked.
        """
        with self._unpacking():
            head = self._take(HEADER_SIZE)
            header = Header.parse(head, name=f"{self.name} ({self.method})")
            nbytes = header.data_offset + header.shape[0] * header.frame_nbytes
            at_once = max(header.extended_size, header.frame_nbytes)
            check_cost(self.name, stored=self.stored, decoded=nbytes, at_once=at_once)
            self._head = head + self._take(header.extended_size)
        if header.compressed or PROMISE in header.labels:
            if not header.compressed:
                check_temporary(self.name, self.stored, nbytes)
            self._unpack_all(AnnouncedSize(self.name, header))
        else:
            self.size = nbytes
            self.streamed = self.sequential = True

    def read_at(self, offset: int, count: int) -> bytes | memoryview:
        """Return `count` unpacked bytes from `offset`; see `ByteSource`."""
        if offset + count <= len(self._head):
            return self._head[offset : offset + count]
        if offset + count > self.size:
            raise TruncatedError(
                f"{self.name}: wanted bytes {offset} to {offset + count}, but it ends at {self.size}"
            )
        with self._turns, phase("disk", count):
            if self._file is None and self._at > offset > len(self._head):
                self._unpack_all()
            if self._file is not None:
                self._file.seek(offset)
                return self._file.read(count)
            return self._forward(offset, count)

    def _forward(self, offset: int, count: int) -> bytes:
        if self._broken is not None:  # what comes behind it is not known
            raise self._broken
        with self._unpacking():
            if self._at > offset:
                self._rewind()
            while self._at < offset:
                self._take(min(_BLOCK, offset - self._at))
            data = self._take(count)
            if self._at == self.size:  # read what is left, behind which is the checksum of all
                end = self._at
                while block := self._flow.read(_BLOCK):
                    end += len(block)
                self._compare(end)
            return data

    def _take(self, count: int) -> bytes:
        data: bytes = self._flow.read(count)
        self._at += len(data)
        if len(data) < count:
            raise TruncatedError(
                f"{self.name}: its unpacked content ends after {self._at} bytes, expected "
                f"{max(self.size, self._at - len(data) + count)}; copy the file again"
            )
        return data

    def _compare(self, nbytes: int) -> None:
        """Complain if there are more bytes than the header asks for."""
        if nbytes > self.size:
            raise HeaderError(
                f"{self.name}: the header asks for {self.size} bytes, {nbytes} are compressed in the file; "
                "correct NZ or NSYMBT in the header"
            )

    def _unpack_all(self, announced: AnnouncedSize | None = None) -> None:
        """Unpack to a temporary file; bytes that were not announced are refused as soon as they come."""
        file = tempfile.TemporaryFile(prefix="mrcz-dask-")  # noqa: SIM115 - closed by close()
        try:
            with self._unpacking():
                self._rewind()
                while block := self._flow.read(_BLOCK):
                    file.write(block)
                    if announced is not None:
                        announced.check(file)
                    check_temporary(self.name, self.stored, file.tell())
                if self.size:  # known where all is read later than the header
                    self._compare(file.tell())
        except BaseException:
            file.close()
            raise
        self._file, self.size = file, max(self.size, file.tell())
        self.streamed = self.sequential = False

    @contextmanager
    def _unpacking(self) -> Iterator[None]:
        try:
            with unpacking(self.name, self.method):
                yield
        except MrczDaskError as error:
            self._broken = error
            raise

    def close(self) -> None:
        """Close the file, and delete the temporary one."""
        self._packed.close()
        if self._file is not None:
            self._file.close()


class AnnouncedSize:
    """Follows an MRC file while it is unpacked, to refuse more bytes than header and frames announce.

    Parameters
    ----------
    name
        Name of the file in messages.
    header
        Header of the MRC file.
    """

    def __init__(self, name: str, header: Header) -> None:
        self._name, self._header = name, header
        self._k, self._next = 0, header.data_offset  # the frame whose chunk comes next, and where

    def check(self, file: IO[bytes]) -> None:
        """Compare what has been unpacked so far with what is announced.

        Raises
        ------
        DamagedError
            There is no frame where one should be.
        HeaderError
            There is more.
        """
        end, (count, *_), nbytes = file.tell(), self._header.shape, self._header.frame_nbytes
        room = _CHUNK_ROOM if self._header.compressed else 0
        while self._header.compressed and self._k < count and self._next + CHUNK_HEADER <= end:
            file.seek(self._next)
            try:
                chunk = ChunkHeader.parse(file.read(CHUNK_HEADER))
                check_size(chunk, nbytes)
                if chunk.cbytes > nbytes + room:
                    raise DamagedError(
                        f"the chunk has {chunk.cbytes} bytes; expected at most {nbytes + room}"
                    )
            except DamagedError as error:
                raise DamagedError(
                    f"{self._name}: frame {self._k}: {error}; copy it again, or unpack it to read others"
                ) from error
            self._k, self._next = self._k + 1, self._next + chunk.cbytes
        file.seek(end)
        most = self._next + (count - self._k) * (nbytes + room) + MAX_DECODED
        if end > most:
            raise HeaderError(
                f"{self._name}: header and frames allow for {most} bytes at most, and more are compressed "
                "in the file; correct NZ in the header"
            )


class XzStream(io.RawIOBase):
    """Unpacks an xz file piece by piece; refuses one whose header asks for more than 1 GiB of memory.

    Parameters
    ----------
    file
        The compressed file.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._stream = file, lzma.LZMADecompressor(memlimit=_DICTIONARY)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, out: Any) -> int:
        """Unpack some bytes into a buffer; return their number, 0 at the end."""
        with memoryview(out).cast("B") as room:
            while True:
                if self._stream.eof:  # several streams may follow each other, with zeros between them
                    packed = (self._stream.unused_data or self._file.read(_BLOCK)).lstrip(b"\0")
                    if not packed:
                        return 0
                    self._stream = lzma.LZMADecompressor(memlimit=_DICTIONARY)
                else:
                    packed = self._file.read(_BLOCK) if self._stream.needs_input else b""
                    if self._stream.needs_input and not packed:
                        raise EOFError("it ends before its end marker")
                data = self._stream.decompress(packed, len(room))
                if data:
                    room[: len(data)] = data
                    return len(data)


class ZstdFrames(ByteSource):
    """Reads frames of an .mrcs.zst file of this package in any order; its sidecar says where each frame is.

    Parameters
    ----------
    packed
        The file; closed together with this.
    payload
        Payload of the sidecar.

    Raises
    ------
    FooterError, FormatError, TruncatedError, DamagedError
        The sidecar does not say it, or the header cannot be unpacked.
    """

    streamed = True

    def __init__(self, packed: ByteSource, payload: dict[str, Any]) -> None:
        self.name, self.path, self.beside = packed.name, None, packed.beside
        self._packed = packed
        self._head = _unpack(packed.read_at(0, min(ROOM, packed.size)), HEADER_SIZE, self.name)
        header = Header.parse(self._head, name=f"{self.name} (zstd)")
        self._nbytes = header.frame_nbytes
        self.size = header.data_offset + header.shape[0] * self._nbytes
        packed_frames = section(payload, "packed")
        columns = [packed_frames.get(key) for key in ("offset", "nbytes")]
        if not all(isinstance(column, list) and len(column) == header.shape[0] for column in columns):
            raise FooterError(
                f"{self.name}: its sidecar does not say where each of {header.shape[0]} frames is; "
                "copy both again"
            )
        self._places = list(zip(*columns, strict=True))

    @property
    def stored(self) -> int:
        """Size of the compressed file in bytes."""
        return self._packed.size

    def read_at(self, offset: int, count: int) -> bytes | memoryview:
        """Return the unpacked header or one unpacked frame; see `ByteSource`."""
        if offset + count <= len(self._head):
            return self._head[offset : offset + count]
        k, rest = divmod(offset - len(self._head), self._nbytes)
        if rest or count != self._nbytes or not 0 <= k < len(self._places):
            raise TruncatedError(f"{self.name}: has no frame of {count} bytes at {offset}; copy it again")
        raw = self._packed.read_at(*self._places[k])
        return _unpack(raw, count, f"{self.name}: frame {k}")

    def close(self) -> None:
        """Close the .mrcs.zst file."""
        self._packed.close()


def _unpack(raw: bytes | memoryview, count: int, name: str) -> bytes:
    """Unpack the first zstd frame; nothing is allocated for one that announces another size."""
    with unpacking(name, "zstd"), phase("decode", count):
        size = zstandard.frame_content_size(raw)
        if size != count:
            raise DamagedError(f"{name}: its zstd frame says {size} bytes, expected {count}; copy it again")
        return zstandard.ZstdDecompressor().decompress(raw, count, allow_extra_data=True)


@contextmanager
def unpacking(name: str, method: str) -> Iterator[None]:
    """Turn any exception of a library while it unpacks a file into an error that names the file."""
    try:
        yield
    except MrczDaskError:
        raise
    except EOFError as error:
        raise TruncatedError(
            f"{name}: its {method} stream is cut off ({error}); copy the file again"
        ) from error
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedError(
            f"{name}: its {method} stream is damaged ({error}); copy the file again"
        ) from error


def open_wrapped(packed: ByteSource, params: InputParams, complain: Complain) -> StackReader:
    """Open an MRC file compressed by gzip, bzip2, xz or zstd, to read its frames in little memory.

    MRCZ, and MRC with a footer, are unpacked to a temporary file when they are opened.

    Raises
    ------
    FormatError, TruncatedError, DamagedError, FooterError
        As `StackReader`; or it cannot be unpacked.
    """
    payload = read_sidecar(packed.beside) if packed.beside is not None else None
    source: Unpacked | ZstdFrames
    if payload is not None and "packed" in payload:
        source, method = ZstdFrames(packed, payload), "zstd"
    else:
        source = Unpacked(packed)
        method = source.method
    try:
        if isinstance(source, Unpacked):
            source.begin()
        reader = StackReader(source, mode0=params.mode0, complain=complain)
    except BaseException:
        source.close()
        raise
    reader.format = f"{reader.format} in {method}"
    return reader

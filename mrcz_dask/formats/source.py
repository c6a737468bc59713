"""Opens files and reads bytes at given offsets, from a path, a stream or bytes; safe from several threads."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO, Self

from mrcz_dask.values.checks import expect
from mrcz_dask.values.errors import FormatError, PlaceError, TruncatedError
from mrcz_dask.values.timing import phase

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
Readable = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


def open_file(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> int:
    """Open a regular file and return its descriptor; pipes and devices, which may block, are refused.

    A link is not followed to write: what it leads to may be another run's, or none of ours.

    Parameters
    ----------
    path
        Path of the file.
    flags
        As `os.open` takes them; with ``O_CREAT`` the file need not be there.

    Raises
    ------
    PlaceError
        It is a pipe, a socket or a device. Opening these may wait for ever, and reading never end. Or it is a
        link, to write.
    OSError
        It cannot be opened; a folder is an IsADirectoryError.
    """
    writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
    if writes and Path(path).is_symlink():
        raise PlaceError(f"{os.fspath(path)}: is a link, and would be written into; remove the link")
    if flags & os.O_CREAT and not Path(path).exists():
        kind = stat.S_IFREG
    else:
        kind = stat.S_IFMT(Path(path).stat().st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "a folder, expected a file", os.fspath(path))
    if kind == stat.S_IFREG:  # a pipe that takes its place now is not waited for
        flags |= os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if writes else 0)
        handle = os.open(path, flags, 0o666)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
    raise PlaceError(f"{os.fspath(path)}: is {_KINDS.get(kind, 'no file')}; expected a regular file")


def read_file(path: str | os.PathLike[str], most: int) -> bytes:
    """Read a whole file; more than `most` bytes are an error.

    Raises
    ------
    FormatError
        It is larger.
    PlaceError, OSError
        See `open_file`.
    """
    with os.fdopen(open_file(path), "rb") as stream:
        if (size := os.fstat(stream.fileno()).st_size) > most:
            raise FormatError(f"{os.fspath(path)}: has {size} bytes; expected at most {most}")
        return stream.read(size)


def read_bytes(handle: int, count: int, offset: int) -> bytes:
    """Read `count` bytes of an open file at an offset, fewer at its end; more than 2 GiB is possible."""
    parts: list[bytes] = []
    while count and (part := os.pread(handle, count, offset)):
        parts.append(part)
        count, offset = count - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Closing(ABC):
    """Base class of objects that a ``with`` block closes at its end."""

    @abstractmethod
    def close(self) -> None:
        """Release files and all else that is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class ByteSource:
    """Reads bytes at given offsets from a path, a stream or bytes; safe from several threads.

    Parameters
    ----------
    origin
        A path, bytes, or a seekable binary stream (which stays open, and is its owner's to close).

    Attributes
    ----------
    name
        Name of the file in error messages.
    path
        The path if there is one, else None.
    beside
        The path whose sidecar is about these bytes, else None.
    size
        Number of bytes.
    streamed
        Whether nobody should look at the end first, for a footer.
    sequential
        Whether bytes can only be had one after the other.
    """

    streamed = False
    sequential = False

    def __init__(self, origin: Readable) -> None:
        self.path: Path | None = None
        self.beside: Path | None = None
        self._bytes: memoryview | None = None
        self._stream: BinaryIO | None = None
        self._handle = -1
        self._lock = threading.Lock()
        if isinstance(origin, (bytes, bytearray, memoryview)):
            self._bytes = memoryview(origin).cast("B")
            self.name, self.size = "<bytes>", self._bytes.nbytes
        elif isinstance(origin, (str, os.PathLike)):
            self.path = self.beside = Path(origin)
            self._handle = open_file(self.path)
            self.name, self.size = str(self.path), os.fstat(self._handle).st_size
        else:
            if not hasattr(origin, "seek"):
                expect("path", origin, (str, os.PathLike), "a path, bytes, or a binary stream")
            self._stream = origin
            self.name, self.size = str(getattr(origin, "name", "<stream>")), origin.seek(0, os.SEEK_END)

    @property
    def stored(self) -> int:
        """Number of bytes on disk; fewer than `size` if they are compressed."""
        return self.size

    def read_at(self, offset: int, count: int) -> bytes | memoryview:
        """Return exactly `count` bytes from `offset`; fewer are an error.

        Raises
        ------
        TruncatedError
            The source ends before that; nothing is allocated for bytes that are not there.
        """
        if offset < 0 or count < 0 or offset + count > self.size:
            raise TruncatedError(
                f"{self.name}: wanted bytes {offset} to {offset + count}, but it ends at {self.size}"
            )
        if self._bytes is not None:
            return self._bytes[offset : offset + count]
        with phase("disk", count):
            if self._stream is not None:
                with self._lock:
                    self._stream.seek(offset)
                    data = self._stream.read(count)
            else:
                data = read_bytes(self._handle, count, offset)
        if len(data) != count:
            raise TruncatedError(f"{self.name}: became shorter while it was read")
        return data

    def close(self) -> None:
        """Close the file; a stream that the caller opened stays open."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Cursor(io.RawIOBase):
    """Wraps a `ByteSource` as a Python file object with a position, for libraries that need one."""

    def __init__(self, source: ByteSource) -> None:
        super().__init__()
        self._source, self._at = source, 0

    def readable(self) -> bool:
        """Return True, as libraries ask whether the file can be read."""
        return True

    def seekable(self) -> bool:
        """Return True, as libraries ask whether the position in the file can be set."""
        return True

    def tell(self) -> int:
        """Return the position in the file, in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position in the file and return it, in bytes."""
        self._at = (0, self._at, self._source.size)[whence] + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer from the position on, as far as there are bytes; return their number."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._source.size - self._at))
        view[:count] = self._source.read_at(self._at, count)
        self._at += count
        return count

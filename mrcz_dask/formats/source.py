"""Positioned reads from a path, a seekable binary stream or bytes; safe from several threads."""

from __future__ import annotations

import errno
import io
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO

from mrcz_dask.values.errors import TruncatedError
from mrcz_dask.values.timing import phase

Readable = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


def read_bytes(handle: int, count: int, offset: int) -> bytes:
    """Read bytes of an open file, fewer at its end; on Linux a single read ends at 2 GiB."""
    parts: list[bytes] = []
    while count and (part := os.pread(handle, count, offset)):
        parts.append(part)
        count, offset = count - len(part), offset + len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Source:
    """Bytes at an offset, without a shared position.

    Parameters
    ----------
    origin
        A path, bytes, or a seekable binary stream (which stays open, and is its owner's to close).

    Attributes
    ----------
    name
        What error messages call it.
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
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "a folder, expected a file", str(self.path))
            self._handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            self.name, self.size = str(self.path), os.fstat(self._handle).st_size
        else:
            self._stream = origin
            self.name, self.size = str(getattr(origin, "name", "<stream>")), origin.seek(0, os.SEEK_END)

    def read_at(self, offset: int, count: int) -> bytes | memoryview:
        """Return exactly `count` bytes from `offset`.

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
        """Close the file if this object opened it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Cursor(io.RawIOBase):
    """A position in a `Source`, for libraries that want a file."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source, self._at = source, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position and return it."""
        self._at = (0, self._at, self._source.size)[whence] + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer as far as there are bytes; return how many."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._source.size - self._at))
        view[:count] = self._source.read_at(self._at, count)
        self._at += count
        return count

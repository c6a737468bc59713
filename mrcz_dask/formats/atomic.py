"""Files that appear whole or not at all: a temporary name beside the target, fsync, rename."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from mrcz_dask.values.errors import SpaceError
from mrcz_dask.values.timing import phase

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class AtomicFile:
    """A file written under a hidden name beside its target until `commit`.

    Parameters
    ----------
    path
        The target; replaced as a whole by `commit`.
    durable
        Whether `commit` waits until file and folder are on the disk.

    Raises
    ------
    SpaceError
        The folder is missing or cannot be written, or the target is a folder.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable: bool = True) -> None:
        self.path = Path(path)
        self.durable = durable
        self.stream, self._temporary = _open_beside(self.path)
        self._open = True

    def commit(self) -> None:
        """Give the file its name; from here on readers see it whole."""
        with phase("disk"):
            self._commit()

    def _commit(self) -> None:
        try:
            self.stream.flush()
            if self.durable:
                os.fsync(self.stream.fileno())
            self.stream.close()
            self._temporary.replace(self.path)
        except OSError as error:
            self.discard()
            raise explain(error, self.path) from error
        self._open = False
        if self.durable:
            sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove what was written; the target stays as it was."""
        if self._open:
            self._open = False
            with suppress(OSError):  # a full disk refuses the buffered rest once more
                self.stream.close()
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
            return
        self.discard()
        if isinstance(error, OSError) and error.errno in _FULL:
            raise explain(error, self.path) from error


def write_atomic(path: str | os.PathLike[str], data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path` so that a reader sees all of it or what was there before.

    Raises
    ------
    SpaceError
        The folder is missing, full or cannot be written, or `path` is a folder.
    """
    with AtomicFile(path, durable=durable) as file:
        file.stream.write(data)


def explain(error: OSError, path: Path) -> OSError:
    """Return the error as a SpaceError that names the file and the remedy."""
    if isinstance(error, SpaceError):
        return error
    remedy = "free some space or choose another folder" if error.errno in _FULL else "choose another folder"
    return SpaceError(f"cannot write {path}: {error.strerror or error}; {remedy}")


def _open_beside(path: Path) -> tuple[BinaryIO, Path]:
    if path.is_dir():
        raise SpaceError(f"cannot write {path}: it is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise SpaceError(f"cannot write {path}: the folder {path.parent} is not there; make it first")
    # names are limited to 255 bytes, and a name may already be close to that
    stem = path.name.encode()[:200].decode(errors="ignore")
    temporary = path.with_name(f".{stem}.{secrets.token_hex(6)}.part")
    try:
        return cast(BinaryIO, temporary.open("x+b")), temporary
    except OSError as error:
        raise explain(error, path) from error


def sync_folder(folder: Path) -> None:
    """Wait until the names of a folder's files are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)

"""Writes files and folders so that they appear whole or not at all: under a hidden name first,
then renamed.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from mrcz_dask.formats.places import is_zarr
from mrcz_dask.values.checks import expect
from mrcz_dask.values.errors import SpaceError
from mrcz_dask.values.timing import phase

Target = str | os.PathLike[str] | BinaryIO
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ATTEMPTS = 1000  # each that fails is a success of another writer


class AtomicFile:
    """Writes a file under a hidden name beside its target; `commit` renames it,
    so that nobody sees half a file.

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
        check_target(self.path)
        if self.path.is_dir():
            raise SpaceError(f"cannot write {path}: it is a folder; give the name of a file in it")
        self._temporary = _temporary_path(self.path)
        try:
            self.stream: BinaryIO = cast(BinaryIO, self._temporary.open("x+b"))
        except OSError as error:
            raise explain(error, self.path) from error
        self._open = True

    def commit(self) -> None:
        """Rename the finished file to its target, so that readers see it whole."""
        with phase("disk"):
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
        """Delete the unfinished file; what was at the target stays."""
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


class AtomicStream:
    """Writes to a temporary file; `commit` copies it into the caller's open stream,
    in place of the old content.
    """

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.stream: BinaryIO = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed by commit or discard

    def commit(self) -> None:
        """Replace the content of the caller's stream, from its first byte."""
        self.stream.seek(0)
        self._target.seek(0)
        self._target.truncate()
        shutil.copyfileobj(self.stream, self._target, 1 << 20)
        self._target.flush()
        self.stream.close()

    def discard(self) -> None:
        """Close the temporary file; the caller's stream stays as it is."""
        self.stream.close()


def open_sink(target: Target, *, durable: bool) -> AtomicFile | AtomicStream:
    """Open a path or a binary stream for writing, in such a way that nobody sees an unfinished file.

    Raises
    ------
    SpaceError
        The folder is missing or cannot be written, or the target is a folder.
    """
    if isinstance(target, (str, os.PathLike)):
        return AtomicFile(target, durable=durable)
    return AtomicStream(target)


def target_path(target: Target) -> Path | None:
    """Return the path of an output, or None if it is a stream."""
    if not hasattr(target, "seek"):
        expect("path", target, (str, os.PathLike), "a path or a binary stream")
    return Path(target) if isinstance(target, (str, os.PathLike)) else None


def write_atomic(path: str | os.PathLike[str], data: bytes, *, durable: bool = True) -> None:
    """Write bytes to a file so that a reader sees either all of them or the file as it was before.

    Raises
    ------
    SpaceError
        The folder is missing, full or cannot be written, or `path` is a folder.
    """
    with AtomicFile(path, durable=durable) as file:
        file.stream.write(data)


class AtomicFolder:
    """Writes a Zarr store under a hidden name beside its target; `commit` renames it when it is whole.

    Parameters
    ----------
    path
        The target; an older store there is replaced as a whole by `commit`.
    durable
        Whether files are on the disk before the folder gets its name.

    Attributes
    ----------
    place
        The hidden folder.

    Raises
    ------
    SpaceError
        The folder around it is missing or cannot be written, or the target is something else than a store.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path, self._durable = Path(path), durable
        _check_store(self.path)
        self.place = _temporary_path(self.path)
        try:
            self.place.mkdir()
        except OSError as error:
            raise explain(error, self.path) from error

    def write(self, inside: str, data: bytes | memoryview) -> None:
        """Write one file inside the unfinished folder.

        Raises
        ------
        SpaceError
            The disk is full.
        """
        file = self.place / inside
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with phase("disk", len(data)), file.open("wb") as stream:
                stream.write(data)
                if self._durable:
                    stream.flush()
                    start_writeback(stream, 0, 0)
        except OSError as error:
            raise explain(error, self.path) from error

    def commit(self) -> None:
        """Rename the finished folder to its target, so that readers see it whole."""
        with phase("disk"):
            if self._durable:
                for folder, _, files in os.walk(self.place, topdown=False):
                    for path in (*(Path(folder, name) for name in files), Path(folder)):
                        sync_folder(path)
            replace_store(self.place, self.path)
            if self._durable:
                sync_folder(self.path.parent)

    def discard(self) -> None:
        """Delete the unfinished folder; what was at the target stays."""
        shutil.rmtree(self.place, ignore_errors=True)


def replace_store(place: Path, target: Path) -> None:
    """Rename the folder `place` to `target`, and delete a Zarr store that had this name.

    Raises
    ------
    SpaceError
        It cannot be renamed, or something else than a store has the name.
    """
    _check_store(target)
    old = _temporary_path(target)
    try:
        if target.exists():
            target.rename(old)
        try:
            place.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    except OSError as error:
        raise explain(error, target) from error
    shutil.rmtree(old, ignore_errors=True)


def replace_by_any(temporary: Path, target: Path) -> None:
    """Rename a folder to `target`, also while equal tasks do the same; one that is there gives way.

    Raises
    ------
    SpaceError
        Others replace it again and again.
    """
    old = temporary.with_name(temporary.name + "-old")
    try:
        for _ in range(_ATTEMPTS):
            try:
                temporary.rename(target)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            with suppress(FileNotFoundError):  # the same task, run twice, was there first
                target.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        raise SpaceError(f"{target}: is replaced again and again; run one job at a time in this folder")
    finally:
        shutil.rmtree(old, ignore_errors=True)


def explain(error: OSError, path: Path) -> OSError:
    """Return a SpaceError for a failed write of a file, whose message names the file and the remedy."""
    if isinstance(error, SpaceError):
        return error
    remedy = "free some space or choose another folder" if error.errno in _FULL else "choose another folder"
    return SpaceError(f"cannot write {path}: {error.strerror or error}; {remedy}")


def start_writeback(stream: BinaryIO, start: int, count: int) -> None:
    """Ask the system to start writing part of a new file to disk, so that less is left for the end."""
    if hasattr(os, "posix_fadvise"):
        # of pages that are not on the disk yet this begins to write, and drops none
        os.posix_fadvise(stream.fileno(), start, count, os.POSIX_FADV_DONTNEED)


def check_target(path: Path) -> None:
    """Raise an error if no output can be written at a path: folder missing, or a pipe, device or broken link.

    Raises
    ------
    SpaceError
        Names what is there.
    """
    if not path.parent.is_dir():
        raise SpaceError(f"cannot write {path}: the folder {path.parent} is not there; make it first")
    if path.is_symlink() and not path.exists():
        raise SpaceError(f"cannot write {path}: it is a link that leads nowhere; mend or remove the link")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise SpaceError(f"cannot write {path}: it is a pipe, socket or device; remove it")


def _check_store(path: Path) -> None:
    check_target(path)
    # a folder may have the chunks of a Zarr array and nothing else, as its metadata are gone
    is_left = path.suffix == ".zarr" and path.is_dir() and {entry.name for entry in path.iterdir()} <= {"c"}
    if path.exists() and not (is_left or is_zarr(path)):
        raise SpaceError(f"cannot write {path}: it is there and no Zarr store; give another name")


def _temporary_path(path: Path) -> Path:
    # names are limited to 255 bytes, and a name may already be close to that
    stem = path.name.encode()[:200].decode(errors="ignore")
    return path.with_name(f".{stem}.{secrets.token_hex(6)}.part")


def sync_folder(path: Path) -> None:
    """Wait until the file names in a folder, or a file's bytes, are safe on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)

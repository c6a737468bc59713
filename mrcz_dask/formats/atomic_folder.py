"""Folders that appear whole or not at all, as `atomic` has it for files."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from mrcz_dask.formats.atomic import explain
from mrcz_dask.formats.places import is_zarr
from mrcz_dask.values.errors import SpaceError
from mrcz_dask.values.timing import phase


class AtomicFolder:
    """A Zarr store written under a hidden name beside its target until `commit`.

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
        check_store(self.path)
        self.place = _beside(self.path)
        try:
            self.place.mkdir()
        except OSError as error:
            raise explain(error, self.path) from error

    def write(self, inside: str, data: bytes | memoryview) -> None:
        """Write a file of the folder.

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
                self._send_off(stream)
        except OSError as error:
            raise explain(error, self.path) from error

    def commit(self) -> None:
        """Give the folder its name; from here on readers see it whole."""
        with phase("disk"):
            if self._durable:
                for folder, _, files in os.walk(self.place, topdown=False):
                    for one in (*(Path(folder, name) for name in files), Path(folder)):
                        _settle(one)
            replace_store(self.place, self.path)
            if self._durable:
                _settle(self.path.parent)

    def _send_off(self, stream: BinaryIO) -> None:
        """Let the disk begin, so that at the end there is little to wait for."""
        if self._durable and hasattr(os, "posix_fadvise"):
            stream.flush()
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def discard(self) -> None:
        """Remove what was written; the target stays as it was."""
        shutil.rmtree(self.place, ignore_errors=True)


def check_store(path: Path) -> None:
    """Return if a Zarr store may be put at a path: nothing is there, or an older store.

    Raises
    ------
    SpaceError
        Something else is there, or there is no folder for it.
    """
    if not path.parent.is_dir():
        raise SpaceError(f"cannot write {path}: the folder {path.parent} is not there; make it first")
    if path.exists() and not is_zarr(path):
        raise SpaceError(f"cannot write {path}: it is there and no Zarr store; give another name")


def replace_store(place: Path, target: Path) -> None:
    """Give a folder its name; a store that has it is removed.

    Raises
    ------
    SpaceError
        It cannot be renamed, or something else than a store has the name.
    """
    check_store(target)
    old = _beside(target)
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


def _beside(path: Path) -> Path:
    stem = path.name.encode()[:200].decode(errors="ignore")
    return path.with_name(f".{stem}.{secrets.token_hex(6)}.part")


def _settle(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)

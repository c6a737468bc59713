"""Outputs that replace inputs, read back before anybody sees them; and what killed workers leave behind."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from mrcz_dask.formats.digest import PixelDigest
from mrcz_dask.formats.reader import StackReader, open_reader
from mrcz_dask.formats.sources import FrameSource
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.timing import phase

# What AtomicFile, `read_back` and the session store call files on their way.
_ON_ITS_WAY = re.compile(r"\.(?P<name>.*)\.[0-9a-f]{12,32}\.part(?:\.mrcz)?", re.DOTALL)
_STORE_ON_ITS_WAY = re.compile(r"\.session\.zarr-[0-9a-f]{32}(?:-old)?")
_LONGEST = 200


@contextmanager
def read_back(target: Path, digest: str | Callable[[], str], *, bytes_alone: bool = False) -> Iterator[Path]:
    """Give a hidden place for an output; it gets its name only if its pixels have the digest.

    Parameters
    ----------
    target
        The name that it gets, replacing what is there.
    digest
        Of shape, dtype and pixels; or what gives it when the block is over.
    bytes_alone
        The digest is that of the frames' stored bytes, and nothing is decoded.

    Raises
    ------
    DamagedError
        It gives other pixels when it is read; nothing of it remains.
    """
    stem = target.stem.encode()[:_LONGEST].decode(errors="ignore")
    place = target.with_name(f".{stem}.{uuid.uuid4().hex}.part.mrcz")
    try:
        yield place
        expected = digest if isinstance(digest, str) else digest()
        with open_reader(place) as reader:
            found = chunk_digest(reader) if bytes_alone else pixel_digest(reader)
        if found != expected:
            raise DamagedError(
                f"{target}: read back with digest {found}, expected {expected}; it was not kept: "
                "keep the input, and check disk and memory"
            )
        place.replace(target)
    finally:
        place.unlink(missing_ok=True)


def pixel_digest(reader: FrameSource) -> str:
    """Return the digest over shape, dtype and pixels of a stack."""
    digest = PixelDigest(reader.shape, reader.dtype)
    with phase("sum"):
        for frame in reader:
            digest.update(frame)
    return digest.hexdigest()


def chunk_digest(reader: StackReader) -> str:
    """Return xxh3-128 over the frames' bytes as they are stored."""
    digest = xxhash.xxh3_128()
    with phase("sum"):
        for k in range(len(reader)):
            digest.update(reader.stored_chunk(k))
    return digest.hexdigest()


@contextmanager
def swept(folder: Path, stems: Iterable[str]) -> Iterator[None]:
    """Remove, at the end, what workers that were killed have left of these stacks' outputs."""
    try:
        yield
    finally:
        if folder.is_dir():
            _sweep(folder, tuple(f"{stem.encode()[:_LONGEST].decode(errors='ignore')}" for stem in stems))


def _sweep(folder: Path, stems: tuple[str, ...]) -> None:
    with os.scandir(folder) as found:
        names = [entry.name for entry in found if entry.name.startswith(".")]
    for name in names:
        half = _ON_ITS_WAY.fullmatch(name)
        if half and half["name"].lstrip(".").startswith(stems):
            (folder / name).unlink(missing_ok=True)
        elif _STORE_ON_ITS_WAY.fullmatch(name):
            shutil.rmtree(folder / name, ignore_errors=True)

"""Outputs that replace inputs, read back before anybody sees them; and what killed workers leave behind."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from mrcz_dask.formats.atomic_folder import replace_store
from mrcz_dask.formats.digest import PixelDigest
from mrcz_dask.formats.mrc.reader import StackReader, open_reader
from mrcz_dask.formats.places import stem_of, suffix_of
from mrcz_dask.formats.sidecar import read_sidecar, sidecar, sidecar_path
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.formats.writers import SUFFIXES
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.timing import phase

_ENDS = "|".join(re.escape(suffix) for suffix in SUFFIXES.values())
# What AtomicFile, AtomicFolder, `read_back` and the session store call files on their way.
_ON_ITS_WAY = re.compile(
    rf"\.(?P<name>.*)\.[0-9a-f]{{12,32}}\.part(?:(?:{_ENDS}|\.mrc)(?:\.json)?)?", re.DOTALL
)
_STORE_ON_ITS_WAY = re.compile(r"\.session\.zarr-[0-9a-f]{32}(?:-old)?")
_LONGEST = 200


@contextmanager
def read_back(
    target: Path,
    digest: str | Callable[[], str],
    *,
    bytes_alone: bool = False,
    reverse_rows: bool = False,
) -> Iterator[Path]:
    """Give a hidden place for an output; it gets its name only if its pixels have the digest.

    Parameters
    ----------
    target
        The name that it gets, with its sidecar or as a folder, replacing what is there. Its suffix says what
        it is.
    digest
        Of shape, dtype and pixels; or what gives it when the block is over.
    bytes_alone
        The digest is that of the frames' stored bytes, and nothing is decoded.
    reverse_rows
        The digest is that of the frames before their rows were reversed.

    Raises
    ------
    DamagedError
        It gives other pixels when it is read; nothing of it remains.
    """
    stem = stem_of(target.name).encode()[:_LONGEST].decode(errors="ignore")
    place = target.with_name(f".{stem}.{uuid.uuid4().hex}.part{suffix_of(target.name)}")
    try:
        yield place
        expected = digest if isinstance(digest, str) else digest()
        found = _digest(place, bytes_alone=bytes_alone, reverse_rows=reverse_rows)
        if found != expected:
            raise DamagedError(
                f"{target}: read back with digest {found}, expected {expected}; it was not kept: "
                "keep the input, and check disk and memory"
            )
        _name(place, target)
    finally:
        sidecar_path(place).unlink(missing_ok=True)
        _remove(place)


def _digest(place: Path, *, bytes_alone: bool, reverse_rows: bool) -> str:
    if bytes_alone:
        with open_reader(place) as stored:
            return chunk_digest(stored)
    with open_source(place) as reader:
        return pixel_digest(reader, reverse_rows=reverse_rows)


def _name(place: Path, target: Path) -> None:
    """Give an output its name; a sidecar comes before its file, see `sidecar`."""
    if place.is_dir():
        replace_store(place, target)
        return
    with sidecar(target, read_sidecar(place)):
        place.replace(target)


def pixel_digest(reader: FrameSource, *, reverse_rows: bool = False) -> str:
    """Return the digest over shape, dtype and pixels of a stack, or of it with the rows reversed."""
    digest = PixelDigest(reader.shape, reader.dtype)
    with phase("sum"):
        for frame in reader:
            digest.update(frame[::-1] if reverse_rows else frame)
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
        by_folder: defaultdict[Path, list[str]] = defaultdict(list, {folder: []})
        for path in (folder / stem for stem in stems):
            by_folder[path.parent].append(path.name.encode()[:_LONGEST].decode(errors="ignore"))
        for one, names in by_folder.items():
            if one.is_dir():
                _sweep(one, tuple(names))


def _sweep(folder: Path, stems: tuple[str, ...]) -> None:
    with os.scandir(folder) as found:
        names = [entry.name for entry in found if entry.name.startswith(".")]
    for name in names:
        half = _ON_ITS_WAY.fullmatch(name)
        ours = half is not None and half["name"].lstrip(".").startswith(stems)
        if not ours and not _STORE_ON_ITS_WAY.fullmatch(name):
            continue
        _remove(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

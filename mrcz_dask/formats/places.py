"""Derives from a stack's path its format, inner array and output name; measures size and time of change."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import NamedTuple
from unicodedata import normalize

WRAPPERS = (".gz", ".bz2", ".xz", ".zst")
MRC = (".mrcz", ".mrc", ".mrcs")
ZARR = (".zarr",)
_WRAPPED = tuple(end + wrapper for end in MRC for wrapper in WRAPPERS)
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
_INSIDE = "::"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A format that `open_source` opens beside MRC; one entry of `FORMATS` is all of its registration.

    Attributes
    ----------
    suffixes
        Endings of names, in lower case.
    opener
        ``module:function`` below `mrcz_dask.formats.foreign`, loaded when a file is opened. It is called with
        the source, the place in the file, the input parameters, and what to do with complaints.
    magic
        First bytes of a file; empty for a folder, and where another format's opener tells the two apart.
    holds_several
        Whether a file may hold several stacks, so that ``::/path`` names one.
    reversed_rows
        Whether RELION, IMOD and MotionCor reverse its rows when they read it.
    timed_by_writer
        Whether its time may be that of a script that wrote the file again.
    """

    suffixes: tuple[str, ...]
    opener: str
    magic: tuple[bytes, ...] = ()
    holds_several: bool = False
    reversed_rows: bool = False
    timed_by_writer: bool = False


FORMATS = {
    "TIFF": FileFormat(
        (".tif", ".tiff"),
        "eer:open_tiff",
        (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        reversed_rows=True,
        timed_by_writer=True,
    ),
    "EER": FileFormat((".eer",), "eer:open_tiff"),
    "DM": FileFormat((".dm3", ".dm4"), "dm:open_dm", (b"\0\0\0\x03", b"\0\0\0\x04")),
    "HDF5": FileFormat(
        (".h5", ".hdf5", ".hdf", ".emd"), "arrays:open_hdf5", (b"\x89HDF\r\n\x1a\n",), holds_several=True
    ),
    "Zarr": FileFormat(ZARR, "arrays:open_zarr", holds_several=True),
}
KINDS = {"MRC": (*MRC, *_WRAPPED)} | {name: known.suffixes for name, known in FORMATS.items()}
INPUT_SUFFIXES = tuple(end for ends in KINDS.values() for end in ends)
_others = ", ".join(end for known in FORMATS.values() for end in known.suffixes)
LOOKED_FOR = f"{', '.join(MRC)} (these also within {', '.join(WRAPPERS)}), {_others}"


class Measured(NamedTuple):
    """Size in bytes and last modification (ns since 1970) of a file, or of all files in a folder."""

    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Place:
    """Path of a stack: a file or folder, and the array's path inside it (HDF5 and Zarr; empty:
    found by itself).
    """

    path: Path
    inside: str = ""

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Place:
        """Split a path such as ``file.h5::/entry/data`` into file and inner path;
        an existing file so named is not split.
        """
        text = os.fspath(path)
        before, mark, inside = text.partition(_INSIDE)
        if not mark or Path(text).exists():
            return cls(Path(text))
        return cls(Path(before), inside.strip("/") or "/")


def is_zarr(path: Path) -> bool:
    """Return True if a folder is a Zarr array or group."""
    return any((path / name).is_file() for name in ZARR_FILES)


def suffix_of(name: str) -> str:
    """Return a file name's suffix in lower case; of compressed files both parts, such as ``.mrc.gz``."""
    path = Path(name.casefold())
    return "".join(path.suffixes[-2:]) if path.suffix in WRAPPERS else path.suffix


def stem_of(name: str) -> str:
    """Return a stack's file name without folder and suffix, after which its outputs are named."""
    path = Path(name)
    return path.name[: len(path.name) - len(suffix_of(path.name))] or path.name


def stems_of(names: Sequence[str]) -> list[str]:
    """Return a different output name for each stack: its name without suffix, or with it where two are alike.

    Names are alike that a file system may take for one: which differ only in case, or in how Unicode spells
    a letter.
    """
    stems = [name.removesuffix(file) + stem_of(file) for name in names for file in [Path(name).name]]
    spellings = Counter(_as_one(name) for name in set(names))
    own = [distinct_name(name) if spellings[_as_one(name)] > 1 else name for name in names]
    while len(set(map(_as_one, stems))) < len(set(names)):
        counts = Counter(
            map(_as_one, stems)
        )  # with its suffix it may be called as another: a.mrc, a.mrc.mrcz
        stems = [name if counts[_as_one(stem)] > 1 else stem for name, stem in zip(own, stems, strict=True)]
    return stems


def distinct_name(name: str) -> str:
    """Return a stack's name with a digest of it, after which outputs are named where case alone differs."""
    return f"{name}-{blake2b(os.fsencode(name), digest_size=6).hexdigest()}"


def _as_one(name: str) -> str:
    return normalize("NFC", normalize("NFD", name).casefold())


def expected_kind(name: str) -> str | None:
    """Return the file format that a name's suffix stands for, or None."""
    return next((kind for kind, ends in KINDS.items() if suffix_of(name) in ends), None)


def rows_are_reversed(format: str) -> bool:
    """Return whether RELION, IMOD and MotionCor reverse the rows of a format when they read it."""
    return format in FORMATS and FORMATS[format].reversed_rows


def is_text(path: str | os.PathLike[str]) -> bool:
    """Return True if a path can be encoded as UTF-8, so that outputs and logs can hold it."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_inside(name: str) -> bool:
    """Return whether a name in a file stays in the file's folder or below: no ``..``, not absolute."""
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path with all symbolic links followed; links in a circle are left as they are."""
    return Path(os.path.realpath(path))


def measure(path: str | os.PathLike[str]) -> Measured:
    """Return size and time of the last modification of a stack's file or folder, to notice changes.

    Raises
    ------
    OSError
        It is not there.
    """
    place = Place.of(path).path
    status = place.stat()
    if not place.is_dir():
        return Measured(status.st_size, status.st_mtime_ns)
    files = [path.stat() for path in place.rglob("*") if path.is_file()]
    return Measured(sum(file.st_size for file in files), max((file.st_mtime_ns for file in files), default=0))

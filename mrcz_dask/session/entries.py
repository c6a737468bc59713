"""Records of the files in a session's folder: stacks, and files that are no stacks, with reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrcz_dask.formats.frames import FirstRow
from mrcz_dask.values.texts import readable, visible

TimeSource = Literal["mdoc", "header", "name", "mtime"]

PixelSizeSource = Literal["header", "footer", "mdoc"]


@dataclass(frozen=True, slots=True)
class Acquired:
    """The acquisition time of a stack, and which source it was taken from.

    Attributes
    ----------
    time
        Local time of the microscope, without a zone.
    source
        Where it was found: ``mdoc``, ``header``, ``name`` or ``mtime``.
    others
        Times from the other sources; without ``mtime``, which every copy changes.
    """

    time: datetime
    source: TimeSource
    others: tuple[tuple[TimeSource, datetime], ...] = ()

    def __str__(self) -> str:
        return f"{self.time.isoformat(' ', 'seconds')} ({self.source})"


@dataclass(frozen=True, slots=True)
class StackEntry:
    """Record of one stack of a session: path, shape, pixel type, acquisition time, metadata.

    Attributes
    ----------
    path
        Absolute path.
    name
        Path relative to the session's folder, with forward slashes.
    shape
        (frames, y, x).
    dtype
        Type of the pixels as they are stored.
    size
        Bytes of the file.
    mtime_ns
        Its modification time, in nanoseconds since 1970.
    stem
        Stem of its outputs, relative to their folder: `name` without suffix, or with it where two
        formats of one name are there.
    acquired
        When it was taken, and what says so.
    pixel_size
        Edge of a pixel in Angstrom, or None; `pixel_size_source` says what says so.
    mdoc
        Path of its .mdoc, or None.
    tilt, place
        Tilt angle in degrees, stage position and image shift together (x, y, um); None where no .mdoc says
        it.
    series, series_from
        Name of its tilt series, and the .mdoc or STAR file that lists it; '' where none does.
    codec
        Name of the codec that the header gives, or None if the frames are not compressed.
    meta
        The metadata of the footer or extended header.
    format, first_row
        Format of the file, and whether its row 0 is at the ``bottom`` of the image or at the ``top``.
    """

    path: Path
    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    size: int
    mtime_ns: int
    stem: str
    acquired: Acquired
    pixel_size: float | None = None
    pixel_size_source: PixelSizeSource | None = None
    mdoc: Path | None = None
    tilt: float | None = None
    place: tuple[float, float] | None = None
    series: str = ""
    series_from: str = ""
    codec: str | None = None
    meta: dict[str, Any] = field(default_factory=dict, hash=False)
    format: str = "MRC"
    first_row: FirstRow = "bottom"

    @property
    def kind(self) -> str:
        """Frame size and sort of pixels, such as ``480 x 464 integer``; the same in all of a session."""
        sort = "integer" if self.dtype.kind in "iu" else "float"
        return f"{' x '.join(map(str, self.shape[1:]))} {sort}"


def relative_name(path: Path, folder: Path) -> str:
    """Return a path relative to a folder that contains it, with forward slashes on every system."""
    return path.as_posix().removeprefix(folder.as_posix().rstrip("/") + "/")


@dataclass(frozen=True, slots=True)
class Skipped:
    """Record of a file that is rightly no stack (a gain reference, an output, ...), with the reason."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class SingleFrame(Skipped):
    """Record of a file of one frame: an image to skip, unless it is like the session's stacks.

    Attributes
    ----------
    kind
        (y, x) and type of its pixels, and whether their mean is near 1, as of a gain reference; None where
        its name says that it is one, or a picture.
    """

    kind: tuple[tuple[int, ...], np.dtype[Any], bool] | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Record of a file that should be a stack of the session but cannot be used, with the reason."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """The stacks found in a session's folder, in order of acquisition time, with skipped and rejected files.

    Attributes
    ----------
    folder
        The session's folder, absolute.
    stacks
        In order of acquisition, all of one shape and of integers or floats alike.
    skipped
        Gain references, images, outputs, excluded files.
    rejected
        Bad files: a run that leaves them out is not a whole one.
    warnings
        Doubts about the order.
    """

    folder: Path
    stacks: tuple[StackEntry, ...]
    skipped: tuple[Skipped, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape that all stacks have: (frames, y, x)."""
        return self.stacks[0].shape

    def name_of(self, path: Path) -> str:
        """Return a file's name in this session: its path relative to the folder, with forward slashes."""
        return relative_name(path, self.folder)

    @property
    def size(self) -> int:
        """Total size of the stacks' files, bytes."""
        return sum(stack.size for stack in self.stacks)

    def left_out(self) -> dict[str, Any]:
        """Return skipped and rejected files, with reasons, and the warnings as plain values, for JSON."""
        kinds: dict[str, tuple[Skipped | Rejected, ...]]
        kinds = {"skipped": self.skipped, "rejected": self.rejected}
        named = {
            kind: [{"name": self.name_of(file.path), "reason": file.reason} for file in files]
            for kind, files in kinds.items()
        }
        return {**named, "warnings": list(self.warnings)}

    def __str__(self) -> str:
        return "\n".join(map(visible, self.lines()))

    def lines(self) -> Iterator[str]:
        """Yield lines of text that tell the user which files were found, skipped and rejected."""
        yield f"{len(self.stacks)} stacks of {self.stacks[0].kind} ({readable(self.size)}) in {self.folder}"
        yield from (f"  {stack.acquired}  {stack.name}" for stack in self.stacks)
        yield from (f"skipped: {self.name_of(file.path)}: {file.reason}" for file in self.skipped)
        yield from (f"rejected: {file.reason}" for file in self.rejected)
        yield from (f"warning: {text}" for text in self.warnings)

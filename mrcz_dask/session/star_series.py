"""Finds the tilt series of stacks in STAR files: those of Warp (.tomostar) and of RELION 5 (tilt_series)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path, PureWindowsPath

from mrcz_dask.formats.places import stem_of
from mrcz_dask.formats.source import read_file
from mrcz_dask.formats.text.star import read_star
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.values.errors import MrczDaskError

# Columns with the movie's file, and those that only a tilt series has.
MOVIES = ("wrpMovieName", "rlnMicrographMovieName", "rlnMicrographName")
ANGLES = ("wrpAngleTilt", "rlnTomoNominalStageTiltAngle", "rlnTomoYTilt")
FOLDERS = (".", "..", "tomostar", "tilt_series", "../tomostar", "../tilt_series")
LARGEST = 1 << 26


def with_star_series(root: Path, stacks: Sequence[StackEntry]) -> tuple[list[StackEntry], list[str]]:
    """Give stacks that no .mdoc lists the name of the tilt series whose STAR file lists their movie.

    Parameters
    ----------
    root
        The session's folder. STAR files are looked for in it, in the folder above, and in ``tomostar`` and
        ``tilt_series`` of both.
    stacks
        The stacks found there.

    Returns
    -------
    tuple
        The stacks, and which STAR files cannot be read.
    """
    series: dict[str, tuple[str, str]] = {}
    doubts = []
    for folder in FOLDERS:
        with suppress(OSError):
            for path in sorted(chain((root / folder).glob("*.tomostar"), (root / folder).glob("*.star"))):
                try:
                    status = path.stat()
                    found = _series_in(path, status.st_size, status.st_mtime_ns)
                except (MrczDaskError, OSError) as error:
                    doubts.append(
                        f"{path.name}: no STAR file that can be read, tells no tilt series: {error}"
                    )
                else:
                    for stem, name in found:
                        series.setdefault(stem, (name, path.name))
    named = []
    for stack in stacks:
        name, file = series.get(stem_of(stack.path.name).casefold(), ("", ""))
        named.append(replace(stack, series=name, series_from=file) if name and not stack.series else stack)
    return named, doubts


@lru_cache(maxsize=1 << 12)
def _series_in(path: Path, size: int, mtime_ns: int) -> tuple[tuple[str, str], ...]:
    """Return the stems of movies in a STAR file, and their series; a changed file is read again."""
    return tuple(_rows(path))


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    for block, table in read_star(read_file(path, LARGEST).decode("utf-8", "replace")).items():
        movies = next((table[label] for label in MOVIES if label in table), None)
        if movies is not None and any(label in table for label in ANGLES):
            for movie in movies:
                yield stem_of(PureWindowsPath(movie).name).casefold(), block or path.stem

"""Groups the stacks that show the same specimen, also by STAR files of tilt series (Warp, RELION 5)."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain, product
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from mrcz_dask.formats.places import stem_of
from mrcz_dask.formats.source import read_file
from mrcz_dask.formats.text.star import read_star
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.values.errors import MrczDaskError
from mrcz_dask.values.params import Groups

# A running number, and the angle behind it or in brackets: SerialEM and PACE-tomo (ts_001_003_-9.0), Tomo 5
# (Position_1_001_0.00_20261014_190633_fractions), and Tomo 4 (tomo_1[-9.00]).
_TILTS = (
    re.compile(r"(?P<series>.+?)(_\d{1,4})?_[-+]?\d{1,2}\.\d{1,2}(?=_|$).*"),
    re.compile(r"(?P<series>.+?)\[[-+]?\d{1,2}\.?\d*\].*"),
)
_HOLE = re.compile(r"(?P<hole>.*FoilHole_\d+)_Data_")
# Degrees by which angles of one tilt differ at most.
SAME_ANGLE = 0.5
MICRON = 1e4  # Angstrom
WILDCARDS = set("*?[")
StagePosition = tuple[float, float]
# Columns with the movie's file, and those that only a tilt series has.
MOVIES = ("wrpMovieName", "rlnMicrographMovieName", "rlnMicrographName")
ANGLES = ("wrpAngleTilt", "rlnTomoNominalStageTiltAngle", "rlnTomoYTilt")
FOLDERS = (".", "..", "tomostar", "tilt_series", "../tomostar", "../tilt_series")
LARGEST = 1 << 26


@dataclass(frozen=True, slots=True)
class Group:
    """Name of a group of stacks that show the same specimen, and the evidence, such as a name."""

    name: str
    reason: str


class Grouping:
    """Finds the group of each stack from .mdoc files and names, one stack after the other in order of time.

    A stack's group depends on earlier stacks alone, so that a session that is followed while it grows has the
    groups of a finished one.

    Parameters
    ----------
    groups
        ``auto``, ``none``, or pairs of a name or pattern of names and a group. Names go before patterns, of
        which the first that matches counts.
    """

    def __init__(self, groups: Groups = "auto") -> None:
        self._auto, by_hand = groups == "auto", () if isinstance(groups, str) else groups
        self._names = dict(reversed(by_hand))
        self._patterns = [(pattern, group) for pattern, group in by_hand if WILDCARDS & set(pattern)]
        self._angles: list[float] = []  # of the tilt series that is recorded, if no name or file tells it
        self._series = 0
        # the first stack of each group, by the field of view that it lies in
        self._places: defaultdict[tuple[int, ...], list[tuple[StagePosition, Group]]] = defaultdict(list)

    def find(self, entry: StackEntry) -> tuple[Group, ...]:
        """Return the groups of stacks with the same specimen that the next stack belongs to."""
        if not self._auto:
            names = entry.name, entry.stem, PurePosixPath(entry.name).name
            literal = (self._names[name] for name in names if name in self._names)
            matching = (group for p, group in self._patterns if any(fnmatchcase(name, p) for name in names))
            name = next(chain(literal, matching), None)
            return () if name is None else (Group(name, "as --groups says"),)
        if (series := _series(entry)) is not None:
            return (series,)
        groups = self._of_angle(entry), self._of_place(entry) or _hole(entry)
        return tuple(group for group in groups if group is not None)

    def _of_angle(self, entry: StackEntry) -> Group | None:
        """Return the tilt series that is recorded; the next one begins where an angle is there again."""
        if entry.tilt is None:
            return None
        repeated = [abs(entry.tilt - angle) <= SAME_ANGLE for angle in self._angles]
        # an angle that comes again at once: several series are recorded in turn, and are one group
        in_turn = any(repeated) and repeated[-1] and np.ptp(self._angles) > SAME_ANGLE
        if any(repeated) and not in_turn:
            self._angles, self._series = [], self._series + 1
        self._angles.append(entry.tilt)
        return Group(f"tilt series {self._series + 1}", "as TiltAngle in .mdoc files says")

    def _of_place(self, entry: StackEntry) -> Group | None:
        """Return the group of the first stack that was taken at the same place."""
        if entry.place is None or entry.pixel_size is None:
            return None
        field = max(entry.shape[1:]) * entry.pixel_size / MICRON
        cell = [math.floor(coordinate / field) for coordinate in entry.place]
        around = product(*(range(k - 1, k + 2) for k in cell))
        near = chain.from_iterable(self._places.get(key, ()) for key in around)
        known = next((group for place, group in near if math.dist(place, entry.place) < field), None)
        if known is not None:
            return known
        x, y = entry.place
        group = Group(f"place {x:g}, {y:g}", "as stage position and image shift say")
        self._places[cell[0], cell[1]].append((entry.place, group))
        return group


def _series(entry: StackEntry) -> Group | None:
    if entry.series:
        return Group(f"tilt series {entry.series}", f"as {entry.series_from} says")
    match = next(filter(None, (form.fullmatch(entry.stem) for form in _TILTS)), None)
    return None if match is None else Group(f"tilt series {match['series']}", "as its name says")


def _hole(entry: StackEntry) -> Group | None:
    match = _HOLE.match(entry.stem)
    return None if match is None else Group(match["hole"], "as its name says")


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
                    names = _series_in(path, status.st_size, status.st_mtime_ns)
                except (MrczDaskError, OSError) as error:
                    doubts.append(
                        f"{path.name}: no STAR file that can be read, tells no tilt series: {error}"
                    )
                else:
                    for stem, name in names:
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

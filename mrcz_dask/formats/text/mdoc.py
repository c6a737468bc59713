"""Reads SerialEM's .mdoc files, which say when and how a stack was recorded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PureWindowsPath
from types import MappingProxyType

from mrcz_dask.formats.places import INPUT_SUFFIXES, stem_of
from mrcz_dask.formats.source import read_file

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_CLOCK = r"[ T_]+(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
_CLOCK += r"(?:\s?(?P<half>[AaPp])\.?\s?[Mm]\b\.?)?"
_ZONE = r"\s?(?P<zone>Z\b|[+-]\d\d:?\d\d)?"
_FORMS = (
    re.compile(r"(?<!\d)(?P<year>\d{4})[-/](?P<month>\d\d)[-/](?P<day>\d\d)" + _CLOCK + _ZONE),
    re.compile(r"(?<!\d)(?P<year>\d{4})-(?P<month>[A-Za-z]{3})-(?P<day>\d\d)" + _CLOCK),
    re.compile(r"(?<!\d)(?P<day>\d{1,2})-(?P<month>[A-Za-z]{3})-(?P<year>\d{4}|\d{2})" + _CLOCK),
)


def find_time(text: str, *, alone: bool = False) -> datetime | None:
    """Return the first date and time found in a text, or None.

    Read are ISO 8601 (``2026-10-14 19:06:33``, ``2026-10-14T19:06:33.5+02:00``) and the form of SerialEM
    and IMOD (``14-Oct-26  19:06:33``, or with four digits of the year), both also with ``AM`` or ``PM``.

    Parameters
    ----------
    text
        A value of an .mdoc, a label of an MRC header, a string of the metadata.
    alone
        Nothing may stand behind it: it could be the half of the day in another language.

    Returns
    -------
    datetime or None
        Local time without a zone, as microscopes write it; a time with a zone is turned into local time.
    """
    for form in _FORMS:
        for match in form.finditer(text):
            time = moment(**match.groupdict())
            if time is not None and not (alone and text[match.end() :].strip()):
                return time
    return None


def moment(
    year: str,
    month: str,
    day: str,
    hour: str,
    minute: str,
    second: str | None = None,
    fraction: str | None = None,
    zone: str | None = None,
    half: str | None = None,
) -> datetime | None:
    """Return the local time given by texts of year, month, day and so on; None if no such time exists.

    Parameters
    ----------
    year
        Two digits below 70 are of this century, from 70 on of the last one.
    month
        Digits, or an English month's first three letters.
    half
        A or P of the day; None: the hour counts to 24, as it does beyond 12 before P.
    """
    century = 0 if len(year) > 2 else 2000 if int(year) < 70 else 1900
    hours = int(hour)
    if half is not None and half in "aA" and hours > 12:
        return None
    if half is not None and hours <= 12:
        hours = hours % 12 + (12 if half in "pP" else 0)
    try:
        time = datetime(
            century + int(year),
            int(month) if month.isdigit() else _MONTHS.index(month.lower()) + 1,
            int(day),
            hours,
            int(minute),
            int(second or 0),
            int(((fraction or "") + "000000")[:6]),
        )
        if zone:
            time = datetime.fromisoformat(f"{time.isoformat()}{zone}").astimezone().replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return time


SUFFIX = ".mdoc"
LARGEST = 1 << 26
_SECTION = re.compile(r"\[\s*(?P<kind>[^=\]]+?)\s*=\s*(?P<name>.*?)\s*\]?$")


@dataclass(frozen=True, slots=True)
class Section:
    """One section ``[kind = name]`` of an .mdoc file, with its values; keys in upper or lower case."""

    kind: str
    name: str
    values: Mapping[str, str]

    def get(self, key: str) -> str | None:
        """Return the text of a key in this section of an .mdoc file, or None."""
        return self.values.get(key.casefold())


@dataclass(frozen=True, slots=True)
class Mdoc:
    """Record of the contents of a SerialEM .mdoc file: its head and its sections.

    Attributes
    ----------
    head
        The values before the first section.
    sections
        The sections in the file's order: ``FrameSet`` for a movie, ``ZValue`` for the images of a file.
        Lines ``[T = ...]`` are titles, and no sections.
    """

    head: Section
    sections: tuple[Section, ...] = ()

    def get(self, key: str) -> str | None:
        """Return the text of a key, from the first section that has it, else from the head, else None."""
        return next(self._all(key), None)

    @property
    def time(self) -> datetime | None:
        """Time at which the acquisition began (local, no time zone), or None."""
        times = (find_time(text, alone=True) for text in self._all("DateTime"))
        return next((time for time in times if time is not None), None)

    @property
    def unread_time(self) -> str | None:
        """Text of the acquisition time if it could not be understood, for a warning; else None."""
        return self.get("DateTime") if self.time is None else None

    @property
    def tilts(self) -> tuple[Section, ...]:
        """Sections of a tilt series, one for each image; empty for the .mdoc of a movie."""
        images = tuple(s for s in self.sections if s.kind.casefold() == "zvalue")
        tilted = any(s.get("TiltAngle") or s.get("SubFramePath") for s in images)
        return images if len(images) > 1 and tilted else ()

    def of_frames(self, stack: str) -> Mdoc | None:
        """Return the part of a tilt series' .mdoc about the image recorded in the stack of this name,
        or None.

        The stack may be in another format than when it was recorded.
        """
        stem = stem_of(stack).casefold()
        for tilt in self.tilts:
            if stem_of(PureWindowsPath(tilt.get("SubFramePath") or "").name).casefold() == stem:
                return replace(self, sections=(tilt,))
        return None

    @property
    def pixel_size(self) -> float | None:
        """Pixel size in Angstrom, or None."""
        return self._positive("PixelSpacing")

    @property
    def tilt(self) -> float | None:
        """Tilt angle of the stage in degrees, or None."""
        angle = _number(self.get("TiltAngle") or "")
        return angle if abs(angle) <= 90 else None

    @property
    def place(self) -> tuple[float, float] | None:
        """Stage position plus image shift (x, y) in um, or None."""
        stage, shift = self._pair("StagePosition"), self._pair("ImageShift") or (0.0, 0.0)
        return None if stage is None else (stage[0] + shift[0], stage[1] + shift[1])

    @property
    def frames(self) -> int:
        """Number of frames in the stack; 0 if unknown."""
        numbers = [_number(word) for word in (self.get("FrameDosesAndNumber") or "").split()]
        counts = (self._positive("NumSubFrames"), sum(numbers[1::2]))
        return int(next((count for count in counts if count and math.isfinite(count)), 0))

    def _all(self, key: str) -> Iterator[str]:
        values = (section.get(key) for section in (*self.sections, self.head))
        return (value for value in values if value)

    def _pair(self, key: str) -> tuple[float, float] | None:
        numbers = [_number(word) for word in (self.get(key) or "").split()]
        return (numbers[0], numbers[1]) if len(numbers) == 2 and all(map(math.isfinite, numbers)) else None

    def _positive(self, key: str) -> float | None:
        return next((x for x in map(_number, self._all(key)) if 0 < x < math.inf), None)


def parse_mdoc(text: str) -> Mdoc:
    """Parse the text of an .mdoc file; lines that make no sense are skipped.

    Any end of line, comments (``#``), and lines that are neither a section nor ``key = value`` are passed
    over, as other programs' readers do: half an .mdoc still gives what is in it.
    """
    head: dict[str, str] = {}
    sections: list[tuple[str, str, dict[str, str]]] = []
    for line in map(str.strip, text.lstrip("\ufeff").splitlines()):
        section = _SECTION.match(line)
        key, equals, value = line.partition("=")
        if section:
            if section["kind"] != "T":
                sections.append((section["kind"], section["name"], {}))
        elif equals and not line.startswith(("#", "[")):
            values = sections[-1][2] if sections else head
            values.setdefault(key.strip().casefold(), value.strip())
    return Mdoc(
        Section("", "", MappingProxyType(head)),
        tuple(Section(kind, name, MappingProxyType(values)) for kind, name, values in sections),
    )


def read_mdoc(path: Path) -> Mdoc:
    """Read an .mdoc file, encoded as UTF-8 or, from older SerialEM, as Latin-1.

    Raises
    ------
    FormatError, PlaceError, OSError
        It is too large, no regular file, or cannot be read.
    """
    content = read_file(path, LARGEST)
    try:
        return parse_mdoc(content.decode("utf-8"))
    except UnicodeDecodeError:
        return parse_mdoc(content.decode("latin-1"))


def mdoc_index(names: Iterable[str]) -> dict[str, str]:
    """Return the .mdoc files among a folder's file names, by lower-case name, for `find_mdoc`."""
    return {name.casefold(): name for name in sorted(names, reverse=True) if name.casefold().endswith(SUFFIX)}


def find_mdoc(stack: Path, index: Mapping[str, str] | None = None) -> Path | None:
    """Return the path of a stack's .mdoc file, or None.

    It is called as the stack, whole or without its suffix; or as the camera's file was before it was
    compressed, such as ``movie.tif.mdoc`` for ``movie.mrcz``.

    Parameters
    ----------
    stack
        Path of the stack.
    index
        `mdoc_index` of the stack's folder, if it is there already: listing the folder for each of thousands
        of stacks would be slow.
    """
    known = mdoc_index(path.name for path in stack.parent.iterdir()) if index is None else index
    stem = stem_of(stack.name)
    names = ((name + SUFFIX).casefold() for name in (stack.name, stem, *(stem + s for s in INPUT_SUFFIXES)))
    return next((stack.with_name(known[name]) for name in names if name in known), None)


def _number(text: str) -> float:
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        return math.nan

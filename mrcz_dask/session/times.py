"""Find a stack's acquisition time in its .mdoc, header or name, or last in its modification time."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from pathlib import Path, PureWindowsPath
from typing import Any

from mrcz_dask.formats.places import FORMATS, stem_of
from mrcz_dask.formats.text.mdoc import Mdoc, find_time, mdoc_index, moment, read_mdoc
from mrcz_dask.session.entries import Acquired, StackEntry, TimeSource

_KEYS = ("acquisitiontime", "acquisitiondatetime", "acquisitiondate", "datetime", "timestamp", "date", "time")
_DEEPEST = 8
_DATE_AND_CLOCK = re.compile(
    # EPU's and ISO-like; sought at every place, so that an 8-digit hole number before hides no time
    r"(?=(?<!\d)(?P<year>20\d\d)(?P<a>[-._]?)(?P<month>\d\d)(?P=a)(?P<day>\d\d)[-_T ]?"
    r"(?P<hour>\d\d)(?P<b>[-._:]?)(?P<minute>\d\d)(?P=b)(?P<second>\d\d)(?!\d))"
)
_TO_THE_MINUTE = r"(?P<year>20\d\d)(?P<month>\d\d)(?P<day>\d\d)_(?P<hour>\d\d)(?P<minute>\d\d)"
_MINUTE = re.compile(  # EPU before 2: HHMM; a date and a number of four digits alone are no time
    rf"(?<!\d){_TO_THE_MINUTE}(?=-\d|_frames|_fractions)", re.IGNORECASE
)
_EPU_MINUTE = re.compile(rf"_Data_\d+_\d+_{_TO_THE_MINUTE}(?!\d)")
_NUMBER = re.compile(r"(?<!\d)20\d{6}_\d{4}-(\d+)")
_CLOCK = r"[-_ ](?P<hour>\d\d)[.:_-](?P<minute>\d\d)[.:_-](?P<second>\d\d)(?!\d)"
_DAY_MONTH_YEAR = re.compile(
    r"(?<!\d)(?P<day>\d\d)(?P<a>-?)(?P<month>[A-Za-z]{3})(?P=a)(?P<year>20\d\d|\d\d)" + _CLOCK
)
_MONTH_DAY = re.compile(r"(?<![A-Za-z])(?P<month>[A-Za-z]{3})(?P<day>\d\d)" + _CLOCK)


def acquisition_time(
    name: str,
    modified: datetime,
    *,
    mdoc: Mdoc | None = None,
    labels: Iterable[str] = (),
    meta: Mapping[str, Any] | None = None,
) -> Acquired:
    """Return the acquisition time of a stack, from the most reliable source that gives one.

    Parameters
    ----------
    name
        The file's name, without folders.
    modified
        When the file was last modified, local time without a zone.
    mdoc
        SerialEM's text beside the stack.
    labels
        The labels of the MRC header.
    meta
        Metadata of the extended header or footer.

    Returns
    -------
    Acquired
        The .mdoc's DateTime, else the metadata's time, else that in the name, else that in the labels, else
        `modified`. Labels come late: they say when a script wrote the file. So does a TIFF file's DateTime.
    """
    meta, labels = dict(meta or {}), list(labels)
    known = FORMATS.get((meta.get("input") or {}).get("format", ""))
    if known is not None and known.timed_by_writer:
        labels.append(str(meta.pop("datetime", "")))
    of_name = time_in_name(name, modified)
    number = _NUMBER.search(name)
    if of_name is not None and number is not None and not of_name.second:
        # EPU's running number is the order within the minute
        of_name = of_name.replace(microsecond=min(int(number[1]), 999_999))
    candidates: list[tuple[TimeSource, datetime | None]] = [
        ("mdoc", None if mdoc is None else mdoc.time),
        ("header", time_in_meta(meta)),
        ("name", of_name),
        ("header", time_in_labels(labels)),
    ]
    times = [(source, time) for source, time in candidates if time is not None]
    if not times:
        return Acquired(modified, "mtime")
    (source, time), *others = times
    return Acquired(time, source, tuple(others))


def time_in_labels(labels: Iterable[str]) -> datetime | None:
    """Return the earliest time in an MRC header's labels (SerialEM, IMOD, mrcfile write one), or None.

    Programs append a label for each step, so that the earliest is nearest to the acquisition.
    """
    return min((time for time in map(find_time, labels) if time is not None), default=None)


def time_in_meta(meta: Mapping[str, Any]) -> datetime | None:
    """Return the acquisition time in metadata, at any level of nesting, or None.

    Keys are compared without case and punctuation; the likeliest key wins over the shallowest level. A date
    and a time in entries of their own (``date``, ``time``), as hyperspy writes them, count as one.
    """
    times = {key: time for key, time in _times(meta, _DEEPEST) if time is not None}
    return next((times[key] for key in _KEYS if key in times), None)


def time_in_name(name: str, modified: datetime) -> datetime | None:
    """Return the time that a file's name contains, as EPU and SerialEM write it, or None.

    Known are the names of EPU (``..._20261014_190633_fractions``, before 2019
    ``..._20161014_1906_frames``), SerialEM's
    (``..._Oct14_19.06.33``) and ISO-like names. Numbers of grid squares and foil holes are no times: only a
    date followed by a time of day is one, and the last of several.

    Parameters
    ----------
    name
        The file's name, without folders.
    modified
        When the file was last modified: gives SerialEM's month and day their year.
    """
    for form in (_DATE_AND_CLOCK, _MINUTE, _EPU_MINUTE, _DAY_MONTH_YEAR):
        times = [moment(**_parts(match)) for match in form.finditer(name)]
        if known := [time for time in times if time is not None]:
            return known[-1]
    # without a year: the last such day that is not after the file's modification, give or take its clock;
    # 29 February may be up to eight years ago
    latest = modified + timedelta(days=1)
    for match in reversed(list(_MONTH_DAY.finditer(name))):
        for year in range(latest.year, latest.year - 9, -1):
            time = moment(**_parts(match), year=str(year))
            if time is not None and time <= latest:
                return time
    return None


def _parts(match: re.Match[str]) -> dict[str, str]:
    return {key: text for key, text in match.groupdict().items() if len(key) > 1}


def _times(meta: Mapping[str, Any], depth: int) -> Iterator[tuple[str, datetime | None]]:
    """Yield (key, time), deepest first, so that a dictionary made of them keeps the shallowest."""
    for value in meta.values():
        if isinstance(value, Mapping) and depth > 0:
            yield from _times(value, depth - 1)
    plain = {re.sub(r"[^a-z0-9]", "", str(key).casefold()): value for key, value in meta.items()}
    texts = {key: value for key, value in plain.items() if isinstance(value, str)}
    if "date" in texts and "time" in texts:
        yield "date", find_time(f"{texts['date']} {texts['time']}")
    for key in texts.keys() & set(_KEYS):
        yield key, find_time(texts[key])


Tilts = Mapping[str, Sequence[tuple[Path, Mdoc]]]
FORM = "14-Oct-26  19:06:33"


def with_tilts(
    root: Path, mdocs: Mapping[Path, Mapping[str, str]], stacks: Sequence[StackEntry]
) -> tuple[list[StackEntry], list[str]]:
    """Give stacks without an .mdoc of their own the time and pixel size from the .mdoc of their tilt series.

    Parameters
    ----------
    root
        The session's folder; the folder above it may hold the .mdoc files, too.
    mdocs
        For every folder: its .mdoc files by case-folded name.
    stacks
        As their own headers, names and .mdoc files describe them.

    Returns
    -------
    tuple
        The stacks, and what is doubtful about the .mdoc files.
    """
    own = {stack.mdoc for stack in stacks}
    if None not in own:
        return list(stacks), []
    paths = [folder / name for folder, names in mdocs.items() for name in names.values()]
    with suppress(OSError):
        paths += [root.parent / name for name in mdoc_index(p.name for p in root.parent.iterdir()).values()]
    tilts: defaultdict[str, list[tuple[Path, Mdoc]]] = defaultdict(list)
    for path in paths:
        if path not in own:
            with suppress(OSError):
                status = path.stat()
                for stem, tilt in _tilts_in(path, status.st_size, status.st_mtime_ns):
                    tilts[stem].append((path, tilt))
    doubts: list[str] = []
    return [_with_tilt(stack, tilts, doubts) if stack.mdoc is None else stack for stack in stacks], doubts


def not_understood(path: Path, mdoc: Mdoc) -> tuple[str, ...]:
    """Return a warning if the DateTime in an .mdoc cannot be read; nothing otherwise."""
    text = mdoc.unread_time
    if text is None:
        return ()
    return (f"{path}: DateTime is {text!r}, which is not understood; expected a time such as {FORM!r}",)


@lru_cache(maxsize=1 << 14)
def _tilts_in(path: Path, size: int, mtime_ns: int) -> tuple[tuple[str, Mdoc], ...]:
    """Return the sections of an .mdoc by the stem of their stack; a changed file is read again."""
    mdoc = read_mdoc(path)
    return tuple(
        (_stem(stack), replace(mdoc, sections=(tilt,)))
        for tilt in mdoc.tilts
        if (stack := tilt.get("SubFramePath"))
    )


def _stem(path: str) -> str:
    return stem_of(PureWindowsPath(path).name).casefold()


def _with_tilt(stack: StackEntry, tilts: Tilts, doubts: list[str]) -> StackEntry:
    sections = tilts.get(_stem(stack.path.name), ())
    if not sections:
        return stack
    near = [_nearness(stack.path, path, mdoc) for path, mdoc in sections]
    best = [section for section, nearness in zip(sections, near, strict=True) if nearness == max(near)]
    path, mdoc = best[0]
    if len({mdoc.time for _, mdoc in best}) > 1:
        names = " and ".join(str(path) for path, _ in best)
        doubts.append(f"{stack.name}: {names} give different times for it, and none was taken")
        return stack
    doubts += not_understood(path, mdoc)
    if stack.pixel_size is None and mdoc.pixel_size is not None:
        stack = replace(stack, pixel_size=mdoc.pixel_size, pixel_size_source="mdoc")
    stack = replace(
        stack,
        tilt=mdoc.tilt,
        place=mdoc.place,
        series=stem_of(path.name.removesuffix(path.suffix)),
        series_from="the .mdoc of the series",
    )
    if mdoc.time is None:
        return stack
    before = stack.acquired
    others = () if before.source == "mtime" else ((before.source, before.time), *before.others)
    return replace(stack, acquired=Acquired(mdoc.time, "mdoc", others))


def _nearness(stack: Path, path: Path, mdoc: Mdoc) -> tuple[int, int]:
    """Return how well folders agree: those in SubFramePath with the stack's, then those of the .mdoc."""
    recorded = PureWindowsPath(mdoc.get("SubFramePath") or "").parent.parts
    return _common(recorded[::-1], stack.parent.parts[::-1]), _common(path.parent.parts, stack.parent.parts)


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))))

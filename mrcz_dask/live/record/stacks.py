"""Stacks of recorded frames: written from a spool, and read again frame by frame."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.formats import provenance
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.writer import StackWriter
from mrcz_dask.formats.sidecar import section
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.spool import Entry, FrameSpool, spooled
from mrcz_dask.values.errors import FormatError, MrczDaskError

SPOOL = ".spool"
STEP = "live record"
_KEY = "live"
_INT8_MAX = 127
_YEAR_1, _YEAR_9999 = -62135596800, 253370764800
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


def stack_name(stream: str, first: int, stack: str) -> str:
    """Return the name of a stack's file, without suffix: names of a stream are in the order of time."""
    named = f"_{_ODD.sub('-', stack)[:150]}" if stack else ""
    return f"{_ODD.sub('-', stream)}_{first:010d}{named}"


def write_stack(spool: FrameSpool, target: Path, settings: Mapping[str, Any], *, durable: bool) -> Path:
    """Write the frames of a spool into a stack, chunk by chunk; a stack that is there is left as it is.

    Parameters
    ----------
    spool
        With at least one frame.
    target
        Where the stack goes; if another file has that name, a number is added to it.
    settings
        Of the recorder, for the provenance.
    durable
        Wait until the stack is on the disk.

    Returns
    -------
    Path
        Of the stack.

    Raises
    ------
    SpaceError
        The disk is full.
    """
    meta = _meta(spool)
    place = next(one for one in _names(target) if not one.exists() or is_stack_of(one, meta))
    if place.exists():
        return place
    for left in place.parent.glob(f".{place.name}.*.part"):  # of a process that was killed
        left.unlink(missing_ok=True)
    about, codec = spool.about, str(settings["codec"])
    with StackWriter(
        place,
        (len(spool), *about.shape),
        about.dtype,
        # of chunks that are copied the header is to name the codec that they have
        codec=codec if codec.startswith("auto") else "auto:fast",
        pixel_size=about.pixel_size,
        meta=meta,
        provenance=provenance.append(None, _step(spool, settings)),
        durable=durable,
    ) as writer:
        _copy(spool, writer)
    return place


def _copy(spool: FrameSpool, writer: StackWriter) -> None:
    # 8-bit counts beyond 127 are stored in 16 bits, which chunks of 8 bits cannot become
    is_wide = any(one.stats is not None and one.stats.maximum > _INT8_MAX for one in spool.entries)
    if is_wide and writer.dtype == np.uint8:
        for frame in spool.frames():
            writer.append(frame, owned=True)
    else:
        for record, entry in zip(spool.records, spool.entries, strict=True):
            # complex frames have no statistics: these are decoded, and found to have none
            writer.append_chunk(spool.body(record), stats=entry.stats)


def _names(target: Path) -> Iterator[Path]:
    yield target
    yield from (target.with_name(f"{target.stem}-{k}{target.suffix}") for k in range(2, 1 << 20))


def is_stack_of(path: Path, meta: Mapping[str, Any]) -> bool:
    """Whether a file is the stack that has this metadata."""
    try:
        found = section(read_footer(path), "meta")
    except (MrczDaskError, OSError):
        return False
    return bool(found.get(_KEY) == provenance.plain(meta[_KEY]))


def _meta(spool: FrameSpool) -> dict[str, Any]:
    entries, about = spool.entries, spool.about
    return {
        **_acquired(entries[0].time),
        _KEY: {
            "stream": about.stream,
            "stack": about.stack,
            "numbers": ranges(one.number for one in entries),
            "times": [one.time for one in entries],
            "indices": ranges(one.index for one in entries),
            "meta": _changes(entries),
        },
    }


def _acquired(time: float) -> dict[str, Any]:
    if not _YEAR_1 < time < _YEAR_9999:
        return {}
    return {"acquisition_time": datetime.fromtimestamp(time, UTC).isoformat()}


def _step(spool: FrameSpool, settings: Mapping[str, Any]) -> dict[str, Any]:
    entries = spool.entries
    missing = entries[-1].number - entries[0].number + 1 - len(entries)
    return provenance.step(
        STEP,
        parameters=settings,
        results={"frames": len(entries), "first": entries[0].number, "missing": missing},
        caveats=[f"{missing} frames are missing between the first and the last"] if missing else [],
    )


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Return numbers as [first, count] of those that follow each other."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == sum(found[-1]):
            found[-1][1] += 1
        else:
            found.append([number, 1])
    return found


def _numbers(said: Sequence[Sequence[int]]) -> list[int]:
    return list(chain.from_iterable(range(first, first + count) for first, count in said))


def _changes(entries: Sequence[Entry]) -> list[list[Any]]:
    """Return [place, meta] of the frames whose meta is not that of the one before."""
    before = [{}, *(one.meta for one in entries)]
    pairs = zip(before, entries, strict=False)
    return [[k, dict(one.meta)] for k, (last, one) in enumerate(pairs) if one.meta != last]


def recorded(folder: str | os.PathLike[str], stream: str | None = None, start: int = 0) -> Iterator[Frame]:
    """Yield the recorded frames of a folder, those that are in no stack yet among them, one at a time.

    Parameters
    ----------
    folder
        Of a `Recorder`, which may be at work.
    stream
        Of these alone; None = one stream after the other.
    start
        Frames with a smaller number are left out.

    Yields
    ------
    Frame
        In the order of their numbers.

    Raises
    ------
    FormatError
        A file is damaged.
    """
    for (name, _), path in sorted(_parts(Path(folder)).items()):
        if stream in (None, name):
            yield from _frames(path, start)


def recorded_streams(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of the streams of which a folder holds frames."""
    return sorted({name for name, _ in _parts(Path(folder))})


def _parts(folder: Path) -> dict[tuple[str, int], Path]:
    """Return where the frames are, by stream and first number."""
    # spools first: one that becomes a stack meanwhile is found at least once
    spools = {key: path for path in folder.glob(f".*{SPOOL}") if (key := _spool_key(path))}
    stacks = {key: path for path in folder.glob("*.mrcz") if (key := _stack_key(path))}
    return spools | stacks


def _spool_key(path: Path) -> tuple[str, int] | None:
    try:
        first = next(spooled(path), None)
    except FileNotFoundError:
        return None
    return None if first is None else (first[0].stream, first[1].number)


def _stack_key(path: Path) -> tuple[str, int] | None:
    live = section(section(read_footer(path), "meta"), _KEY)
    return (live["stream"], live["numbers"][0][0]) if live else None


def _frames(path: Path, start: int) -> Iterator[Frame]:
    if path.suffix == SPOOL and path.exists():
        yield from (frame for _, frame in spooled(path) if frame.number >= start)
        return
    stack = path if path.suffix != SPOOL else path.with_name(f"{path.name[1 : -len(SPOOL)]}.mrcz")
    with StackReader(stack) as reader:
        yield from _of_stack(reader, start)


def _of_stack(reader: StackReader, start: int) -> Iterator[Frame]:
    live = section(reader.meta, _KEY)
    numbers, indices = _numbers(live["numbers"]), _numbers(live["indices"])
    if not len(numbers) == len(indices) == len(live["times"]) == len(reader):
        raise FormatError(f"{reader.name}: its metadata are not about {len(reader)} frames; record it again")
    changes: dict[int, dict[str, Any]] = dict(live["meta"])
    meta: dict[str, Any] = {}
    size = reader.pixel_size
    for k, number in enumerate(numbers):
        meta = changes.get(k, meta)
        if number >= start:
            yield Frame(
                number,
                live["times"][k],
                reader.frame(k),
                live["stack"],
                indices[k],
                size[0] if size else None,
                meta,
                stream=live["stream"],
            )

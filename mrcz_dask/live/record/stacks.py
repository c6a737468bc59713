"""Cuts live streams into stacks, writes these from a spool file, and reads recordings frame by frame."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, count, islice, takewhile
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import xxhash

from mrcz_dask.formats import provenance
from mrcz_dask.formats.atomic import sync_folder, write_atomic
from mrcz_dask.formats.digest import PixelDigest
from mrcz_dask.formats.metadata import read_json, reading, sealed_values, unsealed_values
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.writer import StackWriter
from mrcz_dask.formats.sidecar import section
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.spool import FrameSpool, StreamInfo, ranges, spooled
from mrcz_dask.session.readback import read_back
from mrcz_dask.values.errors import FormatError, MrczDaskError
from mrcz_dask.values.messages import FramesMissing, Listener, silent

SPOOL = ".spool"
CODEC = "auto:fast"
STEP = "live record"
_KEY = "live"
_INT8_MAX = 127
_YEAR_1, _YEAR_9999 = -62135596800, 253370764800
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
UNNAMED = "frames"  # stream of frames that name none
_REMEDY = "move it away and run again: senders know which of their frames are safe, and nothing is deleted"


def stack_name(stream: str, first: int, stack: str) -> str:
    """Return a stack's file name without suffix; sorted by name,
    the files of a stream are in order of time.
    """
    suffix = f"_{_ODD.sub('-', stack)[:150]}" if stack else ""
    return f"{_ODD.sub('-', stream)}_{first:010d}{suffix}"


def first_number(spool: FrameSpool) -> int:
    """Return the number of a stack's first frame, from its spool file's name: its record may be damaged."""
    start = len(stack_name(spool.about.stream, 0, "")) - len(f"{0:010d}")
    digits = re.match(r"[0-9]{10,}", spool.path.name[1 + start :])
    return int(digits[0]) if digits else spool.entries[0].number


def write_stack(spool: FrameSpool, target: Path, settings: Mapping[str, Any]) -> Path:
    """Write the frames of a spool file as an MRCZ stack, and read it back to verify it.

    A sound stack of these frames that is there already is left as it is.

    Parameters
    ----------
    spool
        Spool with at least one frame.
    target
        Path of the stack; if another file has that name, a number is added to it.
    settings
        Settings of the recorder, for the provenance.

    Returns
    -------
    Path
        Path of the stack.

    Raises
    ------
    SpaceError
        The disk is full.
    DamagedError
        The spool or the stack is not read as it was written; the stack is not kept.
    """
    about, entries = spool.about, spool.entries
    live, began = _live_meta(spool), entries[0].time
    meta: dict[str, Any] = {_KEY: live}
    if _YEAR_1 < began < _YEAR_9999:
        meta = {"acquisition_time": datetime.fromtimestamp(began, UTC).isoformat(), _KEY: live}
    numbered = (target.with_name(f"{target.stem}-{k}{target.suffix}") for k in count(2))
    path = next(path for path in chain([target], numbered) if not path.exists() or _holds(path, live))
    if path.exists():
        return path
    for pattern in (f".{path.stem}.*.part*", f"..{path.stem}.*.part*"):  # of a process that was killed
        for left in path.parent.glob(pattern):
            left.unlink(missing_ok=True)
    missing = entries[-1].number - first_number(spool) + 1 - len(entries)
    step = provenance.step(
        STEP,
        parameters=settings,
        results={"frames": len(entries), "first": entries[0].number, "missing": missing},
        caveats=[f"{missing} frames are missing between the first and the last"] if missing else [],
    )
    # 8-bit counts beyond 127 are stored in 16 bits, which chunks of 8 bits cannot become
    is_wide = about.dtype[1:] == "u1" and any(e.stats and e.stats.maximum > _INT8_MAX for e in entries)
    shape, history = (len(spool), *about.shape), provenance.append(None, step)
    digest: Any = PixelDigest(shape, about.dtype) if is_wide else xxhash.xxh3_128()
    options: Any = {"codec": CODEC, "pixel_size": about.pixel_size, "meta": meta, "provenance": history}
    with (
        read_back(path, digest.hexdigest, bytes_alone=not is_wide) as place,
        StackWriter(place, shape, about.dtype, **options) as writer,
    ):
        for record, entry in zip(spool.records, entries, strict=True):
            chunk = spool.body(record)
            if is_wide:
                frame = entry.frame(about, chunk).data
                digest.update(frame)
                writer.append(frame, owned=True)
            else:  # complex frames have no statistics: the writer decodes them
                digest.update(chunk)
                writer.append_chunk(chunk, stats=entry.stats)
    sync_folder(path.parent)
    return path


def _holds(path: Path, live: Mapping[str, Any]) -> bool:
    """Return True if a file is the stack with these metadata, and sound."""
    try:
        is_same = bool(section(read_footer(path), "meta").get(_KEY) == provenance.plain(live))
        return is_same and verify_file(path).status == "sound"
    except (MrczDaskError, OSError):
        return False


def _live_meta(spool: FrameSpool) -> dict[str, Any]:
    """Return numbers, times, indices and metadata of the frames; metadata only where they change."""
    about, entries = spool.about, spool.entries
    changes: list[list[Any]] = []
    last: dict[str, Any] = {}
    for k, entry in enumerate(entries):
        if entry.meta != last:
            last = dict(entry.meta)
            changes.append([k, last])
    return {
        "stream": about.stream,
        "stack": about.stack,
        "numbers": ranges(entry.number for entry in entries),
        "times": [entry.time for entry in entries],
        "indices": ranges(entry.index for entry in entries),
        "meta": changes,
    }


def recorded(folder: str | os.PathLike[str], stream: str | None = None, start: int = 0) -> Iterator[Frame]:
    """Yield the frames of a recording one at a time, those that are still in spool files too.

    Parameters
    ----------
    folder
        Folder of a `Recorder`, which may be running.
    stream
        Name of the only stream; None = one stream after the other.
    start
        Number of the first frame.

    Yields
    ------
    Frame
        In the order of their numbers.

    Raises
    ------
    FormatError
        A file is damaged.
    """
    for (name, _), path in sorted(recorded_files(Path(folder)).items()):
        if stream in (None, name):
            yield from _frames(path, start)


def recorded_files(folder: Path) -> dict[tuple[str, int], Path]:
    """Return the spool files and stacks of a recording, by stream (camera) and first number."""
    files: dict[tuple[str, int], Path] = {}
    # spools first: one that becomes a stack meanwhile is found at least once
    for path in folder.glob(f".*{SPOOL}"):
        with suppress(FileNotFoundError):
            for about, frame in islice(spooled(path), 1):
                files[about.stream, frame.number] = path
    for path in folder.glob("[!.]*.mrcz"):
        live = section(section(read_footer(path), "meta"), _KEY)
        if live:
            files[live["stream"], live["numbers"][0][0]] = path
    return files


def _frames(path: Path, start: int) -> Iterator[Frame]:
    """Yield the frames of a spool or stack; a spool may have become a stack meanwhile."""
    if path.suffix == SPOOL:
        with suppress(FileNotFoundError):
            yield from (frame for _, frame in spooled(path) if frame.number >= start)
            return
        path = path.with_name(f"{path.name[1 : -len(SPOOL)]}.mrcz")
    with StackReader(path) as reader:
        live = section(reader.meta, _KEY)
        numbers, indices = (
            [number for first, length in live[key] for number in range(first, first + length)]
            for key in ("numbers", "indices")
        )
        if not len(numbers) == len(indices) == len(live["times"]) == len(reader):
            raise FormatError(
                f"{reader.name}: its metadata are not about {len(reader)} frames; record it again"
            )
        pixel_size = reader.pixel_size[0] if reader.pixel_size else None
        changes: dict[int, dict[str, Any]] = dict(live["meta"])
        meta: dict[str, Any] = {}
        for k, (number, index, time) in enumerate(zip(numbers, indices, live["times"], strict=True)):
            meta = changes.get(k, meta)
            if number >= start:
                data = reader.frame(k)
                yield Frame(number, time, data, live["stack"], index, pixel_size, meta, stream=live["stream"])


class OpenStack(Protocol):
    """Protocol of a stack that still gets frames, while it is recorded or counted."""

    @property
    def about(self) -> StreamInfo:
        """Return the properties that all frames of the stack share."""
        ...

    def __len__(self) -> int: ...


S = TypeVar("S", bound=OpenStack)


class StreamStacks(Generic[S]):
    """Cuts each live stream into stacks, and keeps in a file up to which frame it has been written.

    A stack ends where its name changes, or the shape, pixel type or pixel size of its frames, and after
    `frames_per_stack` frames.

    Parameters
    ----------
    path
        File with the numbers behind the last written frame of each stream; read if it is there.
    frames_per_stack
        Number of frames after which a stack ends.
    begin
        Function that makes the stack of frames with these properties, from the number of its first frame on.
    end
        Function that takes a stack to which no more frames will be added.
    listen
        Listener that hears of missing numbers.

    Attributes
    ----------
    open
        The stack of each stream that is still growing.
    next
        Number that is expected next of each stream.
    missing
        Number of frames that were left out.

    Raises
    ------
    DamagedError
        The file is damaged; nothing has been changed.
    """

    def __init__(
        self,
        path: Path,
        frames_per_stack: int,
        begin: Callable[[StreamInfo, int], S],
        end: Callable[[S], None],
        listen: Listener = silent,
    ) -> None:
        self._path, self._most, self._listen = path, frames_per_stack, listen
        self._begin, self._end = begin, end
        self._written: dict[str, int] = {}
        if path.exists():  # a file of an older version has no checksum
            self._written = unsealed_values(read_json(path, _REMEDY), str(path), _REMEDY)
            with reading(str(path), "the numbers of frames by streams", _REMEDY):
                if not all(type(number) is int and number >= 0 for number in self._written.values()):
                    raise ValueError(f"found {self._written!r}")
        self.next: dict[str, int] = dict(self._written)
        self.open: dict[str, S] = {}
        self.missing = 0

    def is_written(self, stream: str, last: int) -> bool:
        """Return True if the frames of a stream up to number `last` are in finished stacks."""
        return last < self._written.get(stream, 0)

    def resume(self, stack: S, last: int) -> None:
        """Continue a stack that an earlier run left unfinished; `last` is the number of its last frame."""
        stream = stack.about.stream
        self.end(stream)
        self.open[stream] = stack
        self.next[stream] = max(self.next.get(stream, 0), last + 1)
        if len(stack) >= self._most:
            self.end(stream)

    def cut(self, frames: Sequence[Frame]) -> Iterator[tuple[S, list[Frame]]]:
        """Yield the frames that are new to their streams, split by stack, each group with its stack,
        to which the caller adds it before the next.
        """
        fresh: dict[str, list[Frame]] = {}
        for frame in frames:
            stream = frame.stream or UNNAMED
            group = fresh.setdefault(stream, [])
            if frame.number >= (group[-1].number + 1 if group else self.next.get(stream, 0)):
                group.append(replace(frame, stream=stream))
        for stream, group in fresh.items():
            yield from self._cut_stream(stream, group)

    def _cut_stream(self, stream: str, frames: Sequence[Frame]) -> Iterator[tuple[S, list[Frame]]]:
        while frames:
            about = StreamInfo.of(frames[0])
            if stream in self.open and self.open[stream].about != about:
                self.end(stream)
            if stream not in self.open:
                self.open[stream] = self._begin(about, frames[0].number)
            stack = self.open[stream]
            alike = takewhile(lambda frame: StreamInfo.of(frame) == about, frames)  # noqa: B023 - used at once
            run = list(alike)[: self._most - len(stack)]
            yield stack, run
            for frame in run:
                gap = frame.number - self.next.get(stream, frame.number)
                if gap:
                    self.missing += gap
                    self._listen(FramesMissing(frame.number, gap))
                self.next[stream] = frame.number + 1
            frames = frames[len(run) :]
            if len(stack) >= self._most:
                self.end(stream)

    def end(self, stream: str) -> None:
        """End the growing stack of a stream, if there is one."""
        stack = self.open.pop(stream, None)
        if stack is not None:
            self._end(stack)

    def end_all(self) -> None:
        """End the growing stacks of all streams; later frames begin new ones."""
        for stream in list(self.open):
            self.end(stream)

    def written(self, stream: str, last: int) -> None:
        """Note in the file that the frames of a stream up to number `last` are in finished stacks."""
        self._written[stream] = max(self._written.get(stream, 0), last + 1)
        write_atomic(self._path, json.dumps(sealed_values(self._written)).encode())

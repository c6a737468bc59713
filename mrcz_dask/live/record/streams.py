"""Cuts live streams into stacks, and remembers up to which frame each stream has been written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.metadata import read_json, reading, sealed_values, unsealed_values
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.spool import StreamInfo
from mrcz_dask.values.messages import FramesMissing, Listener, silent


class OpenStack(Protocol):
    """Protocol of a stack that still gets frames, while it is recorded or counted."""

    @property
    def about(self) -> StreamInfo:
        """Return the properties that all frames of the stack share."""
        ...

    def __len__(self) -> int: ...


S = TypeVar("S", bound=OpenStack)
UNNAMED = "frames"  # stream of frames that name none
_REMEDY = "move it away and run again: senders know which of their frames are safe, and nothing is deleted"


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

"""Frames that come, recorded: safe on the disk at once, and in MRCZ stacks soon after."""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.compression.choice import resolve
from mrcz_dask.formats.compression.codecs import Codec, check_codec
from mrcz_dask.formats.mrc.encode import Stored
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.spool import About, Spool
from mrcz_dask.live.record.stacks import SPOOL, recorded, stack_name, write_stack
from mrcz_dask.live.transport.wire import check_chunk, check_pixels, plain_meta
from mrcz_dask.session.output_folder import locked
from mrcz_dask.values import messages
from mrcz_dask.values.checks import raise_all, whole
from mrcz_dask.values.errors import FormatError, MrczDaskError, ParameterError
from mrcz_dask.values.messages import Listener

__all__ = ["Recorder", "recorded"]

STATE = ".recording.json"
# so many stacks may wait to be written before frames wait
_WAITING = 8


class Recorder:
    """Records frames in a folder; what another one left there, killed or not, is taken up.

    A frame whose number its stream has already passed is left out. A stack ends where the name of the stack,
    shape, dtype or pixel size change, after `frames_per_stack` frames, and at `end_stack` and `close`. Its
    file is called ``STREAM_FIRSTNUMBER[_STACK].mrcz``.

    Parameters
    ----------
    folder
        Is made if it is not there. No two recorders may use one.
    frames_per_stack
        At most.
    codec
        For frames that come without a chunk.
    durable
        Wait for the disk. False: frames that a power cut may take are acknowledged.
    name
        Of frames that do not say their stream.
    listen
        Is warned of stacks that cannot be written yet.

    Attributes
    ----------
    folder
        As given.
    recorded, missing
        Frames that were recorded here, and numbers that were left out before them.

    Raises
    ------
    OutputExistsError
        Another recorder, or another run, uses the folder.
    ParameterError
        No such codec or number.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        frames_per_stack: int = 1000,
        codec: str = "auto:fast",
        durable: bool = True,
        name: str = "frames",
        listen: Listener = messages.silent,
    ) -> None:
        check_codec(codec)
        if codec == "none":
            raise ParameterError("codec is none; frames are recorded compressed: auto:fast, or NAME[:LEVEL]")
        raise_all("recorder", whole("frames_per_stack", frames_per_stack, 1, 1 << 24))
        self.folder, self._name, self._durable, self._tell = Path(folder), name, durable, listen
        self._settings = {"frames_per_stack": frames_per_stack, "codec": codec}
        self._most, self._codec = frames_per_stack, codec
        self.recorded = self.missing = 0
        self._closed = False
        self._next: dict[str, int] = defaultdict(int)
        self._written: dict[str, int] = {}
        self._open: dict[str, Spool] = {}
        self._codecs: dict[tuple[str, tuple[int, int]], Codec] = {}
        self._lock = threading.RLock()
        self._ended: deque[Spool] = deque()
        self._failure: MrczDaskError | OSError | None = None
        self._held = ExitStack()
        self._held.enter_context(locked(self.folder, listen))
        self._writer = ThreadPoolExecutor(1, "stacks")
        self._held.callback(self._writer.shutdown)
        self._work: Future[None] | None = None
        try:
            self._take_up()
        except BaseException:
            self._held.close()
            raise

    def _take_up(self) -> None:
        """Go on where the recorder before was."""
        state = self.folder / STATE
        if state.exists():
            self._written = json.loads(state.read_text(encoding="utf-8"))
            self._next.update(self._written)
        for spool in sorted(self._left(), key=lambda one: (one.about.stream, one.entries[0].number)):
            stream = spool.about.stream
            if stream in self._open:
                self._end(stream)
            self._open[stream] = spool
            self._next[stream] = max(self._next[stream], spool.entries[-1].number + 1)
        for stream in [one for one, spool in self._open.items() if len(spool) >= self._most]:
            self._end(stream)

    def _left(self) -> Iterator[Spool]:
        """Yield the spools that are not in a stack; delete those that are, or hold nothing."""
        for path in self.folder.glob(f".*{SPOOL}"):
            spool = Spool.open(path, durable=self._durable)
            if spool is None:
                path.unlink()
            elif spool.entries[-1].number < self._written.get(spool.about.stream, 0):
                spool.remove()
            else:
                yield spool

    def next_number(self, stream: str = "") -> int:
        """Return the number that is expected next of a stream; 0 of one that is not known."""
        with self._lock:
            return self._next.get(stream or self._name, 0)

    def append(self, frames: Sequence[Frame]) -> None:
        """Record frames; they are safe when this returns.

        Parameters
        ----------
        frames
            In the order of their numbers in each stream.

        Raises
        ------
        SpaceError
            The disk is full; frames that are not recorded may be given again.
        DtypeError
            Pixels that MRC cannot hold; names the type to cast to.
        FormatError
            Metadata that no file can hold.
        """
        with self._lock:
            if self._closed:
                raise ParameterError(f"the recorder of {self.folder} is closed; make a new one")
            streams: dict[str, list[Frame]] = {}
            for frame in frames:
                check_pixels(frame.data.dtype)
                meta = plain_meta(frame.stack, frame.meta)
                streams.setdefault(frame.stream or self._name, []).append(replace(frame, meta=meta))
            for stream, group in streams.items():
                self._append(stream, self._new(stream, group))

    def _new(self, stream: str, frames: Sequence[Frame]) -> list[Frame]:
        found: list[Frame] = []
        last = self._next.get(stream, 0) - 1
        for frame in frames:
            if frame.number > last:
                found.append(frame)
                last = frame.number
        return found

    def _append(self, stream: str, frames: list[Frame]) -> None:
        while frames:
            about = _about(stream, frames[0])
            spool = self._spool(about, frames[0].number)
            alike = takewhile(lambda one: _about(stream, one) == about, frames)  # noqa: B023 - used at once
            run = list(alike)[: self._most - len(spool)]
            spool.append([(frame, self._chunk(frame, about)) for frame in run])
            self._count(stream, run)
            frames = frames[len(run) :]
            if len(spool) >= self._most:
                self._end(stream)

    def _spool(self, about: About, number: int) -> Spool:
        """Return the spool for frames of a kind, the one of before is ended if it is of another."""
        stream = about.stream
        if stream in self._open and self._open[stream].about != about:
            self._end(stream)
        if stream not in self._open:
            path = self.folder / f".{stack_name(stream, number, about.stack)}{SPOOL}"
            self._open[stream] = Spool.create(path, about, durable=self._durable)
        return self._open[stream]

    def _count(self, stream: str, run: Sequence[Frame]) -> None:
        first, last = run[0].number, run[-1].number
        before = self._next.get(stream, first)
        self.missing += last + 1 - before - len(run)
        self.recorded += len(run)
        self._next[stream] = last + 1

    def _chunk(self, frame: Frame, about: About) -> bytes:
        if frame.chunk is not None:
            try:
                check_chunk(frame.chunk, frame.data.nbytes, frame.data.itemsize)
            except FormatError:
                pass
            else:
                return frame.chunk
        items = Stored.of(frame.data.dtype, about.shape).items(frame.data)
        key = about.dtype, about.shape
        if key not in self._codecs:
            self._codecs[key] = resolve(self._codec, items) or Codec()
        return self._codecs[key].compress(items)

    def end_stack(self, stream: str | None = None) -> None:
        """Let the stack of a stream, or of all, be written now, whatever comes next."""
        with self._lock:
            for one in list(self._open) if stream is None else [stream]:
                if one in self._open:
                    self._end(one)

    def _end(self, stream: str) -> None:
        spool = self._open.pop(stream)
        if not len(spool):
            spool.remove()
            return
        self._ended.append(spool)
        if len(self._ended) > _WAITING and self._work is not None:
            self._work.result()
        self._work = self._writer.submit(self._write_ended)

    def _write_ended(self) -> None:
        """Write the stacks that have ended, in order; one that cannot be written is tried again later."""
        while self._ended:
            try:
                self._write(self._ended[0])
            except (MrczDaskError, OSError) as error:
                self._failure = error
                self._tell(messages.Warned(f"{error}; its frames are safe in {self._ended[0].path}"))
                return
            self._failure = None
            self._ended.popleft()

    def _write(self, spool: Spool) -> None:
        target = self.folder / f"{spool.path.name[1 : -len(SPOOL)]}.mrcz"
        write_stack(spool, target, self._settings, durable=self._durable)
        stream, last = spool.about.stream, spool.entries[-1].number
        self._written[stream] = max(self._written.get(stream, 0), last + 1)
        # before the spool goes: whoever moves stacks away must not make frames come again
        write_atomic(self.folder / STATE, json.dumps(self._written).encode(), durable=self._durable)
        spool.remove()

    def close(self) -> None:
        """Write what is left, and let the folder go.

        Raises
        ------
        SpaceError
            A stack cannot be written; its frames stay in a spool, which the next recorder takes up.
        """
        with self._lock, self._held:
            if self._closed:
                return
            self._closed = True
            self.end_stack()
            self._writer.submit(self._write_ended).result()
        for spool in self._ended:
            spool.close()
        if self._ended and self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def _about(stream: str, frame: Frame) -> About:
    about = About.of(frame)
    return About(stream, about.stack, about.dtype, about.shape, about.pixel_size)

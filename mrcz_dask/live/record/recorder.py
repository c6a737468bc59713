"""Records live frames so that each is safe on disk at once, and in an MRCZ stack soon after."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from itertools import chain, count
from pathlib import Path

from mrcz_dask.formats.compression.codecs import Codec, resolve
from mrcz_dask.formats.digest import files_in
from mrcz_dask.formats.mrc.body import Stored
from mrcz_dask.formats.source import Closing
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.spool import (
    FrameSpool,
    StreamInfo,
    check_chunk,
    check_pixels,
    describe_damage,
    finite_number,
    plain_meta,
    whole_number,
)
from mrcz_dask.live.record.stacks import (
    CODEC,
    SPOOL,
    UNNAMED,
    StreamStacks,
    first_number,
    stack_name,
    write_stack,
)
from mrcz_dask.session import manifest
from mrcz_dask.session.output_folder import locked
from mrcz_dask.values import messages
from mrcz_dask.values.checks import raise_all, whole
from mrcz_dask.values.errors import DamagedError, FormatError, MrczDaskError, ParameterError
from mrcz_dask.values.messages import Listener

STATE = ".recording.json"
_MOST_WAITING = 8  # stacks that wait to be written before frames wait


class Recorder(Closing):
    """Records live frames in a folder as MRCZ stacks, and completes stacks that
    an ended or killed recorder left.

    A frame whose number its stream has already passed is left out. A stack ends where the name of the stack,
    shape, dtype or pixel size change, after `frames_per_stack` frames, and at `close`. Its file is called
    ``STREAM_FIRSTNUMBER[_STACK].mrcz``.

    Parameters
    ----------
    folder
        Folder of the stacks, which is made if need be. No two recorders may use one.
    frames_per_stack
        Most frames of a stack.
    listen
        Gets warnings about stacks that cannot be written yet.

    Attributes
    ----------
    folder
        The folder.
    recorded
        Number of frames that were recorded here.

    Raises
    ------
    OutputExistsError
        Another recorder, or another run, uses the folder.
    ParameterError
        The number is out of range.
    DamagedError
        The file with the numbers of recorded frames is damaged; nothing has been changed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        frames_per_stack: int = 1000,
        listen: Listener = messages.silent,
    ) -> None:
        raise_all("recorder", whole("frames_per_stack", frames_per_stack, 1, 1 << 24))
        self.folder, self._listen, self.recorded = Path(folder), listen, 0
        self._settings = {"frames_per_stack": frames_per_stack, "codec": CODEC}
        self._closed = False
        self._codecs: dict[tuple[str, tuple[int, int]], Codec] = {}
        self._lock = threading.RLock()
        self._ended: deque[FrameSpool] = deque()
        self._failure: MrczDaskError | OSError | None = None
        self._held = ExitStack()
        self._held.enter_context(locked(self.folder, listen))
        self._writer = ThreadPoolExecutor(1, "stacks")
        self._held.callback(self._writer.shutdown)
        self._work: Future[None] | None = None
        try:
            self._streams: StreamStacks[FrameSpool] = StreamStacks(
                self.folder / STATE, frames_per_stack, self._begin, self._end
            )
            self._resume()
        except BaseException:
            self._held.close()
            raise

    def _resume(self) -> None:
        """Go on with the spools that an earlier recorder left; delete those without frames."""
        spools: list[FrameSpool] = []
        for path in self.folder.glob(f".*{SPOOL}"):
            try:
                spool = FrameSpool.resume(path)
            except DamagedError as error:
                self._listen(messages.Warned(str(error)))
                continue
            if spool is None:
                path.unlink()
                continue
            numbers = [entry.number for entry in spool.entries]
            if spool.damage:
                self._listen(messages.Warned(describe_damage(spool, numbers, first_number(spool))))
            if not numbers:
                spool.remove()
            elif self._streams.is_written(spool.about.stream, numbers[-1]):
                self._end(spool)  # goes if its stack is there and sound, else the stack is written again
            else:
                spools.append(spool)
        for spool in sorted(spools, key=lambda spool: (spool.about.stream, spool.entries[0].number)):
            self._streams.resume(spool, spool.entries[-1].number)

    @property
    def missing(self) -> int:
        """Number of frames that never arrived, judged by gaps in the numbers of recorded frames."""
        return self._streams.missing

    def next_number(self, stream: str = "") -> int:
        """Return the number that the next frame of a stream should have; 0 for an unknown stream."""
        with self._lock:
            return self._streams.next.get(stream or UNNAMED, 0)

    def append(self, frames: Sequence[Frame]) -> None:
        """Record frames; they are safe on disk when this returns.

        Parameters
        ----------
        frames
            Frames in the order of their numbers in each stream.

        Raises
        ------
        SpaceError
            The disk is full; frames that are not recorded may be given again.
        DtypeError
            MRC cannot hold the pixels; names the type to cast to.
        FormatError
            No file can hold the metadata, the numbers or the time of a frame; none of the frames is recorded.
        """
        with self._lock:
            if self._closed:
                raise ParameterError(f"the recorder of {self.folder} is closed; make a new one")
            checked = []
            for frame in frames:
                check_pixels(frame.data.dtype)
                number, index = whole_number(frame.number, "number"), whole_number(frame.index, "index")
                time, meta = finite_number(frame.time, "time"), plain_meta(frame.stack, frame.meta)
                checked.append(replace(frame, number=number, index=index, time=time, meta=meta))
            for spool, run in self._streams.cut(checked):
                spool.add([(frame, self._chunk(frame, spool.about)) for frame in run])
                self.recorded += len(run)

    def _begin(self, about: StreamInfo, number: int) -> FrameSpool:
        name = stack_name(about.stream, number, about.stack)
        # another stream or stack may have the name already, such as `a` and `A` where files ignore case
        paths = (self.folder / f".{name}{f'-{k}' if k else ''}{SPOOL}" for k in chain([0], count(2)))
        path = next(path for path in paths if not os.path.lexists(path))
        return FrameSpool.create(path, asdict(about))

    def _chunk(self, frame: Frame, about: StreamInfo) -> bytes:
        if frame.chunk is not None:
            with suppress(FormatError):
                check_chunk(frame.chunk, frame.data.nbytes, frame.data.itemsize)
                return frame.chunk
        items = Stored.of(frame.data.dtype, about.shape).items(frame.data)
        key = about.dtype, about.shape
        if key not in self._codecs:
            self._codecs[key] = resolve(CODEC, items) or Codec()
        return self._codecs[key].compress(items)

    def _end(self, spool: FrameSpool) -> None:
        if not len(spool):
            spool.remove()
            return
        self._ended.append(spool)
        if len(self._ended) > _MOST_WAITING and self._work is not None:
            self._work.result()
        self._work = self._writer.submit(self._write_ended)

    def _write_ended(self) -> None:
        """Write the stacks that have ended; those that cannot be written are tried again later."""
        failure: MrczDaskError | OSError | None = None
        for _ in range(len(self._ended)):
            spool = self._ended[0]
            try:
                target = self.folder / f"{spool.path.name[1 : -len(SPOOL)]}.mrcz"
                stack = write_stack(spool, target, self._settings)
                manifest.add(self.folder, files_in([stack], self.folder), self._listen)
                # before the spool goes: whoever moves stacks away must not make frames come again
                self._streams.written(spool.about.stream, spool.entries[-1].number)
                spool.remove()
                self._ended.popleft()
            except (MrczDaskError, OSError) as error:
                failure = error
                self._listen(messages.Warned(f"{error}; its frames are safe in {spool.path}"))
                self._ended.rotate(-1)
        self._failure = failure

    def close(self) -> None:
        """Write the last stacks, and let other recorders use the folder.

        Raises
        ------
        SpaceError
            A stack cannot be written; its frames stay in a spool, with which the next recorder goes on.
        """
        with self._lock, self._held:
            if self._closed:
                return
            self._closed = True
            self._streams.end_all()
            self._writer.submit(self._write_ended).result()
        for spool in self._ended:
            spool.close()
        if self._ended and self._failure is not None:
            raise self._failure

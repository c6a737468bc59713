"""Electrons of frames as they come: counted on workers with a bounded backlog, written stack by stack.

A frame is *safe* when its electrons are in a spool on the disk, or the frame itself in a recording; what is
safe is found again after any kill, and only that is acknowledged to the sender. When the backlog is full,
frames wait where they are: in the socket, and then in the sender.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.counter import Batch, Method
from mrcz_dask.counting.detectors import DetectorScript
from mrcz_dask.counting.spool import SUFFIX, append_batch
from mrcz_dask.counting.tasks import Counted, batch_frames, write_outputs
from mrcz_dask.engine.client import Client
from mrcz_dask.formats.spool import Spool
from mrcz_dask.live.counting.dispatch import Dispatch, Flight
from mrcz_dask.live.counting.shipping import SentTask, Shipping
from mrcz_dask.live.counting.stacks import (
    OpenStack,
    StreamOptions,
    said_of,
    spooled,
    target_of,
    write_task,
)
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.recorder import Recorder, recorded
from mrcz_dask.live.record.spool import About
from mrcz_dask.live.record.stacks import recorded_streams
from mrcz_dask.live.record.streams import StreamStacks
from mrcz_dask.live.transport.wire import plain_meta
from mrcz_dask.values import messages
from mrcz_dask.values.errors import MrczDaskError, OutputExistsError, ParameterError

STATE = ".counting.json"
UNNAMED = "frames"
PHASE = "counted frames"
_PAUSE = 0.002


class CountStream:
    """Counts frames; made by `open_counting`.

    Parameters
    ----------
    options
        What to do.
    client
        Where.
    listen
        Is told what happens.

    Attributes
    ----------
    results
        Of the stacks that are written.
    received
        Frames that came.

    Raises
    ------
    OutputExistsError
        The folder holds electrons that were counted in another way.
    """

    def __init__(
        self, options: StreamOptions, client: Client, listen: messages.Listener = messages.silent
    ) -> None:
        self.options, self._listen = options, listen
        self.results: list[Counted] = []
        self.received = 0
        self._calibration = Calibration.load(options.calibration)
        script = None if options.detector is None else DetectorScript.parse(options.detector)
        self._method = Method(str(options.calibration.absolute()), self._calibration.digest, script)
        self._each = batch_frames(self._calibration.shape)
        self._slots = client.slots
        self._most = max(2, options.backlog * client.slots)
        self._closing = ExitStack()
        self._dispatcher = self._closing.enter_context(Dispatch(client))
        self._shipping = Shipping(self._calibration, options.zero_below, listen=listen)
        self._closing.callback(self._shipping.close)
        self._stacks: list[OpenStack] = []
        self._flying: list[tuple[Flight, OpenStack, dict[str, Any]]] = []
        self._writing: list[tuple[Flight, OpenStack]] = []
        self._recorder: Recorder | None = None
        try:
            self._streams: StreamStacks[OpenStack] = StreamStacks(
                options.folder / STATE, options.stack_frames, self._begin, self._end, listen=listen
            )
            self._resume()
            if options.record is not None:
                self._recorder = self._closing.enter_context(Recorder(options.record, listen=listen))
                self._catch_up(options.record)
        except BaseException:
            self._closing.close()
            raise

    # ---- what was there before

    def _resume(self) -> None:
        """Go on where an earlier run was, killed or not."""
        paths = sorted(self.options.folder.glob(f".*{SUFFIX}"))
        found = [spooled(path, self._method, self.options.zero_below) for path in paths]
        for stack in sorted((one for one in found if one is not None), key=lambda one: one.first):
            if self._streams.is_written(stack.about.stream, stack.numbers[-1]):
                stack.spool.remove()
            else:
                self._stacks.append(stack)
                self._streams.resume(stack, stack.numbers[-1])

    def _catch_up(self, folder: Path) -> None:
        """Count what was recorded and not counted."""
        assert self._recorder is not None
        for stream in recorded_streams(folder):
            for frame in recorded(folder, stream, self._streams.next.get(stream, 0)):
                self._take(stream, [frame])
                self._dispatch()

    # ---- frames that come

    @property
    def missing(self) -> int:
        """How many numbers were left out before the frames that came."""
        return self._streams.missing

    def next_number(self, stream: str = "") -> int:
        """Return the number below which all frames of a stream are safe."""
        self._collect()
        if self._recorder is not None:
            return self._recorder.next_number(stream)
        unsafe = [one for one in self._stacks if one.about.stream == stream and one.safe_frames < len(one)]
        if not unsafe:
            return self._streams.next.get(stream, 0)
        first = min(unsafe, key=lambda one: one.first)
        known = first.numbers
        return known[-1] + 1 if known else first.first

    def publish(self, frames: Sequence[Frame]) -> None:
        """Take frames in order; waits while the backlog is full.

        Raises
        ------
        ProcessorError
            The user's function fails, with its traceback.
        ParameterError
            Frames are not those of the calibration's detector.
        SpaceError
            The disk is full.
        """
        if self._recorder is not None:
            self._recorder.append(frames)
        streams: dict[str, list[Frame]] = {}
        for frame in frames:
            named = frame if frame.stream else replace(frame, stream=UNNAMED)
            streams.setdefault(named.stream, []).append(named)
        for stream, group in streams.items():
            self._take(stream, group)
        self._dispatch()

    def safe_number(self, stream: str = "") -> int:
        """Return `next_number` after a `tick`: what `Listen` asks all the time."""
        self.tick()
        return self.next_number(stream)

    def tick(self) -> None:
        """Take in what workers have done, and give idle ones what waits."""
        self._collect()
        self._dispatch()

    def _take(self, stream: str, frames: Sequence[Frame]) -> None:
        for stack, run in self._streams.cut(stream, self._streams.fresh(stream, frames)):
            stack.waiting += run
            self.received += len(run)

    def _begin(self, about: About, number: int) -> OpenStack:
        if tuple(about.shape) != self._calibration.shape:
            raise ParameterError(
                f"frames of stream {about.stream!r} are {about.shape}; expected {self._calibration.shape}, "
                "as the detector's calibration; give the calibration of this camera (--calibration)"
            )
        target = target_of(self.options.folder, about, number)
        if target.exists():
            raise OutputExistsError(f"{target} is there already; choose another output folder (-o)")
        path = self.options.folder / f".{target.stem}{SUFFIX}"
        header = said_of(about, number, self._method, self.options.zero_below)
        self._stacks.append(OpenStack(about, number, Spool.create(path, header)))
        return self._stacks[-1]

    def _end(self, stack: OpenStack) -> None:
        stack.ended = True

    def end_stacks(self) -> None:
        """Let all stacks end here, whatever comes next."""
        for stream in list(self._streams.open):
            self._streams.end(stream)

    # ---- to workers and back

    def _dispatch(self) -> None:
        """Send whole batches; others only where a stack has ended, or workers are idle."""
        for stack in self._stacks:
            while stack.waiting:
                few = len(stack.waiting) < self._each and not stack.ended
                if few and len(self._flying) >= self._slots:
                    break
                self._send(stack, stack.waiting[: self._each])
        self._finish_stacks()

    def _send(self, stack: OpenStack, frames: list[Frame]) -> None:
        while len(self._flying) >= self._most:
            self._collect()
            if len(self._flying) >= self._most:
                time.sleep(_PAUSE)
        chunks = self._shipping.chunks(frames)
        task = SentTask(stack.sent, chunks, stack.about.dtype, self._method, self._shipping.zeroed)
        said = {
            "numbers": [one.number for one in frames],
            "times": [one.time for one in frames],
            "meta": plain_meta(frames[0].stack, frames[0].meta),
        }
        del stack.waiting[: len(frames)]
        stack.sent += len(frames)
        stack.running += 1
        self._flying.append((self._dispatcher.count(task), stack, said))

    def _collect(self) -> None:
        """Put electrons that are there into their spools."""
        done = [one for one in self._flying if one[0].done()]
        self._flying = [one for one in self._flying if not one[0].done()] if done else self._flying
        for future, stack, said in done:
            batch: Batch = future.result()
            append_batch(stack.spool, batch, **said)
            stack.running -= 1

    def _finish_stacks(self) -> None:
        """Let outputs be written of stacks that are whole; see to those that are written."""
        for stack in self._stacks:
            is_writing = any(one is stack for _, one in self._writing)
            if stack.ended and not stack.waiting and not stack.running and not is_writing:
                self._writing.append(
                    (
                        self._dispatcher.run(write_outputs, write_task(stack, self.options, self._method)),
                        stack,
                    )
                )
        for future, stack in [one for one in self._writing if one[0].done()]:
            self._writing = [one for one in self._writing if one[1] is not stack]
            self._stacks.remove(stack)
            self._wrote(stack, future)

    def _wrote(self, stack: OpenStack, future: Any) -> None:
        try:
            made: Counted = future.result()
        except (MrczDaskError, OSError) as error:
            self._listen(messages.Warned(f"{error}; the electrons are safe in {stack.spool.path}"))
            stack.spool.close()
            return
        self.results.append(made)
        self._streams.written(stack.about.stream, stack.numbers[-1])
        stack.spool.remove()
        self._listen(messages.StackDone(PHASE, made.output, made.bytes_in))

    def close(self) -> None:
        """Count and write what is left."""
        with self._closing:
            self.end_stacks()
            while self._stacks:
                self.tick()
                time.sleep(_PAUSE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.close()
        else:  # what is in spools stays there
            self._closing.close()

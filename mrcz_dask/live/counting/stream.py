"""Counts live raw frames on workers, with a limited backlog, and writes counted stacks.

A frame is *safe* when its electrons are in a spool on the disk, or the frame itself in a recording. After any
kill the next run goes on with what is safe, and only that is acknowledged to the sender. When the backlog is
full, frames wait where they are: in the socket, and then in the sender.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from threading import Event
from typing import Any, Self

import numpy as np

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.counter import CountingMethod, DetectorScript
from mrcz_dask.counting.spool import SUFFIX, append_batch
from mrcz_dask.counting.tasks import Counted, batch_frames, estimate_memory, write_outputs
from mrcz_dask.engine.client import Client
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.formats.spool import Spool
from mrcz_dask.live.counting.frame_compressor import FrameCompressor, SentTask, count_sent
from mrcz_dask.live.counting.stacks import (
    CountingStack,
    StreamOptions,
    resume_stacks,
    spool_header,
    write_task,
)
from mrcz_dask.live.frames import Frame, FrameStream
from mrcz_dask.live.record.recorder import Recorder
from mrcz_dask.live.record.spool import StreamInfo, plain_meta
from mrcz_dask.live.record.stacks import StreamStacks, recorded, recorded_files, stack_name
from mrcz_dask.session import manifest
from mrcz_dask.session.log import Log
from mrcz_dask.session.output_folder import locked
from mrcz_dask.values import messages
from mrcz_dask.values.errors import MrczDaskError, OutputExistsError, ParameterError

STATE = ".counting.json"
PHASE = "counted frames"
_PAUSE = 0.02


class CountStream:
    """Counts the electrons of live raw frames on workers and writes counted stacks; made by `count_stream`.

    Parameters
    ----------
    options
        Options of the stream.
    client
        Client to which tasks are submitted.
    listen
        Gets messages.

    Attributes
    ----------
    results
        Records of the stacks that are written.
    received
        Number of frames that arrived.

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
        self._method = CountingMethod(str(options.calibration.absolute()), self._calibration.digest, script)
        self._batch_frames = batch_frames(self._calibration.shape)
        self._client, self._closing = client, ExitStack()
        self._compressor = FrameCompressor(self._calibration, options.zero_below, listen=listen)
        self._closing.callback(self._compressor.close)
        self._stacks: list[CountingStack] = []
        self._counting: dict[Any, tuple[CountingStack, dict[str, Any]]] = {}
        self._writing: dict[Any, CountingStack] = {}
        self._recorder: Recorder | None = None
        try:
            self._streams: StreamStacks[CountingStack] = StreamStacks(
                options.folder / STATE, options.stack_frames, self._begin, self._end, listen
            )
            self._resume()
        except BaseException:
            self._closing.close()
            raise

    def _resume(self) -> None:
        """Go on where an earlier run was, killed or not; count frames that were only recorded."""
        options = self.options
        for stack in resume_stacks(options.folder, self._method, options.zero_below, self._listen):
            self._stacks.append(stack)
            last = stack.numbers()[-1]
            if self._streams.is_written(stack.about.stream, last):
                self._end(stack)  # written again, as nobody knows whether its outputs are sound
            else:
                self._streams.resume(stack, last)
        if options.record is None:
            return
        self._recorder = self._closing.enter_context(Recorder(options.record, listen=self._listen))
        for stream in sorted({stream for stream, _ in recorded_files(options.record)}):
            for frame in recorded(options.record, stream, self._streams.next.get(stream, 0)):
                self._take([frame])

    # Frames arrive.

    def check(self, dtype: np.dtype[Any], shape: tuple[int, int]) -> None:
        """Check that frames of a type and shape (ny, nx) can be counted.

        Raises
        ------
        ParameterError
            They are not from the detector of the calibration, or complex.
        """
        if shape != self._calibration.shape or dtype.kind == "c":
            raise ParameterError(
                f"frames are {dtype} {shape}; expected counts {self._calibration.shape}, as the detector's "
                "calibration; give the calibration of this camera (--calibration)"
            )

    @property
    def missing(self) -> int:
        """Number of frames that never arrived, judged by gaps in the numbers of received frames."""
        return self._streams.missing

    def next_number(self, stream: str = "") -> int:
        """Return the number of the first frame of a stream that is not safe on disk;
        senders keep it and later ones.
        """
        self._collect()
        if self._recorder is not None:
            return self._recorder.next_number(stream)
        return self._safe_number(stream)

    def _safe_number(self, stream: str, of: CountingStack | None = None, *more: tuple[int, list[int]]) -> int:
        """Return the number of the first frame of a stream whose electrons are in no spool, counting in
        batches that one stack will get.
        """
        own = (stack for stack in self._stacks if stack.about.stream == stream)
        for stack in sorted(own, key=lambda stack: stack.first):
            numbers = stack.numbers(*more) if stack is of else stack.numbers()
            if len(numbers) < len(stack):
                return numbers[-1] + 1 if numbers else stack.first
        return self._streams.next.get(stream, 0)

    def safe_number(self, stream: str = "") -> int:
        """Process what workers have finished, send waiting frames to them, then return `next_number`;
        called by the receiver between frames.
        """
        self._collect()
        self._send_waiting()
        return self.next_number(stream)

    def publish(self, frames: Sequence[Frame]) -> None:
        """Take raw frames in order and send them to workers; wait while too many tasks are unfinished.

        Raises
        ------
        ProcessorError
            The user's function fails, with its traceback.
        ParameterError
            The frames do not fit the detector's calibration.
        SpaceError
            The disk is full.
        """
        if self._recorder is not None:
            self._recorder.append(frames)
        self._take(frames)

    def _take(self, frames: Sequence[Frame]) -> None:
        for stack, run in self._streams.cut(frames):
            stack.waiting += run
            self.received += len(run)
        self._send_waiting()

    def _begin(self, about: StreamInfo, number: int) -> CountingStack:
        self.check(np.dtype(about.dtype), about.shape)
        folder, name = self.options.folder, stack_name(about.stream, number, about.stack)
        if (folder / f"{name}.mrcz").exists():
            raise OutputExistsError(
                f"{folder / name}.mrcz is there already; choose another output folder (-o)"
            )
        header = spool_header(about, number, self._method, self.options.zero_below)
        stack = CountingStack(about, number, Spool.create(folder / f".{name}{SUFFIX}", header))
        self._stacks.append(stack)
        return stack

    def _end(self, stack: CountingStack) -> None:
        stack.ended = True

    # Frames go to workers, and electrons come back.

    def _send_waiting(self) -> None:
        """Send whole batches; smaller ones only if a stack has ended, or workers are idle."""
        for stack in list(self._stacks):
            while stack.waiting:
                is_small = len(stack.waiting) < self._batch_frames and not stack.ended
                if is_small and len(self._counting) >= self._client.slots:
                    break
                self._send(stack, stack.waiting[: self._batch_frames])
            is_counted = stack.ended and not stack.running
            if is_counted and stack in self._stacks and stack not in self._writing.values():
                task = write_task(stack, self.options, self._method)
                self._writing[self._submit("write-counted", write_outputs, task)] = stack

    def _send(self, stack: CountingStack, frames: list[Frame]) -> None:
        while len(self._counting) >= max(2, self.options.backlog * self._client.slots):
            self._collect(_PAUSE)
        header = {
            "numbers": [frame.number for frame in frames],
            "times": [frame.time for frame in frames],
            "meta": plain_meta(frames[0].stack, frames[0].meta),
        }
        task = SentTask(stack.sent, stack.about.dtype, self._method, self._compressor.is_zeroed)
        future = self._submit("count-sent", count_sent, task, *self._compressor.chunks(frames))
        self._counting[future] = stack, header
        del stack.waiting[: len(frames)]
        stack.sent += len(frames)
        stack.running += 1

    def _submit(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        future = self._client.submit(name, function, *arguments)
        self._client.watch(future)
        return future

    def _collect(self, seconds: float = 0.0) -> None:
        """Take in results of workers: electrons go into their spools, and spools of written stacks go."""
        for future, result in self._client.finished(seconds):
            written = self._writing.pop(future, None)
            if written is not None:
                self._stacks.remove(written)
                if isinstance(result, (MrczDaskError, OSError)):
                    self._listen(messages.Warned(f"{result}; the electrons are safe in {written.spool.path}"))
                    written.spool.close()
                    continue
            if isinstance(result, Exception):
                raise result
            if written is not None:
                self.results.append(result)
                manifest.add(self.options.folder, result.written.files, self._listen)
                self._streams.written(written.about.stream, written.numbers()[-1])
                written.spool.remove()
                self._listen(messages.StackDone(PHASE, result.output, result.bytes_in))
                continue
            stack, header = self._counting.pop(future)
            stream = stack.about.stream
            safe = self._safe_number(stream, stack, (result.first, header["numbers"]))
            append_batch(stack.spool, result, **header, safe=safe)
            stack.running -= 1

    def close(self) -> None:
        """Count the frames that are left, write the last stacks, and release everything."""
        with self._closing:
            self._streams.end_all()
            while self._stacks:
                self._send_waiting()
                self._collect(_PAUSE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.close()
        else:  # spools stay for the next run
            self._closing.close()


CountSource = FrameStream | Callable[[CountStream], FrameStream]


def count_stream(
    source: CountSource | Iterable[Any],
    options: StreamOptions,
    where: ClientOptions | None = None,
    stop: Event | None = None,
    listen: messages.Listener = messages.silent,
) -> CountStream:
    """Count the electrons of raw frames as they arrive, and write the results stack by stack,
    until no more come.

    Parameters
    ----------
    source
        A `FrameStream`; a function that makes one, given the `CountStream` (for `Listen`, whose senders must
        know which frames are safe); or an iterable of arrays (ny, nx) or `Frame` objects.
    options
        Options of the stream.
    where
        Workers that count; None = this process.
    stop
        Ends the stream in order.
    listen
        Gets messages.

    Returns
    -------
    CountStream
        The closed stream, with its results.

    Raises
    ------
    MrczDaskError, OSError
        The stream ended early; senders keep the frames that were not acknowledged.
    """
    stop = stop or Event()
    options.folder.mkdir(parents=True, exist_ok=True)
    with locked(options.folder, listen):
        shape = Calibration.load(options.calibration).shape
        listener = messages.several(Log(options.folder, listen), listen)
        estimate = estimate_memory(shape, options.fractions.upsampling)
        with open_client(where or ClientOptions(workers=0), estimate, listener) as client:
            with CountStream(options, client, listener) as counting:
                stream: Any = source if hasattr(source, "run") or not callable(source) else source(counting)
                if hasattr(stream, "run"):
                    stream.run(counting.publish, stop)
                    return counting
                for number, frame in enumerate(stream):
                    if stop.is_set():
                        break
                    is_frame = isinstance(frame, Frame)
                    counting.publish([frame if is_frame else Frame(number, time.time(), np.asarray(frame))])
            return counting

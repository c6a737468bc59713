"""Counts the electrons of a live stream with one Python call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.counting.calibration import Calibration
from mrcz_dask.counting.tasks import estimate_memory
from mrcz_dask.engine.clusters import ClientOptions, open_client
from mrcz_dask.live.counting.stacks import StreamOptions
from mrcz_dask.live.counting.stream import CountStream
from mrcz_dask.live.frames import Frame, FrameStream, Publish
from mrcz_dask.session.log import Log
from mrcz_dask.session.output_folder import locked
from mrcz_dask.values import messages

Source = FrameStream | Callable[[CountStream], FrameStream]


class _Iterated:
    """Frames of a Python iterable as a `FrameStream`."""

    name = "frames"

    def __init__(self, frames: Iterable[NDArray[Any] | Frame]) -> None:
        self._frames = frames

    def run(self, publish: Publish, stop: Event) -> None:
        """Hand frames on until there are no more or `stop` is set."""
        for number, frame in enumerate(self._frames):
            if stop.is_set():
                return
            if not isinstance(frame, Frame):
                frame = Frame(number, time.time(), np.asarray(frame))
            publish([frame])


def count_stream(
    source: Source | Iterable[Any],
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
    options.folder.mkdir(parents=True, exist_ok=True)
    with locked(options.folder, listen):
        shape = Calibration.load(options.calibration).shape
        listener = messages.several(Log(options.folder, listen), listen)
        estimate = estimate_memory(shape, options.fractions.upsampling)
        with open_client(where or ClientOptions(workers=0), estimate, listener) as client:
            with CountStream(options, client, listener) as counting:
                stream: Any = source if hasattr(source, "run") or not callable(source) else source(counting)
                if not hasattr(stream, "run"):
                    stream = _Iterated(stream)
                stream.run(counting.publish, stop or Event())
            return counting

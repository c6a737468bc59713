"""Counting a stream from Python in one call; `count_stream` has what happens to its frames."""

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

__all__ = ["CountStream", "Generated", "StreamOptions", "count_stream"]


class Generated:
    """Frames of a Python iterable as a `FrameStream`.

    Parameters
    ----------
    frames
        Arrays (ny, nx), or `Frame`s.
    """

    name = "frames"

    def __init__(self, frames: Iterable[NDArray[Any] | Frame]) -> None:
        self._frames = frames

    def run(self, publish: Publish, stop: Event) -> None:
        """Hand them on until there are no more or `stop` is set."""
        for number, one in enumerate(self._frames):
            if stop.is_set():
                return
            frame = one if isinstance(one, Frame) else Frame(number, time.time(), np.asarray(one))
            publish([frame])


Source = FrameStream | Callable[[CountStream], FrameStream]


def count_stream(
    source: Source | Iterable[Any],
    options: StreamOptions,
    where: ClientOptions | None = None,
    stop: Event | None = None,
    listen: messages.Listener = messages.silent,
) -> CountStream:
    """Count frames as they come, until there are no more.

    Parameters
    ----------
    source
        A `FrameStream`; what makes one of the counting (for `Listen`, whose senders are to know what is
        safe); or an iterable of arrays.
    options
        What to do.
    where
        Where tasks run; None = in this process.
    stop
        Ends the stream in order.
    listen
        Is told what happens.

    Returns
    -------
    CountStream
        Closed; its results.

    Raises
    ------
    MrczDaskError, OSError
        What ended it early: senders keep the frames that were not acknowledged.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    with locked(options.folder, listen):
        shape = Calibration.load(options.calibration).shape
        tell = messages.several(Log(options.folder, listen), listen)
        needed = estimate_memory(shape, options.fractions.upsampling)
        with open_client(where or ClientOptions(workers=0), needed, tell) as client:
            with CountStream(options, client, tell) as counting:
                made = _source(source, counting)
                made.run(counting.publish, stop or Event())
            return counting


def _source(source: Any, counting: CountStream) -> FrameStream:
    if hasattr(source, "run"):
        return source  # type: ignore[no-any-return]
    return source(counting) if callable(source) else Generated(source)

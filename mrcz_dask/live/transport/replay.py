"""A stack that is there already, as if it were recorded now."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from mrcz_dask.formats.frames import FrameSource
from mrcz_dask.formats.places import stem_of
from mrcz_dask.formats.sources import open_source
from mrcz_dask.live.frames import Frame, Publish
from mrcz_dask.live.record.stacks import recorded
from mrcz_dask.values.errors import FormatError, ParameterError
from mrcz_dask.values.params import InputParams


class Replay:
    """Frames of stacks at a rate, or as fast as they are taken.

    Parameters
    ----------
    paths
        Of the stacks, of any format that is read.
    fps
        Frames a second; None = as fast as they are taken.
    loop
        Begin again at the end, until it is stopped.
    inputs
        How stacks are read where they do not say it.

    Raises
    ------
    ParameterError
        The rate is none.
    """

    def __init__(
        self,
        *paths: Path | str,
        fps: float | None = None,
        loop: bool = False,
        inputs: InputParams | None = None,
    ) -> None:
        if fps is not None and not 0 < fps <= 1e4:
            raise ParameterError(f"--fps is {fps}; expected frames a second, above 0, such as 10")
        self._paths, self._fps, self._loop, self._inputs = [Path(one) for one in paths], fps, loop, inputs
        self.name = f"replay of {', '.join(one.name for one in self._paths)}"

    def run(self, publish: Publish, stop: Event) -> None:
        """Hand frames on until there are no more or `stop` is set."""
        began = time.monotonic()
        for number, frame in enumerate(self._frames()):
            due = began + number / self._fps if self._fps else 0.0
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            publish([frame(number)])

    def _frames(self) -> Iterator[Numbered]:
        for _ in itertools.count() if self._loop else range(1):
            for path in self._paths:
                with open_source(path, self._inputs) as stack:
                    yield from stack_frames(stack, stem_of(path.name))


class Numbered:
    """A frame of a stack that gets its number, and is read, when it is called with it."""

    def __init__(self, stack: FrameSource, name: str, index: int) -> None:
        self._stack, self._name, self._index = stack, name, index

    def __call__(self, number: int) -> Frame:
        """Read it."""
        stack = self._stack
        data = stack.physical(self._index)
        data.flags.writeable = False
        size = stack.pixel_size
        return Frame(number, time.time(), data, self._name, self._index, size[0] if size else None)


def stack_frames(stack: FrameSource, name: str, start: int = 0) -> Iterator[Numbered]:
    """Yield the frames of an open stack from one on; each is read when it is given its number."""
    return (Numbered(stack, name, k) for k in range(start, len(stack)))


class Recorded:
    """All frames of a recording, with their numbers and times, as fast as they are taken.

    Parameters
    ----------
    folder
        Of the recording.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        self.name = f"recording {self._folder.name}"

    def run(self, publish: Publish, stop: Event) -> None:
        """Hand frames on until there are no more or `stop` is set.

        Raises
        ------
        FormatError
            There is no recording in the folder.
        """
        frame = None
        for frame in recorded(self._folder):
            if stop.is_set():
                return
            publish([frame])
        if frame is None:
            raise FormatError(
                f"{self._folder}: no recorded frames in it; expected a folder that `mrcz-dask live --record` "
                "wrote"
            )

"""Replays the frames of existing stacks, or of a recording, as if a camera sent them now."""

from __future__ import annotations

import itertools
import time
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
    """Source of live frames: replays existing stacks, at a frame rate or as fast as possible.

    Parameters
    ----------
    paths
        The stacks, of any format that can be read.
    fps
        Frames a second; None = as fast as they are taken.
    loop
        Begin again at the end, until it is stopped.
    inputs
        How stacks are read where their headers do not say.

    Raises
    ------
    ParameterError
        The rate is not above 0.
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
        self._paths, self._fps, self._loop, self._inputs = [Path(path) for path in paths], fps, loop, inputs
        self.name = f"replay of {', '.join(path.name for path in self._paths)}"

    def run(self, publish: Publish, stop: Event) -> None:
        """Pass on the frames of all stacks, until the end or until `stop` is set."""
        began, number = time.monotonic(), 0
        for turn in itertools.count() if self._loop else range(1):
            if turn and not number:
                return  # the stacks have no frames
            for path in self._paths:
                with open_source(path, self._inputs) as stack:
                    for index in range(len(stack)):
                        due = began + number / self._fps if self._fps else 0.0
                        if stop.wait(max(0.0, due - time.monotonic())):
                            return
                        publish([frame_of(stack, stem_of(path.name), index, number)])
                        number += 1


def frame_of(stack: FrameSource, name: str, index: int, number: int) -> Frame:
    """Read frame `index` of an open stack as a live frame with the given number."""
    data = stack.physical(index)
    data.flags.writeable = False
    size = stack.pixel_size
    # it stays with the frame when it is recorded, and a list of defects needs it
    meta = {"first_row": stack.first_row} if stack.first_row == "top" else {}
    return Frame(number, time.time(), data, name, index, size[0] if size else None, meta)


class Recorded:
    """Source of live frames: replays a recording with its frame numbers and times, as fast as possible.

    Parameters
    ----------
    folder
        Folder of the recording.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        self.name = f"recording {self._folder.name}"

    def run(self, publish: Publish, stop: Event) -> None:
        """Pass on all recorded frames, until the end or until `stop` is set.

        Raises
        ------
        FormatError
            The folder holds no recording.
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

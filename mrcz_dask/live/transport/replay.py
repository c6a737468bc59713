"""Reads live frames from stacks that are there, from a recording, or from a folder that is written."""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from pathlib import Path
from threading import Event

from mrcz_dask.formats.frames import FrameSource
from mrcz_dask.formats.places import resolved, stem_of
from mrcz_dask.formats.sources import open_source
from mrcz_dask.live.frames import Frame, Publish
from mrcz_dask.live.record.stacks import recorded
from mrcz_dask.session.watching import Watcher
from mrcz_dask.values.errors import FormatError, MrczDaskError, ParameterError
from mrcz_dask.values.messages import Listener, StackLeftOut, Warned
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
    data, size = stack.physical(index), stack.pixel_size
    data.flags.writeable = False
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


POLL_SECONDS = 0.25
GROWS = (".mrc", ".mrcs", ".mrcz")  # formats whose frames can be read while the file grows


class Folder:
    """Source of live frames: reads the stacks in a folder, and new ones as the microscope writes them.

    Parameters
    ----------
    path
        The folder.
    listen
        Gets messages about files that are no stacks.
    settle
        Seconds without a change after which a file is taken.
    idle
        Seconds without a frame after which it ends, once every file has settled; None = never.
    new
        Leave out the stacks that are there at the beginning.
    inputs
        How stacks are read where their headers do not say.

    Raises
    ------
    ParameterError
        The folder does not exist.
    """

    def __init__(
        self,
        path: Path | str,
        listen: Listener,
        *,
        settle: float = 5.0,
        idle: float | None = None,
        new: bool = False,
        inputs: InputParams | None = None,
    ) -> None:
        # as the watcher names its files: each is known by its path
        self._path = resolved(path)
        if not self._path.is_dir():
            raise ParameterError(
                f"{path}: no folder; expected one that is followed, or --replay, or --listen"
            )
        self._listen, self._idle, self._new, self._inputs = listen, idle, new, inputs
        self._watcher = Watcher(self._path, self._path / "koma", settle, inputs=inputs)
        self._read: dict[Path, int] = {}  # frames that were handed on
        self._complete: set[Path] = set()
        self._rejected: set[Path] = set()
        self._number = 0
        self.name = f"folder {self._path.name}"

    def run(self, publish: Publish, stop: Event) -> None:
        """Pass on the frames of all stacks, until `stop` is set or no frame has come for a while."""
        if self._new:
            self._complete.update(self._path.iterdir())
        waited = 0.0
        while not stop.is_set() and (self._idle is None or waited < self._idle):
            before, unsettled = self._number, 0
            with suppress(OSError):  # a folder that is away for a while comes back
                unsettled = self._look(publish, stop)
            waited = 0.0 if self._number > before or unsettled else waited + POLL_SECONDS
            stop.wait(POLL_SECONDS)

    def _look(self, publish: Publish, stop: Event) -> int:
        """Hand on new frames; return the number of files that may still grow."""
        state = self._watcher.scan()
        discovery = state.discovery
        for file in discovery.rejected:
            if file.path not in self._rejected:
                self._rejected.add(file.path)
                self._listen(StackLeftOut(file.path.name, file.reason, rejected=True))
        for stack in discovery.stacks:
            self._hand_on(stack.path, publish, stop, settled=True)
        known = {stack.path for stack in discovery.stacks}
        known |= {file.path for file in discovery.skipped} | {file.path for file in discovery.rejected}
        for path in sorted(self._path.iterdir()):
            if path.suffix.lower() in GROWS and path not in known:
                with suppress(MrczDaskError):  # its header is not whole yet
                    self._hand_on(path, publish, stop, settled=False)
        return state.unsettled

    def _hand_on(self, path: Path, publish: Publish, stop: Event, *, settled: bool) -> None:
        """Hand on the new frames of a stack; of a growing one, those that are whole."""
        if path in self._complete:
            return
        unfinished: list[MrczDaskError] = []
        with open_source(path, self._inputs, complain=unfinished.append) as stack:
            if not settled and not unfinished:
                return  # it has its full size, and may have had it from the beginning: it has to settle
            try:
                for index in range(self._read.get(path, 0), len(stack)):
                    if stop.is_set():
                        return
                    publish([frame_of(stack, stem_of(path.name), index, self._number)])
                    self._number += 1
                    self._read[path] = index + 1
            except MrczDaskError as error:
                self._listen(Warned(f"{path.name}: frame {self._read.get(path, 0)} cannot be read: {error}"))
        if settled:
            self._complete.add(path)

"""A folder into which a microscope writes: stacks as they settle, and frames of one that still grows."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Event

from mrcz_dask.formats.frames import FrameSource
from mrcz_dask.formats.places import stem_of
from mrcz_dask.formats.sources import open_source
from mrcz_dask.live.frames import Publish
from mrcz_dask.live.transport.replay import stack_frames
from mrcz_dask.session.entries import Discovery
from mrcz_dask.session.watching import Watcher
from mrcz_dask.values.errors import MrczDaskError, ParameterError
from mrcz_dask.values.messages import Listener, StackLeftOut, Warned
from mrcz_dask.values.params import InputParams

POLL_SECONDS = 0.25
# Of the formats whose frames can be read while the file grows.
GROWS = (".mrc", ".mrcs", ".mrcz")


class Folder:
    """Follows a folder.

    Parameters
    ----------
    path
        The folder.
    settle
        Seconds without a change after which a file is taken.
    idle
        Ends when nothing came for so many seconds, and every file has settled; None = never.
    new
        Leave out what is there at the beginning.
    inputs
        How stacks are read where they do not say it.
    listen
        Is told of files that are no stacks.

    Raises
    ------
    ParameterError
        There is no such folder.
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
        self._path = Path(path).resolve()
        self._listen, self._idle, self._new = listen, idle, new
        if not self._path.is_dir():
            raise ParameterError(
                f"{path}: no folder; expected one that is followed, or --replay, or --listen"
            )
        self._inputs = inputs
        self._watcher = Watcher(self._path, self._path / "koma", settle, inputs=inputs)
        self._done: dict[Path, int] = {}
        self._told: set[Path] = set()
        self._number, self._waited = 0, 0.0
        self.name = f"folder {self._path.name}"

    def run(self, publish: Publish, stop: Event) -> None:
        """Hand frames on until `stop` is set, or nothing came for long."""
        if self._new:
            self._done = dict.fromkeys(self._files(), -1)
        while not stop.is_set() and (self._idle is None or self._waited < self._idle):
            before, unsettled = self._number, 0
            with suppress(OSError):  # a folder that is away for a while comes back
                unsettled = self._look(publish, stop)
            self._waited = 0.0 if self._number > before or unsettled else self._waited + POLL_SECONDS
            stop.wait(POLL_SECONDS)

    def _files(self) -> list[Path]:
        return sorted(one for one in self._path.iterdir() if one.suffix.lower() in GROWS)

    def _look(self, publish: Publish, stop: Event) -> int:
        """Hand on what is new; return how many files may still grow."""
        seen = self._watcher.scan()
        found = seen.discovery
        self._tell(found)
        settled = [stack.path for stack in found.stacks]
        for path in settled:
            self._read(path, publish, stop, whole=True)
        known = {*settled, *(one.path for one in found.skipped), *(one.path for one in found.rejected)}
        for path in self._files():
            if path not in known and self._done.get(path, 0) >= 0:
                with suppress(MrczDaskError):  # a header that is not whole yet
                    self._read(path, publish, stop, whole=False)
        return seen.unsettled

    def _tell(self, found: Discovery) -> None:
        for one in found.rejected:
            if one.path not in self._told:
                self._told.add(one.path)
                self._listen(StackLeftOut(one.path.name, one.reason, rejected=True))

    def _read(self, path: Path, publish: Publish, stop: Event, *, whole: bool) -> None:
        """Hand on the frames of a stack that are new; of a growing one, those that are whole."""
        done = self._done.get(path, 0)
        if done < 0:
            return
        unfinished: list[MrczDaskError] = []
        with open_source(path, self._inputs, complain=unfinished.append) as stack:
            if not whole and not unfinished:
                return  # it has its full size, and may have had it from the beginning: it has to settle
            try:
                self._hand_on(stack, path, done, publish, stop)
            except MrczDaskError as error:
                self._listen(Warned(f"{path.name}: frame {self._done.get(path, 0)} cannot be read: {error}"))
        if whole:
            self._done[path] = -1

    def _hand_on(self, stack: FrameSource, path: Path, done: int, publish: Publish, stop: Event) -> None:
        for frame in stack_frames(stack, stem_of(path.name), done):
            if stop.is_set():
                return
            publish([frame(self._number)])
            self._number += 1
            self._done[path] = self._done.get(path, 0) + 1

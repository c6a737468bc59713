"""Reads live frames from a folder into which a microscope writes, also from a stack that still grows."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Event

from mrcz_dask.formats.places import resolved, stem_of
from mrcz_dask.formats.sources import open_source
from mrcz_dask.live.frames import Publish
from mrcz_dask.live.transport.replay import frame_of
from mrcz_dask.session.watching import Watcher
from mrcz_dask.values.errors import MrczDaskError, ParameterError
from mrcz_dask.values.messages import Listener, StackLeftOut, Warned
from mrcz_dask.values.params import InputParams

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
        seen = self._watcher.scan()
        discovery = seen.discovery
        for file in discovery.rejected:
            if file.path not in self._rejected:
                self._rejected.add(file.path)
                self._listen(StackLeftOut(file.path.name, file.reason, rejected=True))
        for stack in discovery.stacks:
            self._hand_on(stack.path, publish, stop, settled=True)
        known = {stack.path for stack in discovery.stacks}
        known.update(skipped.path for skipped in discovery.skipped)
        known.update(rejected.path for rejected in discovery.rejected)
        for path in sorted(self._path.iterdir()):
            if path.suffix.lower() in GROWS and path not in known:
                with suppress(MrczDaskError):  # its header is not whole yet
                    self._hand_on(path, publish, stop, settled=False)
        return seen.unsettled

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

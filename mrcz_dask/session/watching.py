"""Watch a folder into which a microscope writes, for stacks that are complete (settled).

The folder is asked again and again, as network file systems tell nobody of changes. No clock is compared
with another: a file has settled when this process saw it unchanged for long enough, or when the newest file
is that much younger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

from mrcz_dask.formats.places import measure
from mrcz_dask.formats.text.mdoc import find_mdoc
from mrcz_dask.session.discovery import assemble, session_folder
from mrcz_dask.session.entries import Discovery
from mrcz_dask.session.listing import Listing, list_stacks
from mrcz_dask.session.probe import ProbedFile, probe
from mrcz_dask.values.errors import NoStacksError
from mrcz_dask.values.params import InputParams

# Size and time of a stack and of its .mdoc.
Stamp = tuple[int, ...]


@dataclass(slots=True)
class _File:
    """A file as it was last time, since when it is so, and the result of its probe once it had settled."""

    stamp: Stamp
    since: float
    found: ProbedFile | None = None

    @property
    def changed(self) -> int:
        """Time of the last change of the file or its .mdoc, by the file server's clock, nanoseconds."""
        return max(self.stamp[1::2])


@dataclass(frozen=True, slots=True)
class FolderState:
    """State of a watched folder at one time: its settled stacks, and how many files are still changing.

    Attributes
    ----------
    discovery
        Files that have settled; there may be no stack.
    unsettled
        Number of files that still change, or changed a moment ago.
    """

    discovery: Discovery
    unsettled: int


@dataclass(slots=True)
class Watcher:
    """Scans a session's folder repeatedly for `--follow`, and probes only files that changed.

    Parameters
    ----------
    folder, output, include, exclude, recursive, inputs
        As `discover` takes them.
    settle
        Seconds without a change after which a file is taken.
    clock
        Seconds that only grow.
    """

    folder: Path
    output: Path
    settle: float
    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    recursive: bool = False
    inputs: InputParams | None = None
    clock: Callable[[], float] = monotonic
    _files: dict[Path, _File] = field(default_factory=dict)
    _stems: dict[str, str] = field(default_factory=dict)

    def scan(self) -> FolderState:
        """Look at the folder once, and return its settled stacks.

        Raises
        ------
        OSError, SessionError
            If the folder cannot be read.
        """
        root = session_folder(self.folder, self.output)
        try:
            listing = list_stacks(root, self.output, self.include, self.exclude, self.recursive)
        except NoStacksError:
            listing = Listing((), {}, (), (), ())
        now, before = self.clock(), self._files
        self._files = {}
        for path in listing.files:
            stamp = _stamp(path, listing)
            if stamp is not None:
                known = before.get(path)
                self._files[path] = known if known and known.stamp == stamp else _File(stamp, now)
        newest = max((file.changed for file in self._files.values()), default=0)
        probed = []
        for path, file in self._files.items():
            if newest - file.changed >= self.settle * 1e9 or now - file.since >= self.settle:
                if file.found is None:
                    file.found = probe(root, listing.mdocs, path, self.inputs)
                probed.append(file.found)
        discovery = assemble(root, listing, probed)
        # outputs keep the names with which they were made when another format of a stack comes
        stacks = tuple(replace(e, stem=self._stems.get(e.name, e.stem)) for e in discovery.stacks)
        if len({e.stem for e in stacks}) == len(stacks):
            discovery = replace(discovery, stacks=stacks)
        self._stems |= {e.name: e.stem for e in discovery.stacks}
        return FolderState(discovery, len(self._files) - len(probed))


def _stamp(path: Path, listing: Listing) -> Stamp | None:
    """Return size and time of a stack and of its .mdoc; None if it is gone."""
    stamp: Stamp = ()
    for file in filter(None, (path, find_mdoc(path, listing.mdocs[path.parent]))):
        try:
            stamp += measure(file)
        except OSError:
            try:
                status = file.lstat()  # a link that leads nowhere settles, too
            except OSError:
                return None
            stamp += (status.st_size, status.st_mtime_ns)
    return stamp

"""A folder into which a microscope writes: the stacks that have settled, looked at again only if they change.

The folder is asked again and again, as network file systems tell nobody of changes. No clock is compared
with another: a file has settled when this process saw it unchanged for long enough, or when the newest file
is that much younger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

from mrcz_dask.formats.places import Measured, measure
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
class _Seen:
    """A file as it was last time, since when, and what probing it found once it had settled."""

    stamp: Stamp
    since: float
    found: ProbedFile | None = None

    @property
    def changed(self) -> int:
        """When it or its .mdoc was changed, by the file server's clock, nanoseconds."""
        return max(self.stamp[1::2])


@dataclass(frozen=True, slots=True)
class Seen:
    """What is in the folder now.

    Attributes
    ----------
    discovery
        Of what has settled; there may be no stack.
    unsettled
        How many files still change, or changed a moment ago.
    """

    discovery: Discovery
    unsettled: int


@dataclass(slots=True)
class Watcher:
    """Looks at a session's folder again and again.

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
    _files: dict[Path, _Seen] = field(default_factory=dict)
    _newest: int = 0
    _stems: dict[str, str] = field(default_factory=dict)

    def scan(self) -> Seen:
        """Return what is there now.

        Raises
        ------
        OSError, SessionError
            When the folder cannot be read.
        """
        root = session_folder(self.folder, self.output)
        try:
            listing = list_stacks(root, self.output, self.include, self.exclude, self.recursive)
        except NoStacksError:
            listing = Listing((), {}, (), (), ())
        self._see(listing)
        settled = [path for path in listing.files if path in self._files and self._settled(path)]
        looks = [self._look(root, listing, path) for path in settled]
        discovery = assemble(root, listing, looks)
        return Seen(self._named_as_before(discovery), len(self._files) - len(settled))

    def _named_as_before(self, found: Discovery) -> Discovery:
        """Keep the names of outputs that are made already when another format of a stack comes."""
        before = tuple(replace(e, stem=self._stems.get(e.name, e.stem)) for e in found.stacks)
        if len({e.stem for e in before}) == len(before):
            found = replace(found, stacks=before)
        self._stems |= {e.name: e.stem for e in found.stacks}
        return found

    def _see(self, listing: Listing) -> None:
        now, files = self.clock(), {}
        for path in listing.files:
            stamp = _stamp(path, listing)
            before = self._files.get(path)
            if stamp is not None:
                files[path] = before if before and before.stamp == stamp else _Seen(stamp, now)
        self._files = files
        self._newest = max((one.changed for one in files.values()), default=0)

    def _settled(self, path: Path) -> bool:
        one = self._files[path]
        old = self._newest - one.changed >= self.settle * 1e9
        return old or self.clock() - one.since >= self.settle

    def _look(self, root: Path, listing: Listing, path: Path) -> ProbedFile:
        one = self._files[path]
        if one.found is None:
            one.found = probe(root, listing.mdocs, path, self.inputs)
        return one.found


def _stamp(path: Path, listing: Listing) -> Stamp | None:
    """Return size and time of a stack and of its .mdoc; None if it is gone."""
    mdoc = find_mdoc(path, listing.mdocs[path.parent])
    try:
        return tuple(value for one in (path, mdoc) if one for value in _measured(one))
    except OSError:
        return None


def _measured(path: Path) -> Measured:
    """Return size and time of a file; of a link that leads nowhere those of the link, which settles, too."""
    try:
        return measure(path)
    except OSError:
        status = path.lstat()
        return Measured(status.st_size, status.st_mtime_ns)

"""``MANIFEST``: SHA-256 of all files of the outputs, for ``sha256sum -c MANIFEST``; and which are gone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.digest import whole_digest
from mrcz_dask.formats.places import measure
from mrcz_dask.values import events
from mrcz_dask.values.records import StackResult, Written
from mrcz_dask.values.sizes import some

NAME = "MANIFEST"
REMEDY = "copy it back, or run the same command again"
Output = StackResult | Written
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


class Manifest:
    """A listener that keeps ``MANIFEST`` true: an output is in it once it is done, and not while it is due.

    Parameters
    ----------
    folder
        The output folder.
    known
        Results of earlier runs, the latest last.
    warn
        Is told when it cannot be written.
    """

    def __init__(self, folder: Path, known: Iterable[Output], warn: events.Listener) -> None:
        self._path, self._warn = folder / NAME, warn
        self._files = {one.name: one.files for one in known}

    def __call__(self, event: events.Event) -> None:
        """Take in one event."""
        match event:
            case events.StackDone(found=StackResult() | Written() as found) if (
                self._files.get(found.name) != found.files
            ):
                self._files[found.name] = found.files
            case events.StackDue() if event.name in self._files:
                del self._files[event.name]
            case events.RunFinished():
                pass
            case _:
                return
        files = sorted(one for files in self._files.values() for one in files)
        text = "".join(_line(*one) for one in files).encode("utf-8", "surrogateescape")
        try:
            if not text:  # which sha256sum would not take
                self._path.unlink(missing_ok=True)
            elif not self._path.exists() or self._path.read_bytes() != text:
                write_atomic(self._path, text)
        except OSError as error:  # the stacks matter more
            self._warn(events.Warned(f"{self._path}: cannot be written ({error.strerror or error})"))


def _line(name: str, sha256: str) -> str:
    escaped = re.sub(r"[\\\n\r]", lambda found: _ESCAPES[found[0]], name)
    return f"{'' if escaped == name else chr(92)}{sha256}  {escaped}\n"


def lost(folder: Path, results: Iterable[Output], *, read: bool) -> dict[str, str]:
    """Return by name the outputs that are no longer what a run left in a folder, and what is wrong.

    Parameters
    ----------
    folder
        The output folder.
    results
        The last result of each stack.
    read
        Whether files are read and compared by their digests, beside their names and sizes.
    """
    found = {one.output: _problem(folder, one, read=read) for one in results}
    return {output: problem for output, problem in found.items() if problem}


def _problem(folder: Path, one: Output, *, read: bool) -> str:
    path = folder / one.output
    gone = [name for name in dict(one.files) or [one.output] if not (folder / name).exists()]
    if gone:
        return f"{some(gone)} is gone; {REMEDY}"
    size = measure(path).size
    if size != one.bytes_out:
        return f"{one.output} has {size} bytes; the run wrote {one.bytes_out}; {REMEDY}"
    if read and whole_digest(path) != one.digest:
        return f"{one.output} is not the file that the run wrote (by its digest); {REMEDY}"
    return ""

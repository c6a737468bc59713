"""The log of an output folder, read on as it grows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mrcz_dask.formats.source import open_file
from mrcz_dask.session.log import NAME, Moment, from_line
from mrcz_dask.values.errors import PlaceError


class LogTail:
    """Reads a log on where it ended the last time.

    Parameters
    ----------
    folder
        The output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._read = 0

    def new(self) -> Iterator[Moment]:
        """Yield the messages since the last call; a line that is not whole yet waits for the next one.

        Raises
        ------
        SessionError
            When there is no log, it cannot be read, or it lies outside the folder.
        FormatError
            When it was written in another layout.
        """
        for line in self._lines().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            self._read += len(line)
            moment = from_line(line.decode("utf-8", "replace"))
            if moment is not None:
                yield moment

    def _lines(self) -> bytes:
        folder = self._path.parent
        if self._path.is_symlink():
            raise PlaceError(f"{self._path}: a link; expected the log itself, in {folder}")
        try:
            with os.fdopen(open_file(self._path), "rb") as file:
                if file.seek(0, 2) < self._read:  # another one is in its place, which begins with a run
                    self._read = 0
                file.seek(self._read)
                return file.read()
        except OSError as error:
            raise PlaceError(
                f"{folder}: no log can be read ({NAME}: {error.strerror or error}); expected the output "
                "folder of `mrcz-dask koma`, such as SESSION/koma"
            ) from error

"""Where a writer's bytes go until they are whole: beside the target file, or aside for a stream."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from mrcz_dask.formats.atomic import AtomicFile

Target = str | os.PathLike[str] | BinaryIO


class Sink(Protocol):
    """A file that nobody sees before `commit`."""

    stream: BinaryIO

    def commit(self) -> None:
        """Show it."""

    def discard(self) -> None:
        """Throw it away."""


class StreamSink:
    """Bytes that reach the caller's stream, from its first byte, once they are whole."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.stream: BinaryIO = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed by commit or discard

    def commit(self) -> None:
        """Replace the target's content."""
        self.stream.seek(0)
        self._target.seek(0)
        self._target.truncate()
        shutil.copyfileobj(self.stream, self._target, 1 << 20)
        self._target.flush()
        self.stream.close()

    def discard(self) -> None:
        """Leave the target as it is."""
        self.stream.close()


def open_sink(target: Target, *, durable: bool) -> Sink:
    """Return a sink for a path or a seekable binary stream.

    Raises
    ------
    SpaceError
        The folder is missing or cannot be written, or the target is a folder.
    """
    if isinstance(target, (str, os.PathLike)):
        return AtomicFile(target, durable=durable)
    return StreamSink(target)


def target_path(target: Target) -> Path | None:
    """Return the path of a target, None for a stream."""
    return Path(target) if isinstance(target, (str, os.PathLike)) else None

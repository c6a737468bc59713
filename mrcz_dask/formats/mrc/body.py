"""The stored frames of a file being written, one behind the other."""

from __future__ import annotations

import os
import shutil
from itertools import accumulate

from mrcz_dask.formats.atomic import explain
from mrcz_dask.formats.mrc.encode import Encoded
from mrcz_dask.formats.mrc.header import Statistics
from mrcz_dask.formats.mrc.index import FrameIndex
from mrcz_dask.formats.sinks import Target, open_sink, target_path
from mrcz_dask.formats.stats import FrameStats, combine
from mrcz_dask.values.timing import phase


class Body:
    """Frames behind `base` bytes that are left for the headers.

    Parameters
    ----------
    target
        Where the file goes.
    durable
        Whether it must be on the disk when it gets its name.
    base
        Where the first frame begins.
    """

    def __init__(self, target: Target, *, durable: bool, base: int) -> None:
        self._target, self._durable, self.base = target, durable, base
        self._sink = open_sink(target, durable=durable)
        self._sizes: list[int] = []
        self._sums: list[int] = []
        self._stats: list[FrameStats | None] = []

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def nbytes(self) -> int:
        """Bytes of all frames."""
        return sum(self._sizes)

    @property
    def index(self) -> FrameIndex:
        """Where the frames are."""
        starts = accumulate(self._sizes[:-1], initial=self.base)
        return FrameIndex(tuple(starts), tuple(self._sizes), tuple(self._sums))

    @property
    def statistics(self) -> Statistics:
        """Of all frames so far."""
        return combine(self._stats)

    def append(self, frame: Encoded) -> None:
        """Write the next frame."""
        start = self.base + self.nbytes
        self.write(frame.raw, start)
        self._send_off(start, len(frame.raw))
        self._sizes.append(len(frame.raw))
        self._sums.append(frame.checksum)
        self._stats.append(frame.stats)

    def write(self, data: bytes | memoryview, at: int) -> None:
        """Write bytes somewhere in the file.

        Raises
        ------
        SpaceError
            The disk is full.
        """
        try:
            with phase("disk", len(data)):
                self._sink.stream.seek(at)
                self._sink.stream.write(data)
        except OSError as error:
            path = target_path(self._target)
            raise (explain(error, path) if path else error) from error

    def _send_off(self, start: int, count: int) -> None:
        """Let the disk begin with a frame, so that at the end there is little to wait for."""
        if self._durable and target_path(self._target) is not None and hasattr(os, "posix_fadvise"):
            # of pages that are not on the disk yet this begins to write, and drops none
            os.posix_fadvise(self._sink.stream.fileno(), start, count, os.POSIX_FADV_DONTNEED)

    def read(self, i: int) -> bytes:
        """Return the stored bytes of a frame."""
        index = self.index
        self._sink.stream.seek(index.offsets[i])
        return self._sink.stream.read(index.nbytes[i])

    def move(self, base: int) -> None:
        """Make room for headers of another size."""
        old, sink = self._sink, open_sink(self._target, durable=self._durable)
        old.stream.seek(self.base)
        sink.stream.seek(base)
        shutil.copyfileobj(old.stream, sink.stream, 1 << 20)
        old.discard()
        self._sink, self.base = sink, base

    def commit(self) -> None:
        """Show the file."""
        self._sink.commit()

    def discard(self) -> None:
        """Throw it away."""
        self._sink.discard()

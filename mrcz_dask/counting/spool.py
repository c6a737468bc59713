"""Keep the events of a stack on disk, in a spool, in whatever order workers finish its batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrcz_dask.counting.counter import Batch
from mrcz_dask.counting.packing import EventArrays, joined, unpack
from mrcz_dask.formats.spool import Spool, SpoolReader, SpoolRecord

SUFFIX = ".counting"


def append_batch(spool: Spool, batch: Batch, **more: Any) -> None:
    """Append the events of a batch to the spool, with more JSON values for its header.

    Raises
    ------
    SpaceError
        If the disk is full.
    """
    spool.append([({"first": batch.first, "frames": batch.frames.hex(), **more}, batch.packed)])


def ordered_batches(spool: SpoolReader) -> list[SpoolRecord]:
    """Return a spool's batches in the order of their frames, up to the first frame that is missing."""
    batches: list[SpoolRecord] = []
    for record in sorted(spool.records, key=lambda record: int(record.header["first"])):
        if record.header["first"] == frames_in(batches):
            batches.append(record)
    return batches


def frames_in(batches: list[SpoolRecord]) -> int:
    """Return the number of frames in a list of consecutive batches that begins with frame 0."""
    return batches[-1].header["first"] + frame_count(batches[-1]) if batches else 0


def frame_count(batch: SpoolRecord) -> int:
    """Return the number of frames in a batch."""
    return len(batch.header["frames"]) // 32


class SpooledEvents:
    """The events of a stack, read from its spool, from which outputs are written.

    Attributes
    ----------
    about
        Description of the stack; empty until it is set.
    """

    def __init__(self, spool: SpoolReader) -> None:
        self.about: dict[str, Any] = {}
        self._spool, self._batches = spool, ordered_batches(spool)
        self._last: tuple[int, EventArrays] | None = None

    def parts(self) -> Iterator[tuple[bytes, EventArrays]]:
        """Yield the digests of the frames and the events of each batch, in order."""
        for record in self._batches:
            yield bytes.fromhex(record.header["frames"]), unpack(self._spool.body(record))

    def read(self, start: int, stop: int) -> EventArrays:
        """Return the events of frames start <= k < stop of the stack."""
        parts = []
        for i, record in enumerate(self._batches):
            first, end = record.header["first"], frames_in([record])
            if first < stop and end > start:
                if self._last is None or self._last[0] != i:
                    self._last = i, unpack(self._spool.body(record))
                parts.append(self._last[1].frames(max(start - first, 0), min(stop, end) - first))
        return joined(parts)

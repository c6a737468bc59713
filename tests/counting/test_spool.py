from pathlib import Path

import numpy as np
import pytest

from mrcz_dask.counting.counter import Batch
from mrcz_dask.counting.packing import pack, quantized
from mrcz_dask.counting.spool import SpooledEvents, append_batch, frames_in, ordered_batches
from mrcz_dask.formats.spool import Spool, SpoolReader


def batch(first: int, frames: int) -> Batch:
    found = [(np.full(k + 1, 2.0), np.full(k + 1, 3.0), np.full(k + 1, 9.0)) for k in range(frames)]
    return Batch(first, pack(quantized(found, (8, 8), 1.0)), bytes(16 * frames))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool.create(tmp_path / ".stack.counting", {"stream": "a"})
    for first in (8, 0, 4, 16):
        append_batch(made, batch(first, 4), numbers=[first])
    return made


def test_batches_come_in_any_order_and_are_taken_up_to_the_first_gap(spool: Spool) -> None:
    batches = ordered_batches(spool)
    assert [one.header["first"] for one in batches] == [0, 4, 8] and frames_in(batches) == 12
    assert batches[1].header["numbers"] == [4]


def test_events_of_any_frames(spool: Spool) -> None:
    spool.close()
    with SpoolReader.open(spool.path) as reader:
        events = SpooledEvents(reader)
        assert events.read(0, 12).counts.tolist() == [1, 2, 3, 4] * 3
        some = events.read(3, 6)
        assert some.counts.tolist() == [4, 1, 2] and some.y.size == 7
        assert [found.counts.size for _, found in events.parts()] == [4, 4, 4]

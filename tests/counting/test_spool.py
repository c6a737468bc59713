from pathlib import Path

import numpy as np
import pytest

from mrcz_dask.counting.counter import Batch
from mrcz_dask.counting.packing import pack, quantised
from mrcz_dask.counting.spool import EventSpool, SpoolReader


def batch(first: int, frames: int) -> Batch:
    found = [(np.full(k + 1, 2.0), np.full(k + 1, 3.0), np.full(k + 1, 9.0)) for k in range(frames)]
    return Batch(first, pack(quantised(found, (8, 8), 1.0)), bytes(16 * frames))


@pytest.fixture
def spool(tmp_path: Path) -> EventSpool:
    made = EventSpool.create(tmp_path / ".stack.counting", {"stream": "a"})
    for first in (8, 0, 4, 16):
        made.append(batch(first, 4), durable=True, numbers=[first])
    return made


def test_batches_come_in_any_order_and_are_taken_up_to_the_first_gap(spool: EventSpool) -> None:
    assert [one.first for one in spool.whole()] == [0, 4, 8]
    assert spool.frames == 12
    assert spool.read(spool.whole()[1]).counts.tolist() == [1, 2, 3, 4]


def test_a_file_is_taken_up_with_what_was_said(spool: EventSpool) -> None:
    spool.close()
    again = EventSpool.open(spool.path)
    assert again is not None and again.about == {"stream": "a"}
    assert again.whole() == spool.whole() and again.whole()[0].said == {"numbers": [0]}


def test_what_follows_the_last_whole_record_is_cut_off(spool: EventSpool) -> None:
    size = spool.path.stat().st_size
    spool.append(batch(12, 4))
    spool.close()
    with spool.path.open("r+b") as file:
        file.truncate(spool.path.stat().st_size - 3)
    again = EventSpool.open(spool.path)
    assert again is not None and again.frames == 12 and spool.path.stat().st_size == size


def test_batches_behind_a_gap_are_dropped_where_frames_come_again(spool: EventSpool) -> None:
    made = spool.compacted()
    made.append(batch(12, 2))
    made.append(batch(14, 4))
    assert made.frames == 18 and made.path == spool.path
    assert made.compacted() is made
    made.close()
    again = EventSpool.open(spool.path)
    assert again is not None and again.frames == 18


def test_nothing_whole_is_no_spool(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"MZE1")
    assert EventSpool.open(tmp_path / "empty") is None


def test_reading_changes_nothing(spool: EventSpool) -> None:
    spool.append(batch(12, 4))
    with spool.path.open("r+b") as file:  # a batch that is on its way, or was cut off
        file.truncate(spool.path.stat().st_size - 3)
    before = spool.path.read_bytes(), spool.path.stat().st_mtime_ns
    spool.path.chmod(0o444)
    found = SpoolReader.open(spool.path)
    assert found is not None and found.frames == 12 and found.about == {"stream": "a"}
    assert found.read(found.whole()[0]).counts.tolist() == [1, 2, 3, 4]
    found.close()
    assert (spool.path.read_bytes(), spool.path.stat().st_mtime_ns) == before
    assert not hasattr(found, "append") and not hasattr(found, "remove")

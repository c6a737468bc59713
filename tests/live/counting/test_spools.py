"""Spools of electrons that an earlier run left: with gaps in their batches, or damaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.counting.counter import Batch, Method
from mrcz_dask.counting.packing import pack, quantized
from mrcz_dask.counting.spool import append_batch
from mrcz_dask.formats.spool import Spool
from mrcz_dask.live.counting.stacks import OpenStack, resume_stack, spool_header
from mrcz_dask.live.record.spool import StreamInfo


def test_batches_behind_a_gap_are_dropped_since_their_frames_come_again(tmp_path: Path) -> None:
    def add(stack: OpenStack, first: int, count: int) -> None:
        events = quantized([(np.ones(1), np.ones(1), np.ones(1))] * count, (8, 8), 1.0)
        numbers = list(range(first, first + count))
        append_batch(stack.spool, Batch(first, pack(events), bytes(16 * count)), numbers=numbers)

    about, method = StreamInfo("cam", "shot", "<u2", (8, 8), None), Method("", "digest")
    spool = Spool.create(tmp_path / ".stack.counting", spool_header(about, 0, method, None))
    for first in (8, 0, 4, 16):
        add(OpenStack(about, 0, spool), first, 4)
    spool.close()
    stack = resume_stack(spool.path, method, None)
    assert stack is not None and stack.numbers == list(range(12)) and len(stack) == stack.safe_frames == 12
    add(stack, 12, 2)
    add(stack, 14, 4)
    assert stack.safe_frames == 18
    stack.spool.close()
    assert [path.name for path in tmp_path.iterdir()] == [".stack.counting"]
    again = resume_stack(spool.path, method, None)
    assert again is not None and again.numbers == list(range(18))
    again.spool.close()


@pytest.mark.parametrize("lost", [0, 4, 8])
def test_batches_behind_a_damaged_one_are_taken_up_and_lost_frames_are_named(
    lost: int, tmp_path: Path
) -> None:
    about, method = StreamInfo("cam", "shot", "<u2", (8, 8), None), Method("", "digest")
    spool = Spool.create(tmp_path / ".stack.counting", spool_header(about, 0, method, None))
    for first in (4, 0, 8, 12):
        events = quantized([(np.ones(1), np.ones(1), np.ones(1))] * 4, (8, 8), 1.0)
        batch = Batch(first, pack(events), bytes(16 * 4))
        append_batch(spool, batch, numbers=list(range(first, first + 4)))
    damaged = bytearray(spool.path.read_bytes())
    damaged[spool.records[(4, 0, 8, 12).index(lost)].offset] ^= 1
    spool.path.write_bytes(damaged)
    spool.close()
    told: list[Any] = []
    stack = resume_stack(spool.path, method, None, told.append)
    assert stack is not None and stack.numbers == [*range(lost), *range(lost + 4, 16)]
    assert len(stack) == stack.safe_frames == 12
    assert f"Frames that are lost: {lost} to {lost + 3}" in told[0].message
    assert (tmp_path / "stack.counting.damaged").read_bytes() == damaged
    stack.spool.close()

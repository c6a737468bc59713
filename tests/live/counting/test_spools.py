"""Spools of electrons that an earlier run left: with gaps in their batches, damaged, or both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.counting.counter import Batch, CountingMethod
from mrcz_dask.counting.packing import pack, quantized
from mrcz_dask.counting.spool import append_batch
from mrcz_dask.formats.spool import Spool
from mrcz_dask.live.counting.stacks import CountingStack, resume_stacks, spool_header
from mrcz_dask.live.record.spool import StreamInfo

ABOUT, METHOD = StreamInfo("cam", "shot", "<u2", (8, 8), None), CountingMethod("", "digest")


def begin(folder: Path, first: int = 0) -> CountingStack:
    """A stack of which no frame is counted."""
    header = spool_header(ABOUT, first, METHOD, None)
    return CountingStack(
        ABOUT, first, Spool.create(folder / f".cam_{first:010d}.counting", header, durable=False)
    )


def add(stack: CountingStack, first: int, count: int = 4, **more: Any) -> None:
    """Append the electrons of some frames."""
    events = quantized([(np.ones(1), np.ones(1), np.ones(1))] * count, (8, 8), 1.0)
    numbers = list(range(stack.first + first, stack.first + first + count))
    append_batch(stack.spool, Batch(first, pack(events), bytes(16 * count)), numbers=numbers, **more)


def damage(stack: CountingStack, batches: Sequence[int]) -> bytes:
    """Turn a bit in some batches, named by the places of their first frames; return the file."""
    damaged = bytearray(stack.spool.path.read_bytes())
    for record in stack.spool.records:
        if record.header["first"] in batches:
            damaged[record.offset] ^= 1
    stack.spool.path.write_bytes(damaged)
    return bytes(damaged)


def taken_up(folder: Path, told: list[Any]) -> list[int]:
    """Numbers of the frames that are taken up from a folder."""
    stacks = resume_stacks(folder, METHOD, None, told.append)
    for stack in stacks:
        stack.spool.close()
    return [number for stack in stacks for number in stack.numbers()]


def test_batches_behind_a_gap_are_dropped_since_their_frames_come_again(tmp_path: Path) -> None:
    left = begin(tmp_path)
    for first in (8, 0, 4, 16):
        add(left, first)
    left.spool.close()
    (stack,) = resume_stacks(tmp_path, METHOD, None)
    assert stack.numbers() == list(range(12)) and len(stack) == 12
    add(stack, 12, 2)
    add(stack, 14, 4)
    stack.spool.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert taken_up(tmp_path, []) == list(range(18))


@pytest.mark.parametrize("lost", [0, 4, 8])
def test_batches_behind_a_damaged_one_are_taken_up_and_lost_frames_are_named(
    lost: int, tmp_path: Path
) -> None:
    left = begin(tmp_path)
    for first in (4, 0, 8, 12):
        add(left, first)
    damaged = damage(left, [lost])
    left.spool.close()
    told: list[Any] = []
    assert taken_up(tmp_path, told) == [*range(lost), *range(lost + 4, 16)]
    assert f"Frames that are lost: {lost} to {lost + 3}" in told[0].message
    assert (tmp_path / "cam_0000000000.counting.damaged").read_bytes() == damaged


@pytest.mark.parametrize("seed", range(15))
def test_after_a_kill_and_damage_no_frame_is_passed_over_that_the_sender_has(
    seed: int, tmp_path: Path
) -> None:
    """Two stacks of 24 frames, whose batches end in any order until the process is killed."""
    random = np.random.default_rng(seed)
    stacks = [begin(tmp_path, first) for first in (0, 24)]
    order = sorted(range(12), key=lambda k: k + random.uniform(0, 4))[: random.integers(1, 13)]
    safe, counted = 0, set[int]()
    for k in order:
        counted.add(k)
        while safe // 4 in counted:
            safe += 4
        add(stacks[k // 6], k % 6 * 4, safe=safe)
    hit = int(random.choice(order[:-1])) if len(order) > 1 and seed % 4 else None
    for stack in stacks:
        if hit is not None and stack is stacks[hit // 6]:
            damage(stack, [hit % 6 * 4])
        stack.spool.close()
    told: list[Any] = []
    found = taken_up(tmp_path, told)
    lost = [] if hit is None else range(4 * hit, 4 * hit + 4)
    comes_again = range(max(safe, found[-1] + 1 if found else 0), 48)  # as the sender keeps no others
    assert {*found, *comes_again, *lost} >= {*range(48)} or (
        # the damaged batch was the last of its file: nobody knows what was acknowledged, and it is said
        "Frames that are lost" in told[0].message and hit == [k for k in order if k // 6 == hit // 6][-1]
    )

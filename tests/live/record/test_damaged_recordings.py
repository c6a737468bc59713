"""Damaged spools and states of a recording: whole frames are recorded, lost ones are named."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.spool import SpoolReader
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.live.record import recorder as module
from mrcz_dask.live.record.recorder import Recorder
from mrcz_dask.live.record.stacks import recorded
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.messages import Message, Warned
from tests.live.record.frames import check, some, stacks
from tests.live.transport.streaming import pixels


def left_behind(folder: Path, numbers: Iterable[int]) -> Path:
    """The spool that a killed recorder left."""
    recorder = Recorder(folder / "live")
    recorder.append(some(numbers))
    (spool,) = (folder / "live").glob(".*.spool")
    (folder / "left").mkdir()
    left = Path(shutil.copy(spool, folder / "left" / spool.name))
    recorder.close()
    return left


@pytest.mark.parametrize("hit", [None, *range(5)])
def test_frames_behind_a_damaged_one_are_recorded_and_the_lost_one_is_named(
    hit: int | None, tmp_path: Path
) -> None:
    left = left_behind(tmp_path, range(5))
    with SpoolReader.open(left) as reader:
        at = 30 if hit is None else reader.records[hit].offset + 5
    damaged = bytearray(left.read_bytes())
    damaged[at] ^= 4
    left.write_bytes(damaged)
    kept = [k for k in range(5) if k != hit]
    with pytest.raises(DamagedError, match="record into this folder again"):
        list(recorded(left.parent))
    messages: list[Message] = []
    with Recorder(left.parent, listen=messages.append) as recorder:
        assert recorder.next_number() == kept[-1] + 1
    check(left.parent, kept)
    (warning,) = (one.message for one in messages if isinstance(one, Warned))
    if hit in (0, 1, 2, 3):
        assert f"Frames that are lost: {hit} to {hit}" in warning
    assert (left.parent / f"{left.name[1:]}.damaged").read_bytes() == damaged
    assert not left.exists()


def test_a_spool_without_a_whole_frame_stays_under_another_name(tmp_path: Path) -> None:
    left = left_behind(tmp_path, range(2))
    left.write_bytes(b"x" * 5000)
    messages: list[Message] = []
    Recorder(left.parent, listen=messages.append).close()
    assert any(isinstance(one, Warned) and "stays as" in one.message for one in messages)
    assert [path.stat().st_size for path in left.parent.glob("*.damaged")] == [5000]


def test_a_damaged_state_is_one_error_and_deletes_nothing(tmp_path: Path) -> None:
    left = left_behind(tmp_path, range(5))
    with Recorder(tmp_path / "other") as recorder:
        recorder.append(some(range(9)))
    state = (tmp_path / "other" / module.STATE).read_bytes()
    place, spool = left.parent / module.STATE, left.read_bytes()
    for bit in range(8 * len(state)):
        flipped = bytearray(state)
        flipped[bit // 8] ^= 1 << bit % 8
        place.write_bytes(flipped)
        with pytest.raises(DamagedError, match="move it away and run again"):
            Recorder(left.parent)
        assert left.read_bytes() == spool and stacks(left.parent) == []
    place.unlink()
    Recorder(left.parent).close()
    check(left.parent, list(range(5)))


def test_a_state_of_an_older_version_is_read(tmp_path: Path) -> None:
    (tmp_path / module.STATE).write_text('{"frames": 7}')
    with Recorder(tmp_path) as recorder:
        assert recorder.next_number() == 7


@pytest.mark.parametrize("stack", ["sound", "gone", "damaged"])
def test_a_spool_goes_only_when_its_stack_is_there_and_sound(stack: str, tmp_path: Path) -> None:
    left = left_behind(tmp_path, range(5))
    for name in (module.STATE, "frames_0000000000.mrcz"):
        shutil.copy(tmp_path / "live" / name, left.parent / name)
    there = left.parent / "frames_0000000000.mrcz"
    if stack == "gone":
        there.unlink()
    if stack == "damaged":
        data = bytearray(there.read_bytes())
        data[1100] ^= 1
        there.write_bytes(data)
    Recorder(left.parent).close()
    assert not left.exists()
    found = [path for path in left.parent.glob("*.mrcz") if verify_file(path).status == "sound"]
    assert len(found) == 1 and np.array_equal(mrcz_dask.read(found[0])[4], pixels(4))
    assert len(stacks(left.parent)) == (2 if stack == "damaged" else 1)

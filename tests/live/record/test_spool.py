"""The spool: what is cut off, damaged or does not fit takes nothing with it that was safe."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record.spool import About, Spool, pack, scan, spooled
from mrcz_dask.values.errors import SpaceError
from tests.live.transport.streaming import pixels

FUNCTION_SCOPED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def frame(number: int, **changed: Any) -> Frame:
    given: dict[str, Any] = {"stack": "s", "index": number, "meta": {"k": number}, "stream": "camera"}
    return Frame(number, 1e9 + number / 7, pixels(number), **(given | changed))


def packed(numbers: Sequence[int]) -> list[tuple[Frame, bytes]]:
    return [(frame(k), Codec().compress(pixels(k))) for k in numbers]


def make(path: Path, count: int) -> bytes:
    spool = Spool.create(path, About.of(frame(0)))
    spool.append(packed(range(count)))
    spool.close()
    return path.read_bytes()


def test_frames_come_back(tmp_path: Path) -> None:
    make(tmp_path / "a", 5)
    found = list(spooled(tmp_path / "a"))
    assert [one.number for _, one in found] == list(range(5))
    for about, one in found:
        expected = frame(one.number)
        assert np.array_equal(one.data, expected.data) and one.data.dtype == expected.data.dtype
        assert (one.time, one.stack, one.index, one.meta) == (
            expected.time,
            expected.stack,
            expected.index,
            expected.meta,
        )
        assert about == About.of(expected)


@given(data=st.data())
@FUNCTION_SCOPED
def test_any_cut_leaves_a_prefix_of_the_records(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.unlink(missing_ok=True)
    whole = make(path, 4)
    ends = [record.end for record in _records(path)]
    cut = data.draw(st.integers(0, len(whole)))
    junk = data.draw(st.binary(max_size=60))
    path.write_bytes(whole[:cut] + junk)
    expected = sum(end <= cut for end in ends)
    spool = Spool.open(path)
    if expected < 2:
        assert spool is None
        return
    assert spool is not None
    assert [entry.number for entry in spool.entries] == list(range(expected - 1))
    spool.append(packed([10]))  # goes on behind the cut
    spool.close()
    assert [one.number for _, one in spooled(path)] == [*range(expected - 1), 10]


@given(data=st.data())
@FUNCTION_SCOPED
def test_any_damaged_byte_leaves_a_prefix(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.unlink(missing_ok=True)
    whole = bytearray(make(path, 4))
    ends = [record.end for record in _records(path)]
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    assert len(_records(path)) == sum(end <= at for end in ends)


def _records(path: Path) -> list[Any]:
    with path.open("rb") as stream:
        return list(scan(stream.fileno()))


def test_lengths_beyond_the_file_are_not_believed(tmp_path: Path) -> None:
    record = bytearray(pack({}, b"x"))
    record[8:16] = (1 << 62).to_bytes(8, "little")
    (tmp_path / "a").write_bytes(record)
    assert _records(tmp_path / "a") == []


def test_a_full_disk_takes_all_of_a_batch_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    spool = Spool.create(path, About.of(frame(0)))
    spool.append(packed([0, 1]))
    size, left = path.stat().st_size, [900]
    pwrite = os.pwrite

    def full(handle: int, data: Any, offset: int) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = pwrite(handle, data[: left[0]], offset)
        left[0] -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(SpaceError, match="free some space"):
            spool.append(packed(range(2, 20)))
    assert path.stat().st_size == size and len(spool) == 2
    spool.append(packed([2]))
    spool.close()
    assert [one.number for _, one in spooled(path)] == [0, 1, 2]


def test_a_disk_that_fails_to_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool.create(tmp_path / "a", About.of(frame(0)))

    def fails(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails, raising=False)
        patch.setattr(os, "fsync", fails)
        with pytest.raises(SpaceError, match="cannot write"):
            spool.append(packed([0]))
    assert not spool.entries
    spool.remove()
    assert list(tmp_path.iterdir()) == []


def test_one_sync_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    spool = Spool.create(tmp_path / "a", About.of(frame(0)))
    monkeypatch.setattr(os, "fdatasync", synced.append, raising=False)
    spool.append(packed(range(10)))
    assert len(synced) == 1
    spool.close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="cannot write"):
        Spool.create(tmp_path / "no" / "a", About.of(frame(0)))

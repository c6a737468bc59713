"""Spools: a file that is cut off, damaged or on a full disk keeps every record that was safe."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrcz_dask.formats.spool import _HEAD, _LENGTHS, _MARK, Spool, SpoolReader, SpoolRecord, pack
from mrcz_dask.values.errors import DamagedError, SpaceError

FUNCTION_SCOPED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def item(k: int) -> tuple[dict[str, Any], bytes]:
    return {"k": k}, bytes([k]) * (40 + k)


def make(path: Path, count: int) -> bytes:
    spool = Spool.create(path, {"stack": "s"})
    spool.append([item(k) for k in range(count)])
    spool.close()
    return path.read_bytes()


def records(path: Path) -> list[SpoolRecord]:
    with SpoolReader.open(path) as reader:
        assert all(reader.body(record) == item(record.header["k"])[1] for record in reader.records)
        return reader.records


def kept(path: Path) -> list[int]:
    return [record.header["k"] for record in records(path)]


@given(data=st.data())
@FUNCTION_SCOPED
def test_any_cut_leaves_a_prefix_of_the_records(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.unlink(missing_ok=True)
    whole = make(path, 4)
    ends = [record.end for record in records(path)]
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    expected = list(range(sum(end <= cut for end in ends)))
    spool = Spool.resume(path)
    if not expected:
        assert spool is None
        return
    assert spool is not None and spool.header == {"stack": "s"}
    spool.append([item(10)])
    spool.close()
    assert kept(path) == [*expected, 10]
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_any_flipped_bit_costs_one_record_at_most(tmp_path: Path) -> None:
    path = tmp_path / "a"
    whole = make(path, 3)
    ends = [record.end for record in records(path)]
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        hit = sum(end <= bit // 8 for end in ends) if bit // 8 >= records_start(whole) else None
        with SpoolReader.open(path) as reader:
            assert reader.header == {"stack": "s"}
            assert [one.header["k"] for one in reader.records] == [k for k in range(3) if k != hit]
            assert len(reader.damage) == 1


def records_start(whole: bytes) -> int:
    return len(pack({"stack": "s"}, b""))


@given(data=st.data())
@FUNCTION_SCOPED
def test_whatever_is_not_damaged_comes_back_and_the_damaged_file_stays(
    data: st.DataObject, tmp_path: Path
) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    path = folder / ".a"
    whole = bytearray(make(path, 5))
    edges = [records_start(whole), *(record.end for record in records(path))]
    damaged = set()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 2))
        size = data.draw(st.integers(1, 120))
        before = whole[at : at + size]
        whole[at : at + size] = data.draw(st.binary(min_size=len(before), max_size=len(before)))
        if whole[at : at + size] != before:
            touched = range(at, at + len(before))
            damaged |= {k for k in range(5) if edges[k] < touched.stop and touched.start < edges[k + 1]}
    path.write_bytes(whole)
    expected = [k for k in range(5) if k not in damaged]
    try:
        spool = Spool.resume(path)
    except DamagedError as error:
        assert not expected and "it stays as a.damaged" in str(error)
        assert (folder / "a.damaged").read_bytes() == whole
        return
    found = [] if spool is None else [record.header["k"] for record in spool.records]
    assert set(found) >= set(expected)
    if spool is None:  # it holds no record but the first, or just their beginning
        assert not expected
        return
    spool.append([item(10)])
    spool.close()
    assert kept(path) == [*found, 10]
    assert spool.damage == [] or (folder / "a.damaged").read_bytes() == whole


def test_damage_at_the_end_is_no_cut(tmp_path: Path) -> None:
    """Bytes behind the last record, as a lost power supply may leave them, are not removed."""
    path = tmp_path / "a"
    whole = make(path, 2) + bytes(100)
    for names in (["a", "a.damaged"], ["a", "a.damaged", "a.damaged-2"]):
        path.write_bytes(whole)
        spool = Spool.resume(path)
        assert spool is not None and len(spool.records) == 2
        spool.close()
        assert kept(path) == [0, 1] and sorted(one.name for one in tmp_path.iterdir()) == names


def test_a_record_that_changes_on_the_disk_is_not_taken(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path / "a", {})
    spool.append([item(0)])
    with (tmp_path / "a").open("r+b") as stream:
        stream.seek(spool.records[0].offset)
        stream.write(b"x")
    with pytest.raises(DamagedError, match="has changed since it was written"):
        spool.body(spool.records[0])
    spool.close()


def test_old_spools_are_read(tmp_path: Path) -> None:
    """Their records do not repeat the first one."""
    path = tmp_path / "a"
    path.write_bytes(pack({"stack": "s"}, b"") + b"".join(pack(*item(k)) for k in range(3)))
    with SpoolReader.open(path) as reader:
        assert reader.header == {"stack": "s"}
    assert kept(path) == [0, 1, 2]


@pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff", b"[" * 5000])
def test_a_header_that_is_no_map_is_damage(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "s"
    make(path, 2)
    with path.open("ab") as file:
        file.write(_with_header(text))
    with SpoolReader.open(path) as reader:
        assert [record.header["k"] for record in reader.records] == [0, 1] and len(reader.damage) == 1


def _with_header(text: bytes) -> bytes:
    """Return a record with a true checksum and any header."""
    checksum = xxhash.xxh3_64_intdigest(_LENGTHS.pack(len(text), 0) + text)
    return _HEAD.pack(_MARK, len(text), 0, checksum) + text


def test_lengths_beyond_the_file_are_not_believed(tmp_path: Path) -> None:
    record = bytearray(pack({}, b"x"))
    record[8:16] = (1 << 62).to_bytes(8, "little")
    (tmp_path / "a").write_bytes(record)
    assert records(tmp_path / "a") == []


def test_reading_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(make(path, 3)[:-5])  # a record that is on its way, or was cut off
    path.chmod(0o444)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert kept(path) == [0, 1]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert not hasattr(SpoolReader, "append") and not hasattr(SpoolReader, "remove")


def test_a_file_that_becomes_shorter_is_told(tmp_path: Path) -> None:
    make(tmp_path / "a", 2)
    with SpoolReader.open(tmp_path / "a") as reader:
        os.truncate(tmp_path / "a", reader.records[1].offset + 3)
        with pytest.raises(DamagedError, match="has changed since"):
            reader.body(reader.records[1])


def test_a_full_disk_takes_all_records_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    spool = Spool.create(path, {})
    spool.append([item(0), item(1)])
    size, left = path.stat().st_size, [200]
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
            spool.append([item(k) for k in range(2, 20)])
    assert path.stat().st_size == size and len(spool.records) == 2
    spool.append([item(2)])
    spool.close()
    assert kept(path) == [0, 1, 2]


def test_a_disk_that_fails_to_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool.create(tmp_path / "a", {})

    def fails(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails, raising=False)
        patch.setattr(os, "fsync", fails)
        with pytest.raises(SpaceError, match="cannot write"):
            spool.append([item(0)])
    assert not spool.records
    spool.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("durable", "syncs"), [(True, 1), (False, 0)])
def test_one_sync_for_all_records(
    durable: bool, syncs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    spool = Spool.create(tmp_path / "a", {}, durable=durable)
    monkeypatch.setattr(os, "fdatasync", synced.append, raising=False)
    spool.append([item(k) for k in range(10)])
    assert len(synced) == syncs
    spool.close()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="cannot write"):
        Spool.create(tmp_path / "no" / "a", {})
    before = make(tmp_path / "a", 2)
    with pytest.raises(SpaceError, match="exists"):
        Spool.create(tmp_path / "a", {})
    assert (tmp_path / "a").read_bytes() == before  # the records of others stay

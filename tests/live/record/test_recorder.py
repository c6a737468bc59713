"""The recording: every frame that `append` took is in exactly one stack, once, in order, whatever happens."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats import provenance
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.live.frames import Frame
from mrcz_dask.live.record import recorder as module
from mrcz_dask.live.record.recorder import Recorder
from mrcz_dask.live.record.stacks import recorded
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.manifest import damage, listed, lost
from mrcz_dask.values.errors import (
    DtypeError,
    FormatError,
    OutputExistsError,
    ParameterError,
    SpaceError,
)
from mrcz_dask.values.messages import Message, Warned
from tests.live.record.frames import check, frame, some, stacks
from tests.live.transport.streaming import pixels

DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "f2", "f4", "c8"]


def test_stacks_of_so_many_frames(tmp_path: Path) -> None:
    with Recorder(tmp_path, frames_per_stack=4) as recorder:
        recorder.append(some(range(3)))
        recorder.append(some(range(3, 10)))
        assert recorder.next_number() == 10 and recorder.next_number("other") == 0
        assert (recorder.recorded, recorder.missing) == (10, 0)
    assert stacks(tmp_path) == ["frames_0000000000.mrcz", "frames_0000000004.mrcz", "frames_0000000008.mrcz"]
    check(tmp_path, list(range(10)))
    assert not list(tmp_path.glob(".*.spool")) and not list(tmp_path.glob(".*.part"))


def test_stacks_of_two_recordings_that_were_swapped_are_named(tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for k, folder in enumerate(folders):
        with Recorder(folder, frames_per_stack=2) as recorder:
            recorder.append([replace(one, time=one.time + k) for one in some(range(4))])
        assert lost(folder, listed(folder, []), read=True) == {}
    first, second = (folder / "frames_0000000002.mrcz" for folder in folders)
    one = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(one)
    for folder in folders:
        assert list(lost(folder, listed(folder, []), read=True)) == ["frames_0000000002.mrcz"]
        assert not damage(folder, [])


@pytest.mark.parametrize(
    "changed",
    [{"stack": "b"}, {"data": pixels(3, (5, 5))}, {"data": pixels(3, dtype="f4")}, {"pixel_size": 2.0}],
    ids=["name", "shape", "dtype", "pixel size"],
)
def test_a_stack_ends_where_something_changes(changed: dict[str, Any], tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.append([*some(range(3), stack="a"), frame(3, **{"stack": "a", **changed})])
    first, second = stacks(tmp_path)
    assert first == "frames_0000000000_a.mrcz" and second.startswith("frames_0000000003")
    assert [frames_in(tmp_path / one) for one in (first, second)] == [3, 1]


def frames_in(path: Path) -> int:
    with StackReader(path) as reader:
        return len(reader)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("as_chunk", [True, False])
def test_lossless_for_all_types(dtype: str, as_chunk: bool, tmp_path: Path) -> None:
    data = np.random.default_rng(0).poisson(90, (3, 33, 31)).astype(dtype)  # beyond 127 where it fits
    frames = [
        frame(k, data=one, chunk=Codec().compress(one) if as_chunk else None) for k, one in enumerate(data)
    ]
    with Recorder(tmp_path) as recorder:
        recorder.append(frames)
    (name,) = stacks(tmp_path)
    found = mrcz_dask.read(tmp_path / name)
    assert np.array_equal(found, data) and found.dtype == data.dtype
    assert verify_file(tmp_path / name).status == "sound"


def test_big_endian_and_strided_frames(tmp_path: Path) -> None:
    data = pixels(0, (8, 6)).astype(">u2")[::-1, ::2]
    with Recorder(tmp_path) as recorder:
        recorder.append([frame(0, data=data)])
    assert np.array_equal(mrcz_dask.read(tmp_path / stacks(tmp_path)[0])[0], data)


def test_chunks_are_stored_as_they_came(tmp_path: Path) -> None:
    chunk = Codec("lz4").compress(pixels(0))
    with Recorder(tmp_path) as recorder:
        recorder.append([frame(0, chunk=chunk), frame(1, chunk=b"no chunk at all, but pixels")])
    with StackReader(tmp_path / stacks(tmp_path)[0]) as reader:
        assert bytes(reader.stored_chunk(0)) == chunk and reader.codec == "lz4"
    check(tmp_path, [0, 1])


@pytest.mark.parametrize(
    ("dtype", "better"), [("f8", "float32"), ("i8", "int32"), ("?", "uint8"), ("c16", "complex64")]
)
def test_types_that_mrc_cannot_hold(dtype: str, better: str, tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        with pytest.raises(DtypeError, match=f"cast to {better}"):
            recorder.append([frame(0), frame(1, dtype=dtype)])
        assert recorder.next_number() == 0


@pytest.mark.parametrize("meta", [{"a": object()}, {"a": 1 << 70}, {"\ud800": 1}])
def test_metadata_that_no_file_can_hold(meta: dict[str, Any], tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder, pytest.raises(FormatError, match="cannot be stored"):
        recorder.append([frame(0, meta=meta)])
    assert stacks(tmp_path) == []


def test_metadata_of_numpy_are_plain_values(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.append([frame(0, meta={"a": np.float32(1.5), "b": np.arange(2)})])
    assert next(recorded(tmp_path)).meta == {"a": 1.5, "b": [0, 1]}


def test_numbers_that_came_already_and_gaps(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.append(some([5, 6, 6, 5, 9]))
        recorder.append(some([6, 9, 10, 20]))
        assert (recorder.recorded, recorder.missing) == (5, 2 + 9)
    check(tmp_path, [5, 6, 9, 10, 20])


def test_what_the_footer_says(tmp_path: Path) -> None:
    facts = {"pixel_size": 1.5, "stack": "hole 1", "stream": "k3"}
    frames = [frame(k, meta={"defocus": k // 2}, **facts) for k in (0, 1, 2, 5)]
    with Recorder(tmp_path) as recorder:
        recorder.append(frames)
    (path,) = tmp_path.glob("*.mrcz")
    assert path.name == "k3_0000000000_hole-1.mrcz"
    footer = mrcz_dask.read_footer(path)
    assert footer is not None and not provenance.verify_chain(footer["provenance"])
    (step,) = footer["provenance"]
    assert step["name"] == "live record" and step["parameters"]["codec"] == "auto:fast"
    assert step["results"] == {"frames": 4, "first": 0, "missing": 2} and len(step["caveats"]) == 1
    live = footer["meta"]["live"]
    assert live["numbers"] == [[0, 3], [5, 1]] and live["times"] == [one.time for one in frames]
    assert footer["pixels"]["pixel_size"] == [1.5, 1.5, 1.5] and "dose_per_frame" not in footer["pixels"]
    for made, found in zip(frames, recorded(tmp_path), strict=True):
        assert (found.time, found.index, found.meta) == (made.time, made.index, made.meta)
        assert (found.stack, found.stream, found.pixel_size) == ("hole 1", "k3", 1.5)


def test_equal_frames_give_equal_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        with Recorder(tmp_path / folder) as recorder:
            recorder.append(some(range(5)))
    (a,), (b,) = (list((tmp_path / folder).glob("*.mrcz")) for folder in ("a", "b"))
    assert a.read_bytes() == b.read_bytes()


def test_a_session_of_it_is_in_the_order_of_time(tmp_path: Path) -> None:
    with Recorder(tmp_path, frames_per_stack=2) as recorder:
        recorder.append(some(range(8)))
    found = discover(tmp_path)
    assert [one.name for one in found.stacks] == stacks(tmp_path)
    assert {one.acquired.source for one in found.stacks} == {"header"}


def test_streams_are_apart(tmp_path: Path) -> None:
    both = [frame(k // 2, stream=("a", "b")[k % 2]) for k in range(10)]
    with Recorder(tmp_path) as recorder:
        recorder.append(both)
        assert recorder.next_number("a") == recorder.next_number("b") == 5
    assert stacks(tmp_path) == ["a_0000000000.mrcz", "b_0000000000.mrcz"]
    check(tmp_path, list(range(5)), "a")
    check(tmp_path, list(range(5)), "b")


def test_frames_can_be_read_while_it_records(tmp_path: Path) -> None:
    with Recorder(tmp_path, frames_per_stack=4) as recorder:
        recorder.append(some(range(10)))
        check(tmp_path, list(range(10)))
        assert [one.number for one in recorded(tmp_path, start=7)] == [7, 8, 9]
        assert [one.number for one in recorded(tmp_path, "nobody")] == []


def test_a_stack_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    with Recorder(tmp_path, frames_per_stack=4) as recorder:
        recorder.append(some(range(4)))
    # it gets its name between the listing of the folder and the opening: then this one is gone
    (tmp_path / ".frames_0000000004.0a1b.part.mrcz").symlink_to("gone")
    assert [one.number for one in recorded(tmp_path)] == [0, 1, 2, 3]


def killed(folder: Path, to: Path) -> Path:
    """What a folder looks like to others if its recorder is killed now."""
    return Path(shutil.copytree(folder, to))


def test_another_one_goes_on_after_a_crash(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a", frames_per_stack=4) as recorder:
        recorder.append(some(range(6)))
        recorder._writer.submit(lambda: None).result()
        left = killed(tmp_path / "a", tmp_path / "b")
    (spool,) = left.glob(".*.spool")
    with spool.open("ab") as stream:
        stream.write(b"MZS1 and what was not acknowledged")
    with Recorder(left, frames_per_stack=4) as recorder:
        assert recorder.next_number() == 6
        recorder.append(some(range(5, 9)))
    assert stacks(left) == ["frames_0000000000.mrcz", "frames_0000000004.mrcz", "frames_0000000008.mrcz"]
    check(left, list(range(9)))


@pytest.mark.parametrize("moment", ["before the stack", "before the state", "before the spool goes"])
def test_a_crash_while_a_stack_is_written(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is copied in the middle of it, which is what a killed process leaves."""
    left = tmp_path / "left"

    def stop(*args: Any, **options: Any) -> Any:
        if not left.exists():
            killed(tmp_path / "a", left)
        return real(*args, **options)

    if moment == "before the spool goes":
        real: Any = module.FrameSpool.remove
        monkeypatch.setattr(module.FrameSpool, "remove", stop)
    elif moment == "before the state":
        real = module.StreamStacks.written
        monkeypatch.setattr(module.StreamStacks, "written", stop)
    else:
        real = module.write_stack
        monkeypatch.setattr(module, "write_stack", stop)
    with Recorder(tmp_path / "a") as recorder:
        recorder.append(some(range(5)))
    (left / ".frames_0000000000.mrcz.abc.part").write_bytes(b"half")
    before = {path.name: path.stat().st_mtime_ns for path in left.glob("*.mrcz")}
    with Recorder(left) as recorder:
        assert recorder.next_number() == 5
    check(left, list(range(5)))
    assert all((left / name).stat().st_mtime_ns == time for name, time in before.items())
    assert len(stacks(left)) == 1 and not list(left.glob(".*.spool"))


def test_stacks_that_were_moved_away_do_not_come_again(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.append(some(range(5)))
    for path in tmp_path.glob("*.mrcz"):
        path.unlink()
    with Recorder(tmp_path) as recorder:
        assert recorder.next_number() == 5
        recorder.append(some(range(7)))
    assert stacks(tmp_path) == ["frames_0000000005.mrcz"]


def test_a_file_in_the_way_stays(tmp_path: Path) -> None:
    (tmp_path / "frames_0000000000.mrcz").write_bytes(b"mine")
    with Recorder(tmp_path) as recorder:
        recorder.append(some(range(5)))
    assert (tmp_path / "frames_0000000000.mrcz").read_bytes() == b"mine"
    assert verify_file(tmp_path / "frames_0000000000-2.mrcz").status == "sound"


def test_two_recorders_in_one_folder(tmp_path: Path) -> None:
    with Recorder(tmp_path), pytest.raises(OutputExistsError, match="another run writes there"):
        Recorder(tmp_path)
    Recorder(tmp_path).close()


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Recorder(tmp_path) as recorder:
        recorder.append(some(range(3)))
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(SpaceError, match="free some space"):
                recorder.append(some(range(3, 6)))
        assert recorder.next_number() == 3 and recorder.recorded == 3
        recorder.append(some(range(3, 6)))
    check(tmp_path, list(range(6)))


def test_a_stack_that_cannot_be_written_stays_in_its_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **options: Any) -> Path:
        raise SpaceError("no space; free some space")

    told: list[Message] = []
    recorder = Recorder(tmp_path, frames_per_stack=2, listen=told.append)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_stack", full)
        recorder.append(some(range(5)))
        with pytest.raises(SpaceError):
            recorder.close()
    assert any(
        isinstance(message, Warned) and "its frames are safe in" in message.message for message in told
    )
    check(tmp_path, list(range(5)))
    Recorder(tmp_path, frames_per_stack=2).close()
    assert len(stacks(tmp_path)) == 3
    check(tmp_path, list(range(5)))


def test_after_the_disk_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **options: Any) -> Path:
        raise SpaceError("no space")

    with Recorder(tmp_path, frames_per_stack=2) as recorder:
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_stack", full)
            recorder.append(some(range(5)))
            recorder._writer.submit(lambda: None).result()
        assert stacks(tmp_path) == []
        recorder.append(some(range(5, 8)))
    assert len(stacks(tmp_path)) == 4
    check(tmp_path, list(range(8)))


def test_a_closed_recorder_takes_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.close()
    recorder.close()
    with pytest.raises(ParameterError, match="is closed"):
        recorder.append(some([0]))


def test_a_stack_has_frames(tmp_path: Path) -> None:
    with pytest.raises(ParameterError):
        Recorder(tmp_path, frames_per_stack=0)


@pytest.mark.parametrize(
    "wrong",
    [{"number": -5}, {"number": 1.5}, {"number": 1 << 64}, {"number": True}, {"index": -1}, {"time": np.nan},
     {"time": 1e300}, {"time": None}],
)  # fmt: skip
def test_a_place_that_no_file_can_hold_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with Recorder(tmp_path) as recorder:
        with pytest.raises(FormatError, match=f"{next(iter(wrong))} is .*; expected a"):
            recorder.append([frame(0), replace(frame(1), **wrong)])
        assert recorder.recorded == 0
        recorder.append([frame(0), replace(frame(1), number=np.int64(1), time=np.float32(5))])
    check(tmp_path, [0, 1])


def test_stacks_whose_files_would_have_one_name_are_all_recorded(tmp_path: Path) -> None:
    data, first = np.ones((4, 4), np.uint8), (1 << 53) - 2
    with Recorder(tmp_path) as recorder:
        recorder.append([Frame(0, 0.0, data, "0000000000", stream="a")])
        recorder.append([Frame(0, 0.0, 2 * data, stream="a_0000000000")])
        recorder.append([Frame(first, 0.0, 3 * data, stream="last")])
    found = {path.stem: mrcz_dask.read(path)[0, 0, 0] for path in tmp_path.glob("*.mrcz")}
    name = "a_0000000000_0000000000"
    assert found == {name: 1, f"{name}-2": 2, f"last_{first}": 3}
    steps = [mrcz_dask.read_footer(path)["provenance"][0] for path in tmp_path.glob("*.mrcz")]
    assert [step["results"]["missing"] for step in steps] == [0, 0, 0]

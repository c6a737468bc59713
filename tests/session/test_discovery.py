import os
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.provenance import append, step
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.session import discovery
from mrcz_dask.session import probe as probing
from mrcz_dask.session.discovery import Discovery, StackEntry, discover
from mrcz_dask.values.errors import SessionError
from mrcz_dask.values.params import InputParams

MODES = {"int8": 0, "int16": 1, "float32": 2, "complex64": 4, "uint16": 6}


def mrc(
    path: Path,
    shape: tuple[int, int, int] = (3, 4, 5),
    dtype: str = "int8",
    *,
    labels: Sequence[str] = (),
    pixel_size: float = 0.0,
    mean: float = 0.0,
    cut: int = 0,
) -> Path:
    """Write a plain MRC file of zeros."""
    nz, ny, nx = shape
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, nx, ny, nz, MODES[dtype], 0, 0, 0, nx, ny, nz)
    struct.pack_into("<3f", header, 40, nx * pixel_size, ny * pixel_size, nz * pixel_size)
    struct.pack_into("<3i3f", header, 64, 1, 2, 3, 0.0, 2 * mean, mean)
    header[208:216] = b"MAP DD\0\0"
    struct.pack_into("<i", header, 220, len(labels))
    for i, label in enumerate(labels):
        header[224 + 80 * i : 304 + 80 * i] = label.ljust(80).encode()
    pixels = np.zeros(shape, dtype).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((bytes(header) + pixels)[: 1024 + len(pixels) - cut])
    return path


def mdoc(stack: Path, clock: str, text: str = "") -> None:
    stack.with_name(stack.name + ".mdoc").write_text(f"[FrameSet = 0]\nDateTime = 14-Oct-26  {clock}\n{text}")


def names(found: Discovery) -> list[str]:
    return [stack.name for stack in found.stacks]


def only(found: Discovery) -> StackEntry:
    assert len(found.stacks) == 1
    return found.stacks[0]


def reasons(found: Discovery) -> dict[str, str]:
    return {one.path.name: one.reason for one in (*found.skipped, *found.rejected)}


def test_the_order_of_the_mdocs(tmp_path: Path) -> None:
    for name, clock in [("a.mrc", "03:00:00"), ("b.MRCS", "01:00:00"), ("c.Mrc", "02:00:00")]:
        mdoc(mrc(tmp_path / name), clock)
    found = discover(tmp_path)
    assert names(found) == ["b.MRCS", "c.Mrc", "a.mrc"]
    assert {stack.acquired.source for stack in found.stacks} == {"mdoc"}
    assert (found.skipped, found.rejected, found.warnings) == ((), (), ())


def test_an_entry_says_all_of_a_stack(tmp_path: Path) -> None:
    path = mrc(tmp_path / "a.mrc", (3, 4, 5), "int16", pixel_size=1.5)
    mdoc(path, "01:00:00", "PixelSpacing = 1.06")
    stack = only(discover(tmp_path))
    assert (stack.path, stack.name, stack.stem) == (path.resolve(), "a.mrc", "a")
    assert (stack.shape, stack.dtype, stack.codec) == ((3, 4, 5), np.dtype("int16"), None)
    assert (stack.size, stack.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert (stack.pixel_size, stack.pixel_size_source) == (1.5, "header")
    assert stack.mdoc == path.with_name("a.mrc.mdoc").resolve()


def test_the_pixel_size_of_the_mdoc_where_the_header_has_none(tmp_path: Path) -> None:
    mdoc(mrc(tmp_path / "a.mrc"), "01:00:00", "PixelSpacing = 1.06")
    stack = only(discover(tmp_path))
    assert (stack.pixel_size, stack.pixel_size_source) == (1.06, "mdoc")


def test_times_of_header_and_metadata(tmp_path: Path) -> None:
    mrc(tmp_path / "b.mrc", labels=["SerialEM: Digitized on a K3        14-Oct-26  19:06:33"])
    write(
        tmp_path / "a.mrcz",
        np.zeros((3, 4, 5), np.int8),
        meta={"DateTime": "2026-10-14T20:06:33"},
        pixel_size=2.0,
    )
    found = discover(tmp_path)
    assert [stack.acquired.time.hour for stack in found.stacks] == [19, 20]
    assert {stack.acquired.source for stack in found.stacks} == {"header"}
    assert found.stacks[1].meta == {"DateTime": "2026-10-14T20:06:33"}
    assert found.stacks[1].codec is not None
    assert found.stacks[1].pixel_size == pytest.approx(2.0)


def test_mixed_and_doubtful_times_are_said(tmp_path: Path) -> None:
    os.utime(mrc(tmp_path / "late.mrc"), (2e9, 2e9))
    mrc(tmp_path / "b_20261014_190633.mrc")
    mrc(tmp_path / "a_20261014_190633.mrc")
    found = discover(tmp_path)
    assert names(found) == ["a_20261014_190633.mrc", "b_20261014_190633.mrc", "late.mrc"]
    assert found.stacks[2].acquired.time == datetime.fromtimestamp(2e9)
    mixed, modified, same = found.warnings
    assert "name (2), mtime (1)" in mixed
    assert "1 of 3 stacks" in modified
    assert "late.mrc" in modified
    assert "a_20261014_190633.mrc, b_20261014_190633.mrc have the same time" in same


def test_what_is_skipped(tmp_path: Path) -> None:
    mdoc(mrc(tmp_path / "a.mrc"), "01:00:00")
    mrc(tmp_path / "CountRef_1.mrc", (1, 5, 4), "float32")
    mrc(tmp_path / "flux.mrc", (1, 4, 5), "float32", mean=0.99)
    mrc(tmp_path / "overview.mrc", (1, 8, 8), "int16", mean=100)
    mrc(tmp_path / ".hidden.mrc")
    mrc(tmp_path / "~a.mrc")
    (tmp_path / "notes.txt").touch()
    found = discover(tmp_path)
    assert names(found) == ["a.mrc"]
    assert reasons(found) == {
        "CountRef_1.mrc": "a single image, no stack; looks like a gain reference",
        "flux.mrc": "a single image, no stack; looks like a gain reference",
        "overview.mrc": "a single image, no stack",
    }
    assert found.rejected == ()


def test_outputs_are_known_by_their_footers(tmp_path: Path) -> None:
    pixels = np.zeros((3, 4, 5), np.int8)
    write(tmp_path / "raw.mrcz", pixels, provenance=append(None, step("simulate")))
    write(tmp_path / "done.mrcz", pixels, provenance=append(None, step("koma")))
    write(tmp_path / "recipe.mrcz", pixels, recipe={"form": "subtract"})
    found = discover(tmp_path)
    assert names(found) == ["raw.mrcz"]
    assert sorted(reasons(found)) == ["done.mrcz", "recipe.mrcz"]
    assert "KOMA" in reasons(found)["done.mrcz"]


def test_the_tree_and_the_output_folder(tmp_path: Path) -> None:
    mdoc(mrc(tmp_path / "Square_2" / "Data" / "a.mrc"), "02:00:00")
    mdoc(mrc(tmp_path / "Square_1" / "Data" / "b.mrc"), "01:00:00")
    mrc(tmp_path / "koma" / "a.mrc")
    mrc(tmp_path / "koma" / "session.zarr" / "c.mrc")
    mrc(tmp_path / ".trash" / "d.mrc")
    (tmp_path / "Square_1" / "up").symlink_to(tmp_path)
    found = discover(tmp_path, recursive=True, output=tmp_path / "koma")
    assert names(found) == ["Square_1/Data/b.mrc", "Square_2/Data/a.mrc"]
    assert reasons(found) == {"koma": "the output folder"}
    with pytest.raises(SessionError, match=r"no stacks; looked for .mrcz, .mrc, .mrcs .*.zarr .*--recursive"):
        discover(tmp_path)


def test_stems_keep_the_tree_and_the_suffix_where_two_would_be_equal(tmp_path: Path) -> None:
    for name in ("one/a.mrc", "two/a.mrcs", "two/b.mrc", "c.mrc", "c.mrcs", "c.mrc.mrcz", "d.mrc"):
        mrc(tmp_path / name)
    found = discover(tmp_path, recursive=True)
    assert {s.name: s.stem for s in found.stacks} == {
        "one/a.mrc": "one/a", "two/a.mrcs": "two/a", "two/b.mrc": "two/b", "d.mrc": "d",
        "c.mrc": "c.mrc", "c.mrcs": "c.mrcs", "c.mrc.mrcz": "c.mrc.mrcz",
    }  # fmt: skip


def test_links_that_lead_nowhere_stop_nothing(tmp_path: Path) -> None:
    mrc(tmp_path / "good.mrc")
    for name in ("loop", "loop.mrc", "loop.zarr", "loop.mrc.mdoc", "loop.txt"):
        (tmp_path / name).symlink_to(name)
    (tmp_path / "deep").symlink_to("nowhere")
    (tmp_path / "good.mrc.mdoc").symlink_to("nowhere")
    for recursive in (False, True):
        found = discover(tmp_path, recursive=recursive)
        assert names(found) == ["good.mrc"]
        assert sorted(one.path.name for one in found.rejected) == ["loop.mrc", "loop.zarr"]
        assert all("leads nowhere" in one.reason for one in found.rejected)
    assert not discover(tmp_path, exclude=["loop*"]).rejected


def test_bad_files_are_rejected_and_the_others_stay(tmp_path: Path) -> None:
    mdoc(mrc(tmp_path / "good.mrc"), "01:00:00")
    mrc(tmp_path / "cut.mrc", cut=7)
    mrc(tmp_path / "complex.mrc", dtype="complex64")
    mrc(tmp_path / "empty_stack.mrc", (0, 4, 5))
    (tmp_path / "zero.mrcz").touch()
    (tmp_path / "text.mrcz").write_text("no MRC at all\n" * 200)
    (tmp_path / "gone.mrcz").symlink_to(tmp_path / "nowhere.mrcz")
    (tmp_path / "folder.mrcz").mkdir()
    os.mkfifo(tmp_path / "pipe.mrcz")
    found = discover(tmp_path)
    assert names(found) == ["good.mrc"]
    assert {one.path.name for one in found.rejected} == {
        "cut.mrc", "complex.mrc", "empty_stack.mrc", "zero.mrcz", "text.mrcz", "gone.mrcz", "pipe.mrcz",
    }  # fmt: skip
    for one in found.rejected:
        assert one.path.name in one.reason
        assert "--exclude" in one.reason


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mdoc(mrc(tmp_path / "good.mrc"), "01:00:00")
    mrc(tmp_path / "secret.mrc")

    def guarded(path: Path, inputs: InputParams | None) -> FrameSource:
        if path.name == "secret.mrc":
            raise PermissionError(13, "Permission denied", str(path))
        return open_source(path, inputs)

    monkeypatch.setattr(probing, "open_source", guarded)
    assert "secret.mrc: cannot be read: Permission denied; " in reasons(discover(tmp_path))["secret.mrc"]


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mdoc(mrc(tmp_path / "a" / "good.mrc"), "01:00:00")
    mrc(tmp_path / "b" / "lost.mrc")
    scandir = os.scandir

    def guarded(folder: Path) -> Iterator[os.DirEntry[str]]:
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    found = discover(tmp_path, recursive=True)
    assert names(found) == ["a/good.mrc"]
    assert "cannot be listed (Permission denied)" in reasons(found)["b"]


def test_the_most_frequent_frame_size_and_sort_of_pixels_whatever_the_number_of_frames(
    tmp_path: Path,
) -> None:
    for name, shape, dtype in [
        ("a", (3, 4, 5), "int8"),
        ("b", (3, 4, 5), "uint16"),
        ("c", (4, 4, 5), "int8"),
        ("d", (3, 5, 4), "int8"),
        ("e", (3, 4, 5), "float32"),
    ]:
        mrc(tmp_path / f"{name}.mrc", shape, dtype)
    found = discover(tmp_path)
    assert sorted(names(found)) == ["a.mrc", "b.mrc", "c.mrc"]
    assert sorted(reasons(found)) == ["d.mrc", "e.mrc"]
    expected = "found 5 x 4 integer pixels; expected 4 x 5 integer, as 3 of 5 stacks have"
    assert expected in reasons(found)["d.mrc"]
    assert found.shape == (3, 4, 5)


def test_patterns_and_lists(tmp_path: Path) -> None:
    for i, name in enumerate(["a_1", "a_2", "b_1", "b_2"]):
        mdoc(mrc(tmp_path / f"{name}.mrc"), f"0{i}:00:00")
    (tmp_path / "bad.txt").write_text("# ice\na_2  # crystalline\n\nb_?.mrc\n")
    assert names(discover(tmp_path, include=["a_*"])) == ["a_1.mrc", "a_2.mrc"]
    found = discover(tmp_path, exclude=[str(tmp_path / "bad.txt")])
    assert names(found) == ["a_1.mrc"]
    assert reasons(found)["b_1.mrc"] == "excluded by 'b_?.mrc'"
    typo = discover(tmp_path, include=["*", "c_*"], exclude=["worse"])
    assert typo.warnings == ("include: nothing matches 'c_*'", "exclude: nothing matches 'worse'")
    with pytest.raises(SessionError, match="no such list"):
        discover(tmp_path, exclude=["worse.txt"])


def test_nothing_left_is_said(tmp_path: Path) -> None:
    mrc(tmp_path / "a.mrc")
    (tmp_path / "b.png").touch()
    with pytest.raises(SessionError, match=r"that match 'z\*'; found 1 \.mrc, 1 \.png"):
        discover(tmp_path, include=["z*"])
    with pytest.raises(SessionError, match="1 of them excluded"):
        discover(tmp_path, exclude=["a"])


def test_one_file_by_two_names_is_one_stack(tmp_path: Path) -> None:
    path = mrc(tmp_path / "z.mrc")
    mdoc(path, "01:00:00")
    (tmp_path / "a.mrc").symlink_to(path)
    found = discover(tmp_path)
    assert names(found) == ["z.mrc"]
    assert "are the same file" in found.warnings[0]


def test_an_mdoc_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    mrc(tmp_path / "a_20261014_190633.mrc")
    (tmp_path / "a_20261014_190633.mrc.mdoc").symlink_to(tmp_path / "nowhere")
    found = discover(tmp_path)
    assert only(found).acquired.source == "name"
    assert "a_20261014_190633.mrc.mdoc" in found.warnings[0]


class TestManyFiles:
    """Looks wait for a network in threads; the result is the same."""

    def test_in_threads_where_looks_wait(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for k in range(50):
            mrc(tmp_path / f"s_20261014_1906{k:02}.mrc")
        here = discover(tmp_path)
        threads = set()

        def slow(*arguments: Any, **options: Any) -> Any:
            threads.add(threading.get_ident())
            time.sleep(0.005)
            return probing.probe(*arguments, **options)

        monkeypatch.setattr(discovery, "probe", slow)
        assert discover(tmp_path) == here
        assert len(threads) > 1


@pytest.mark.parametrize("name", ["", "nowhere", "file"])
def test_no_session(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SessionError, match=r"no stacks; looked for|not there|no folder"):
        discover(tmp_path / name)


def test_only_bad_files_is_an_error_that_says_why(tmp_path: Path) -> None:
    mrc(tmp_path / "cut.mrc", cut=7)
    mrc(tmp_path / "image.mrc", (1, 4, 5))
    with pytest.raises(SessionError, match=r"1 files skipped, 1 rejected: image.mrc .*cut\.mrc"):
        discover(tmp_path)


def test_the_session_is_no_output_folder(tmp_path: Path) -> None:
    mrc(tmp_path / "a.mrc")
    with pytest.raises(SessionError, match="is the session's folder; choose another"):
        discover(tmp_path, output=tmp_path / "." / ".." / tmp_path.name)


def test_it_prints_itself(tmp_path: Path) -> None:
    mdoc(mrc(tmp_path / "a.mrc"), "01:00:00")
    mrc(tmp_path / "gain.mrc", (1, 4, 5), "float32")
    mrc(tmp_path / "cut.mrc", cut=7)
    text = str(discover(tmp_path, include=["*", "z"]))
    assert text.startswith("1 stacks of 4 x 5 integer (1.08 kB) in ")
    assert "2026-10-14 01:00:00 (mdoc)  a.mrc" in text
    assert [line.split(":")[0] for line in text.splitlines()[2:]] == ["skipped", "rejected", "warning"]


def test_the_example_session(session_folder: Path) -> None:
    found = discover(session_folder, output=session_folder / "koma")
    clocks = [stack.mdoc.read_text().split("14-Oct-26")[1].strip() for stack in found.stacks if stack.mdoc]
    assert len(found.stacks) == len(clocks) == 26
    assert clocks == sorted(clocks)
    assert clocks[0] == "19:03:03"
    assert {stack.acquired.source for stack in found.stacks} == {"mdoc"}
    assert all(stack.pixel_size == pytest.approx(1.06) for stack in found.stacks)
    assert found.shape == (20, 480, 464)
    assert reasons(found)["CountRef_gain.mrc"] == "a single image, no stack; looks like a gain reference"
    assert [one.path.name for one in found.rejected] == [
        "FoilHole_777777_Data_7777.mrcz",
        "FoilHole_888888_Data_8888.mrcz",
    ]
    assert found.warnings == ()
    assert found == discover(session_folder, output=session_folder / "koma")


def test_names_are_taken_literally_before_they_are_patterns(tmp_path: Path) -> None:
    odd = ("a[1].mrc", "a1.mrc", "with (1) [x].mrc", "what?.mrc", "whats.mrc", "s#1.mrc", "*.mrc")
    odd += ("deep/b.mrc",)
    for name in odd:
        mrc(tmp_path / name)

    def left_out(*patterns: str) -> set[str]:
        return set(odd) - set(names(discover(tmp_path, recursive=True, exclude=patterns)))

    for name in odd:
        assert left_out(name) == {name}
    assert left_out("a[1]") == {"a[1].mrc"}
    assert left_out("a[12].mrc") == {"a1.mrc"}
    assert left_out("b.mrc") == left_out("./deep/b.mrc") == {"deep/b.mrc"}
    (tmp_path / "list.txt").write_text("s#1.mrc\nwith (1) [x].mrc # a comment\n")
    assert left_out(str(tmp_path / "list.txt")) == {"s#1.mrc", "with (1) [x].mrc"}
    chosen = discover(tmp_path, include=["with (1) [x].mrc", "*.mrc"])
    assert sorted(names(chosen)) == ["*.mrc", "with (1) [x].mrc"]


def test_a_damaged_file_has_one_remedy(tmp_path: Path) -> None:
    mrc(tmp_path / "s.mrc")
    (tmp_path / "a.mrc.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(90))
    (tmp_path / "b.eer").write_bytes(b"II\x2b\0" + bytes(range(200)))
    write(tmp_path / "c.mrcz", np.ones((3, 4, 5), np.int16))
    (tmp_path / "c.mrcz").write_bytes((tmp_path / "c.mrcz").read_bytes()[:1100])
    (tmp_path / "d.tif").write_bytes(b"no picture at all")
    reasons = [one.reason for one in discover(tmp_path).rejected]
    assert len(reasons) == 4
    assert all(one.count("copy") == 1 and one.endswith("leave it out (--exclude)") for one in reasons), (
        reasons
    )

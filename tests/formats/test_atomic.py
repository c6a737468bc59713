import errno
import os
from pathlib import Path

import pytest

from mrcz_dask.formats.atomic import AtomicFile, AtomicFolder, replace_store, write_atomic
from mrcz_dask.values.errors import SpaceError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_content_and_nothing_else(tmp_path: Path, durable: bool) -> None:
    write_atomic(tmp_path / "a.bin", b"old", durable=durable)
    write_atomic(tmp_path / "a.bin", b"new", durable=durable)
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_nothing_is_seen_before_commit(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "a.bin")
    file.stream.write(b"half")
    file.stream.flush()
    (hidden,) = names(tmp_path)
    assert hidden.startswith(".a.bin.") and hidden.endswith(".part")
    file.discard()
    file.discard()
    assert names(tmp_path) == []


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.bin", b"old")
    with pytest.raises(KeyError), AtomicFile(tmp_path / "a.bin") as file:
        file.stream.write(b"half")
        raise KeyError
    assert names(tmp_path) == ["a.bin"] and (tmp_path / "a.bin").read_bytes() == b"old"


def test_a_full_disk_is_a_space_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"a\.bin.*free some space"), AtomicFile(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_targets_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"missing.*make it first"):
        write_atomic(tmp_path / "missing" / "a.bin", b"")
    with pytest.raises(SpaceError, match="it is a folder"):
        write_atomic(tmp_path, b"")


def test_umask_holds(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a.bin", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    name = "é" * 127
    write_atomic(tmp_path / name, b"x", durable=False)
    assert names(tmp_path) == [name]


def store(path: Path, text: str = "{}") -> Path:
    path.mkdir()
    (path / "zarr.json").write_text(text)
    return path


@pytest.mark.parametrize("durable", [True, False])
def test_a_folder_appears_whole(tmp_path: Path, durable: bool) -> None:
    folder = AtomicFolder(tmp_path / "a.zarr", durable=durable)
    folder.write("c/0/0/0", b"abc")
    folder.write("zarr.json", memoryview(b"{}"))
    assert [one.name for one in tmp_path.iterdir()] == [folder.place.name]
    assert folder.place.name.startswith(".a.zarr.") and folder.place.suffix == ".part"
    folder.commit()
    folder.discard()
    assert [one.name for one in tmp_path.iterdir()] == ["a.zarr"]
    assert (tmp_path / "a.zarr/c/0/0/0").read_bytes() == b"abc"


def test_what_is_discarded_leaves_the_old_one(tmp_path: Path) -> None:
    old = store(tmp_path / "a.zarr", "old")
    folder = AtomicFolder(old)
    folder.write("zarr.json", b"new")
    folder.discard()
    assert (old / "zarr.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


def test_a_store_without_its_metadata_is_replaced(tmp_path: Path) -> None:
    new, old = store(tmp_path / "new", "new"), store(tmp_path / "old.zarr", "old")
    (old / "zarr.json").unlink()
    (old / "c/0").mkdir(parents=True)
    replace_store(new, old)
    assert list(tmp_path.iterdir()) == [old] and (old / "zarr.json").read_text() == "new"


def test_an_older_store_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    new, old = store(tmp_path / "new", "new"), store(tmp_path / "old", "old")
    replace_store(new, old)
    assert list(tmp_path.iterdir()) == [old] and (old / "zarr.json").read_text() == "new"
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.zarr/c/0").mkdir(parents=True)
    (tmp_path / "mine.zarr/notes.txt").touch()
    for name in ("file", "folder", "mine.zarr"):
        with pytest.raises(SpaceError, match="no Zarr store"):
            replace_store(old, tmp_path / name)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder", "mine.zarr", "old"]


def test_a_store_that_cannot_be_renamed_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old, inner = store(tmp_path / "new", "new"), store(tmp_path / "old", "old"), Path.rename

    def fail(self: Path, other: Path) -> Path:
        if self == new:
            raise OSError(5, "I/O error")
        return inner(self, other)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(SpaceError, match="I/O error"):
        replace_store(new, old)
    assert (old / "zarr.json").read_text() == "old"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="make it first"):
        AtomicFolder(tmp_path / "no" / "a.zarr")

from pathlib import Path

import pytest

from mrcz_dask.formats.atomic_folder import AtomicFolder, replace_store
from mrcz_dask.values.errors import SpaceError


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


def test_an_older_store_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    new, old = store(tmp_path / "new", "new"), store(tmp_path / "old", "old")
    replace_store(new, old)
    assert list(tmp_path.iterdir()) == [old] and (old / "zarr.json").read_text() == "new"
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder"):
        with pytest.raises(SpaceError, match="no Zarr store"):
            replace_store(old, tmp_path / name)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder", "old"]


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

import os
import shutil
from pathlib import Path

import pytest

from mrcz_dask.session.output_folder import check_space, forbid_overwriting, free_bytes
from mrcz_dask.values.errors import PlaceError, SessionError, SpaceError
from mrcz_dask.values.sizes import readable, some


def test_free_bytes_where_the_folder_would_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there" / "yet") > 0
    assert free_bytes(tmp_path) <= shutil.disk_usage(tmp_path).total


def test_enough_space(tmp_path: Path) -> None:
    check_space(tmp_path / "out", 1000)
    assert not (tmp_path / "out").exists()


def test_too_little_space_says_the_figures(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"has .* free; expected at least the 100 PB .*choose another"):
        check_space(tmp_path / "out", 10**17)
    with pytest.raises(OSError, match="free"):
        check_space(tmp_path, 10**17)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(PlaceError, match="is a file; expected a folder"):
        check_space(tmp_path / "out" / "deeper", 1)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SpaceError, match="cannot be written into"):
        check_space(tmp_path / "out", 1)


def test_outputs_apart_from_inputs(tmp_path: Path) -> None:
    one = tmp_path / "a.mrcz"
    one.touch()
    forbid_overwriting([one], [tmp_path / "koma" / "a.mrcz"])


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_an_output_that_is_an_input_through_a_link(tmp_path: Path, link: str) -> None:
    one, two = tmp_path / "a.mrcz", tmp_path / "b.mrcz"
    one.touch()
    getattr(two, link)(one)
    with pytest.raises(SessionError, match=r"1 outputs would overwrite inputs: .*b\.mrcz"):
        forbid_overwriting([one], [two])


def test_the_same_folder_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.mrcz").touch()
    (tmp_path / "koma").symlink_to(tmp_path / "raw")
    with pytest.raises(SessionError, match="overwrite inputs"):
        forbid_overwriting([tmp_path / "raw" / "a.mrcz"], [tmp_path / "koma" / "a.mrcz"])


def test_sizes_that_can_be_read() -> None:
    assert [readable(n) for n in (0, 999, 1000, 1_234_567, 10**17)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.23 MB",
        "100 PB",
    ]


def test_some_names() -> None:
    assert some("ab") == "a, b"
    assert some(range(7), most=2) == "0, 1 and 5 more"

import secrets
import uuid
from pathlib import Path

import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.formats.digest import digest_array
from mrcz_dask.runs.readback import read_back, swept
from mrcz_dask.values.errors import DamagedError

FRAMES = np.arange(96, dtype=np.int16).reshape(2, 6, 8)


def test_an_output_with_the_right_pixels_gets_its_name(tmp_path: Path) -> None:
    with read_back(tmp_path / "a.mrcz", digest_array(FRAMES)) as place:
        mrcz_dask.write(place, FRAMES)
        assert not (tmp_path / "a.mrcz").exists()
    assert np.array_equal(mrcz_dask.read(tmp_path / "a.mrcz"), FRAMES)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mrcz"]


def test_an_output_with_wrong_pixels_never_does(tmp_path: Path) -> None:
    (tmp_path / "a.mrcz").write_bytes(b"old")
    with (
        pytest.raises(DamagedError, match="keep the input"),
        read_back(tmp_path / "a.mrcz", digest_array(FRAMES)) as place,
    ):
        mrcz_dask.write(place, FRAMES + 1)
    assert (tmp_path / "a.mrcz").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mrcz"]


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), read_back(tmp_path / "a.mrcz", "") as place:
        mrcz_dask.write(place, FRAMES)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_names_may_be_as_long_as_they_can_be(tmp_path: Path) -> None:
    target = tmp_path / ("ä" * 125 + ".mrcz")
    with read_back(target, digest_array(FRAMES)) as place:
        mrcz_dask.write(place, FRAMES)
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_leftovers_of_this_run_go_and_nothing_else(tmp_path: Path) -> None:
    mine = [
        f".a.mrcz.{secrets.token_hex(6)}.part",
        f".a_mask.mrc.{secrets.token_hex(6)}.part",
        f".a.mrcz.mdoc.{secrets.token_hex(6)}.part",
        f".a.{uuid.uuid4().hex}.part.mrcz",
        f"..a.{uuid.uuid4().hex}.part.mrcz.{secrets.token_hex(6)}.part",
    ]
    others = [
        "a.mrcz",
        ".hidden",
        f".z.mrcz.{secrets.token_hex(6)}.part",
        "session.zarr",
        ".a.part",
        "a.part",
    ]
    for name in (*mine, *others):
        (tmp_path / name).write_text("")
    for name in (f".session.zarr-{uuid.uuid4().hex}", f".session.zarr-{uuid.uuid4().hex}-old"):
        (tmp_path / name).mkdir()
    with pytest.raises(KeyboardInterrupt), swept(tmp_path, ["a", "b"]):
        raise KeyboardInterrupt
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(others)


def test_a_folder_that_was_never_made(tmp_path: Path) -> None:
    with swept(tmp_path / "out", ["a"]):
        pass
    assert not (tmp_path / "out").exists()

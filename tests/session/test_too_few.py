"""Recordings with too few frames are not done; gains, darks and pictures in the folder are none."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.session.discovery import discover
from tests.inputs import as_eer, as_hdf5, as_tiff, split, write_eer

COUNTS = np.random.default_rng(0).poisson(2, (4, 20, 30)).astype(np.uint8)


def reasons(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return why files were rejected, and why they were skipped."""
    found = discover(folder)
    return ({o.path.name: o.reason for o in found.rejected}, {o.path.name: o.reason for o in found.skipped})


@pytest.mark.parametrize("make", [as_tiff, as_hdf5])
def test_a_movie_cut_to_one_frame(tmp_path: Path, make: Any) -> None:
    for k in range(3):
        make(tmp_path, f"s{k}", COUNTS)
    cut = make(tmp_path, "s3", COUNTS[:1])
    rejected, skipped = reasons(tmp_path)
    assert list(rejected) == [cut.name] and "expected 2 or more" in rejected[cut.name] and not skipped


def test_nz_1(tmp_path: Path) -> None:
    for k in range(4):
        write(tmp_path / f"s{k}.mrc", COUNTS[: 4 if k else 1].astype(np.uint16), footer=False)
    write(tmp_path / "gain.mrc", np.ones((20, 30), np.float32))
    write(tmp_path / "dark_1.mrc", COUNTS[0].astype(np.uint16))
    write(tmp_path / "atlas.mrc", COUNTS[0].astype(np.uint16))
    write(tmp_path / "x.mrc", COUNTS[0, :9].astype(np.uint16))
    rejected, skipped = reasons(tmp_path)
    assert list(rejected) == ["s0.mrc"]
    assert sorted(skipped) == ["atlas.mrc", "dark_1.mrc", "gain.mrc", "x.mrc"]


def test_a_gain_among_stacks_of_floats(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / f"s{k}.mrc", COUNTS.astype(np.float32) / 2)
    write(tmp_path / "s3.mrc", COUNTS[0].astype(np.float32) / 2)
    write(tmp_path / "g.mrc", np.ones((20, 30), np.float32))
    rejected, skipped = reasons(tmp_path)
    assert (list(rejected), list(skipped)) == (["s3.mrc"], ["g.mrc"])


def test_eer_of_too_few_raw_frames(tmp_path: Path) -> None:
    as_eer(tmp_path, "a", COUNTS)
    write_eer(tmp_path / "b.eer", split(COUNTS[:1, :, :], 60))
    rejected, _ = reasons(tmp_path)
    assert "has 60 raw frames" in rejected["b.eer"] and "--eer-frames 30" in rejected["b.eer"]
    assert "copy it again" not in rejected["b.eer"]


def test_an_mdoc_says_that_it_was_a_movie(tmp_path: Path) -> None:
    as_tiff(tmp_path, "a", COUNTS)
    path = as_tiff(tmp_path, "b", COUNTS[:1, :9])
    path.with_name("b.tif.mdoc").write_text("[FrameSet = 0]\nNumSubFrames = 40\n")
    rejected, _ = reasons(tmp_path)
    assert "40" in rejected["b.tif"]


def test_files_of_a_master_file_are_not_taken_twice(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x_master.h5", "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("x_data_000001.h5", "entry/data")
    as_hdf5(tmp_path, "x_data_000001", COUNTS)
    found = discover(tmp_path)
    assert [one.name for one in found.stacks] == ["x_master.h5"] and found.stacks[0].shape == COUNTS.shape
    assert "x_master.h5" in found.skipped[0].reason

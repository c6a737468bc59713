import json
from pathlib import Path
from typing import Any

import numpy as np

import mrcz_dask


def test_it_is_written_once(night: Path, tmp_path: Path, mrcz: Any) -> None:
    out = tmp_path / "view.json"
    shown = mrcz("zarr-view", night, "-o", out)
    assert shown.code == 0
    assert "5 arrays" in shown.out
    assert json.loads(out.read_text())["version"] == 1
    again = mrcz("zarr-view", night, "-o", out)
    assert again.code == 2 and "--overwrite" in again.err
    assert mrcz("zarr-view", night, "-o", out, "--overwrite", "--json").code == 0


def test_stacks_that_cannot_be_in_it_are_named(night: Path, tmp_path: Path, mrcz: Any) -> None:
    shape = mrcz_dask.read(next(night.glob("*.mrcz"))).shape
    mrcz_dask.write(night / "other_2026-01-01_10.10.10.mrcz", np.ones(shape, np.uint8), chunk_version=5)
    shown = mrcz("zarr-view", night, "-o", tmp_path / "view.json")
    assert shown.code == 3
    assert "left out" in shown.err and "version 5" in shown.err

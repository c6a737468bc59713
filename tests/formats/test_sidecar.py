from pathlib import Path

import numpy as np
import pytest

from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sidecar import read_sidecar, sidecar_path, write_sidecar
from mrcz_dask.values.errors import FooterError


def test_there_and_back(tmp_path: Path) -> None:
    payload = {"meta": {"ü": [1, 2.5, None]}, "frames": {"xxh3": [2**64 - 1]}}
    write_sidecar(tmp_path / "a.mrcs", payload, durable=False)
    assert sidecar_path(tmp_path / "a.mrcs").name == "a.mrcs.json"
    assert read_sidecar(tmp_path / "a.mrcs") == payload
    assert read_sidecar(tmp_path / "b.mrcs") is None


def test_a_change_is_found(tmp_path: Path) -> None:
    write_sidecar(tmp_path / "a.mrcs", {"n": 1})
    beside = sidecar_path(tmp_path / "a.mrcs")
    beside.write_text(beside.read_text().replace('"n": 1', '"n": 2'))
    with pytest.raises(FooterError, match=r"a\.mrcs\.json: its checksum"):
        read_sidecar(tmp_path / "a.mrcs")


def test_a_replaced_file_loses_the_sidecar_of_the_old_one(tmp_path: Path) -> None:
    path, image = tmp_path / "a.mrcs", np.zeros((4, 5), np.int16)
    write(path, image, footer="sidecar")
    write(path, image, footer=False)
    assert not sidecar_path(path).exists()
    sidecar_path(path).write_text("{}")
    write(path, image, footer=False)
    assert sidecar_path(path).read_text() == "{}"

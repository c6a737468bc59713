from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.formats.checksummed import frame_checksum
from mrcz_dask.formats.sidecar import read_sidecar, write_sidecar
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.writers import open_writer
from mrcz_dask.values.errors import DamagedError, FooterError

FRAMES = np.random.default_rng(0).poisson(3, (3, 6, 7)).astype(np.uint16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_writer(
        tmp_path / "a.tif", "tiff", FRAMES.shape, "u1", pixels={"dtype": "<u2", "unit": "counts"}
    ) as writer:
        for frame in FRAMES:
            writer.append(frame)
    return tmp_path / "a.tif"


def test_a_checksum_is_of_pixels_and_not_of_their_place() -> None:
    frame = FRAMES[0]
    assert (
        frame_checksum(frame)
        == frame_checksum(frame.astype(">u2"))
        == frame_checksum(np.asfortranarray(frame))
    )
    assert frame_checksum(frame) != frame_checksum(frame[::-1])


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("stack", {"shape": [3, 6, 8], "dtype": "|u1"}, DamagedError),
        ("stack", {"shape": [3, 6, 7], "dtype": "<u2"}, DamagedError),
        ("stack", None, DamagedError),
        ("frames", {"xxh3": [1, 2]}, FooterError),
        ("frames", {}, FooterError),
    ],
)
def test_a_sidecar_that_is_about_something_else(
    path: Path, key: str, value: Any, error: type[Exception]
) -> None:
    write_sidecar(path, (read_sidecar(path) or {}) | {key: value})
    with pytest.raises(error, match=r"a\.tif\.json"):
        open_source(path)


@pytest.mark.parametrize("said", ["<f4", "<c8", "nonsense", 7, None, "<i8"])
def test_a_dtype_that_cannot_have_been_is_not_believed(path: Path, said: Any) -> None:
    payload = read_sidecar(path) or {}
    payload["pixels"]["dtype"] = said
    write_sidecar(path, payload)
    with open_source(path) as reader:
        assert reader.dtype == np.uint8
        np.testing.assert_array_equal(reader.frames(), FRAMES)


def test_frames_go_into_arrays_that_are_there(path: Path) -> None:
    with open_source(path) as reader:
        out = np.empty((6, 7), np.uint16)
        assert reader.frame(-1, out) is out
        np.testing.assert_array_equal(out, FRAMES[2])

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from mrcz_dask.formats.foreign.zarr_writer import ZarrWriter
from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.values.errors import DamagedError, DtypeError, FooterError, ParameterError


def save(path: Path, frames: np.ndarray, **options: Any) -> Path:
    with ZarrWriter(path, frames.shape, frames.dtype, **options) as writer:
        for frame in frames:
            writer.append(frame)
    return path


@pytest.mark.parametrize(
    "codec", ["auto", "auto:fast", "auto:small", "noise:3", "zstd:1", "lz4:9", "lz4hc:5", "none"]
)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f2", "f4"])
def test_zarr_reads_what_every_codec_made(tmp_path: Path, codec: str, dtype: str) -> None:
    frames = np.random.default_rng(0).poisson(3, (3, 200, 300)).astype(dtype)
    array = zarr.open_array(str(save(tmp_path / "a.zarr", frames, codec=codec)), mode="r")
    assert array.shape == frames.shape and array.dtype == frames.dtype and array.chunks == (1, 200, 300)
    np.testing.assert_array_equal(np.asarray(array[:]), frames)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), frames)


def test_what_is_said_is_in_the_attributes(tmp_path: Path) -> None:
    frames = np.ones((2, 4, 5), np.int16)
    path = save(tmp_path / "a.zarr", frames, pixel_size=1.5, pixels={"scale": 0.5})
    assert zarr.open_array(str(path), mode="r").attrs["pixel_size"] == [1.5, 1.5, 1.5]
    array = zarr.open_array(str(path), mode="r+")
    array.attrs["mrcz_dask"] = {**array.attrs["mrcz_dask"], "xxh3": "0"}  # type: ignore[dict-item]
    with pytest.raises(FooterError, match="attribute mrcz_dask"):
        open_source(path)


def test_a_chunk_that_is_gone_is_not_taken_for_zeros(tmp_path: Path) -> None:
    path = save(tmp_path / "a.zarr", np.ones((2, 4, 5), np.int16))
    (path / "c/1/0/0").unlink()
    with open_source(path) as reader, pytest.raises(DamagedError, match="frame 1 is damaged"):
        reader.frame(1)


@pytest.mark.parametrize("codec", ["nothing", "zstd:99", "deflate"])
def test_codecs_that_are_none_and_complex_pixels(tmp_path: Path, codec: str) -> None:
    with pytest.raises(ParameterError, match="codec"):
        ZarrWriter(tmp_path / "a.zarr", (1, 2, 3), "u1", codec=codec)
    with pytest.raises(DtypeError, match="write mrcz"):
        ZarrWriter(tmp_path / "a.zarr", (1, 2, 3), "c8")
    assert list(tmp_path.iterdir()) == []

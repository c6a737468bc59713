from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from mrcz_dask.formats.foreign import tiff_writer
from mrcz_dask.formats.foreign.tiff_writer import TiffWriter, parse_codec
from mrcz_dask.values.errors import DtypeError, ParameterError

FRAMES = np.random.default_rng(0).poisson(3, (3, 20, 30)).astype(np.uint8)


def save(path: Path, **options: Any) -> Path:
    with TiffWriter(path, FRAMES.shape, FRAMES.dtype, **options) as writer:
        for frame in FRAMES:
            writer.append(frame)
    return path


def test_a_page_and_a_strip_a_frame_and_nothing_volatile(tmp_path: Path) -> None:
    with tifffile.TiffFile(save(tmp_path / "a.tif", pixel_size=(0.5, 0.25))) as file:
        assert len(file.pages) == 3 and not file.is_bigtiff
        for page in file.pages:
            assert len(page.dataoffsets) == 1
            x, y = page.tags["XResolution"].value, page.tags["YResolution"].value
            assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
            np.testing.assert_allclose([1e8 * x[1] / x[0], 1e8 * y[1] / y[0]], [0.5, 0.25], rtol=1e-6)
            assert "DateTime" not in page.tags and "ImageDescription" not in page.tags
    assert save(tmp_path / "b.tif", pixel_size=(0.5, 0.25)).read_bytes() == (tmp_path / "a.tif").read_bytes()


@pytest.mark.parametrize("codec", ["none", "lzw", "deflate:1", "auto"])
def test_bigtiff_where_a_file_may_pass_4_gib(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_writer, "_CLASSIC", 2000)
    with tifffile.TiffFile(save(tmp_path / "a.tif", codec=codec)) as file:
        assert file.is_bigtiff
        np.testing.assert_array_equal(file.asarray(), FRAMES)


def test_codecs() -> None:
    assert parse_codec("auto") == parse_codec("auto:fast") == parse_codec("deflate") == ("deflate", 3)
    assert parse_codec("deflate:12") == ("deflate", 12) and parse_codec("lzw") == ("lzw", 0)
    for wrong in ("zstd:1", "deflate:0", "deflate:13", "deflate:x", "lzw:1", "none:1", ""):
        with pytest.raises(ParameterError, match="for TIFF"):
            parse_codec(wrong)


@pytest.mark.parametrize("dtype", ["i1", "u4", "f2", "c8"])
def test_types_that_programs_do_not_read_are_refused(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(DtypeError, match="cast first"):
        TiffWriter(tmp_path / "a.tif", (1, 2, 3), dtype)
    assert list(tmp_path.iterdir()) == []

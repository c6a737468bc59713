from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from mrcz_dask.formats.digest import file_digest
from mrcz_dask.formats.gains import read_reference, write_reference
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.values.errors import FormatError, MissingFileError, ParameterError

IMAGE = np.random.default_rng(0).uniform(0.9, 1.1, (6, 8)).astype(np.float32)


def test_what_is_written_is_read_and_plain_mrc(tmp_path: Path) -> None:
    path = tmp_path / "gain.mrc"
    write_reference(path, IMAGE)
    found = read_reference(path)
    assert np.array_equal(found.image, IMAGE)
    assert (found.name, found.format, found.first_row) == ("gain.mrc", "MRC", "bottom")
    assert found.digest == file_digest(path)
    assert found.about()["shape"] == [6, 8]
    with mrcfile.open(path) as mrc:
        assert mrc.data.dtype == np.float32
        assert np.array_equal(np.squeeze(mrc.data), IMAGE)
    with pytest.raises(ParameterError, match=r"\.mrc"):
        write_reference(tmp_path / "gain.dat", IMAGE)


@pytest.mark.parametrize("kind", ["i2", "u2", "f2", "f4"])
def test_any_real_pixels_become_float32(tmp_path: Path, kind: str) -> None:
    image = (IMAGE * 100).astype(kind)
    write(tmp_path / "gain.mrcz", image)
    assert np.array_equal(read_reference(tmp_path / "gain.mrcz").image, image.astype(np.float32))


@pytest.mark.parametrize("suffix", ["tif", "gain"])
def test_tiff_rows_are_in_the_order_of_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"g.{suffix}"
    tifffile.imwrite(path, IMAGE, compression="deflate")
    found = read_reference(path)
    assert np.array_equal(found.image, IMAGE)
    assert (found.format, found.first_row) == ("TIFF", "top")


def test_a_stack_or_complex_pixels_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "stack.mrc", np.stack([IMAGE, IMAGE]))
    write(tmp_path / "complex.mrc", IMAGE.astype(np.complex64))
    for name, found in (("stack.mrc", "2 frames"), ("complex.mrc", "complex64")):
        with pytest.raises(FormatError, match=rf"dark .*{name}: .*{found}.*expected one image"):
            read_reference(tmp_path / name, "dark")


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "gain.dm4").write_bytes(b"no gain at all" * 100)
    with pytest.raises(FormatError, match=r"gain .*gain\.dm4"):
        read_reference(tmp_path / "gain.dm4")
    for what in ("gain", "dark"):
        with pytest.raises(MissingFileError, match=rf"^{what} .*missing\.mrc: there is no such file"):
            read_reference(tmp_path / "missing.mrc", what)


@pytest.mark.parametrize(("what", "value"), [("gain", 0), ("gain", -1), ("gain", np.nan), ("dark", np.inf)])
def test_a_reference_without_a_pixel_to_use_is_refused(tmp_path: Path, what: str, value: float) -> None:
    write(tmp_path / "r.mrc", np.full((6, 8), value, np.float32))
    with pytest.raises(ParameterError, match=rf"{what} .*r\.mrc: no pixel is a .* give another {what}"):
        read_reference(tmp_path / "r.mrc", what)

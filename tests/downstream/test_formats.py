"""RELION on outputs of `recompress --format`: the image that it sees in the input, from TIFF and from MRC."""

import re
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray

from mrcz_dask.convert.recompress import recompress
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.values.params import OutputFormat
from tests.inputs import as_tiff

pytestmark = [pytest.mark.downstream, pytest.mark.usefixtures("relion")]

PIXEL = re.compile(r"angpix = (\S+)")
RANGES = {"nibbles": 15, "small": 127, "bytes": 255, "words": 60_000}


def seen(path: Path, folder: Path) -> NDArray[np.float32]:
    """Return the stack as RELION sees it: what it writes as MRC."""
    folder.mkdir()
    run("--i", path, "--o", folder / "seen.mrcs")
    with mrcfile.open(folder / "seen.mrcs", permissive=True) as file:
        return np.asarray(file.data, np.float32)


def run(*options: object) -> str:
    words = ["relion_image_handler", *map(str, options)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    return done.stdout


@pytest.mark.parametrize("span", sorted(RANGES))
@pytest.mark.parametrize("format", ["tiff", "mrcs"])
def test_it_sees_the_image_of_an_mrc_movie(tmp_path: Path, format: OutputFormat, span: str) -> None:
    counts = np.random.default_rng(0).integers(0, RANGES[span] + 1, (4, 48, 64)).astype(np.uint16)
    write(tmp_path / "a.mrcz", counts, pixel_size=1.06)
    made = Path(recompress(tmp_path / "a.mrcz", tmp_path / "out", "auto", format).output)
    np.testing.assert_array_equal(seen(made, tmp_path / "seen"), counts)
    assert {round(float(one), 3) for one in PIXEL.findall(run("--i", made, "--stats"))} == {1.06}


@pytest.mark.parametrize("format", ["tiff", "mrcs"])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_it_sees_signed_and_broken_numbers(tmp_path: Path, format: OutputFormat, dtype: str) -> None:
    pixels = (np.random.default_rng(0).normal(0, 300, (4, 48, 64))).astype(dtype)
    write(tmp_path / "a.mrcz", pixels)
    made = Path(recompress(tmp_path / "a.mrcz", tmp_path / "out", "auto", format).output)
    np.testing.assert_array_equal(seen(made, tmp_path / "seen"), pixels)


@pytest.mark.parametrize("format", ["tiff", "mrcs"])
@pytest.mark.parametrize("codec", ["auto", "none"])
def test_it_sees_the_image_of_a_tiff_movie(tmp_path: Path, format: OutputFormat, codec: str) -> None:
    counts = np.random.default_rng(0).poisson(3, (4, 48, 64)).astype(np.uint8)
    source = as_tiff(tmp_path, "a", counts)
    made = Path(recompress(source, tmp_path / "out", codec, format).output)
    np.testing.assert_array_equal(seen(made, tmp_path / "b"), seen(source, tmp_path / "a"))


@pytest.mark.parametrize("codec", ["deflate:1", "deflate:12", "lzw", "none"])
def test_it_reads_every_compression_of_tiff(tmp_path: Path, codec: str) -> None:
    counts = np.random.default_rng(0).poisson(3, (4, 48, 64)).astype(np.uint8)
    write(tmp_path / "a.mrcz", counts)
    made = Path(recompress(tmp_path / "a.mrcz", tmp_path / "out", codec, "tiff").output)
    np.testing.assert_array_equal(seen(made, tmp_path / "seen"), counts)

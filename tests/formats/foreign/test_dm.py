"""DM3 and DM4: files of DigitalMicrograph itself, which HyperSpy 1.7 has in its wheel, and broken ones."""

import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.values.errors import FormatError, MrczDaskError
from tests.inputs import WRITERS

WHEEL = "hyperspy==1.7.6"
INSIDE = "hyperspy/tests/io"


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hyperspy")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        folder,
    ]
    fetched = subprocess.run([*command, "--python-version=3.10", WHEEL], capture_output=True, check=False)
    if fetched.returncode:
        pytest.skip(f"{WHEEL} cannot be fetched")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith(INSIDE)])
    return folder / INSIDE


@pytest.mark.parametrize("content", [b"\0\0\0\4", b"\0\0\0\3" + bytes(2000), b"\0\0\0\4" + b"\xff" * 2000])
def test_what_is_no_dm_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.dm4").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.dm4: expected a DM3 or DM4 file, found what cannot be read"):
        open_source(tmp_path / "a.dm4")
    with pytest.raises(FormatError, match="DM files are read from a path"):
        open_source(content)


@pytest.mark.downstream
@pytest.mark.parametrize("version", ["dm3", "dm4"])
@pytest.mark.parametrize(
    ("number", "dtype"), [(1, "i2"), (2, "f4"), (6, "u1"), (7, "i4"), (9, "i1"), (10, "u2"), (11, "u4")]
)
def test_types_and_order_of_axes(examples: Path, version: str, number: int, dtype: str) -> None:
    with open_source(examples / f"{version}_3D_data" / f"test-{number}.{version}") as source:
        assert (source.format, source.shape, source.dtype) == ("DM", (2, 2, 2), np.dtype(dtype))
        np.testing.assert_array_equal(source.frames(), np.arange(1, 9).reshape(2, 2, 2))


@pytest.mark.downstream
def test_a_stack_and_an_image(examples: Path) -> None:
    with open_source(examples / "dm_stackbuilder_plugin" / "test_stackbuilder_imagestack.dm3") as source:
        assert source.shape == (3, 2, 16)
        assert source.frame(0)[0, :3].tolist() == [606491, 615402, 621457]
    with open_source(examples / "dm3_2D_data" / "test_STEM_image.dm3") as source:
        assert source.shape == (1, 68, 68)
        assert source.pixel_size == pytest.approx((2.48538,) * 3)
        assert source.meta["datetime"] == "2016-08-08 16:26:37"
        assert source.meta["voltage_v"] == 200000
        assert source.first_row == source.meta["input"]["first_row"] == "top"
    with open_source(examples / "dm3_2D_data" / "test_diffraction_pattern.dm3") as source:
        assert "datetime" not in source.meta  # 7/9/2014 is two dates
        assert source.meta["exposure_s"] == 0.2


@pytest.mark.downstream
@pytest.mark.parametrize(("place", "clock"), [("DE", "20:54:33"), ("FR", "20:55:20"), ("UK", "20:52:30")])
def test_dates_in_the_language_of_the_microscope(examples: Path, place: str, clock: str) -> None:
    with open_source(examples / "dm3_locale" / f"Fei HAADF-{place}_location.dm3") as source:
        assert source.meta["datetime"] == f"2016-08-27 {clock}"


@pytest.mark.downstream
def test_damaged_and_cut_off(examples: Path, tmp_path: Path) -> None:
    whole = (examples / "dm4_3D_data" / "test-1.dm4").read_bytes()
    path = tmp_path / "a.dm4"
    for end in range(0, len(whole) - 100, 509):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError, match=r"a\.dm4"):
            read(path)
    rng = np.random.default_rng(0)
    for _ in range(100):
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            read(path)
        except (MrczDaskError, OSError) as error:
            assert "a.dm4" in str(error)


@pytest.mark.downstream
def test_other_programs_tiff_and_velox(examples: Path) -> None:
    for name, shape in [("DM_stack", (2, 68, 68)), ("imageJ_stack", (2, 68, 68)), ("DM", (1, 68, 68))]:
        with open_source(examples / "tiff_files" / f"test_loading_image_saved_with_{name}.tif") as source:
            assert source.shape == shape
            assert source.frame(0)[0, :3].tolist() == [3465, 3352, 3373]
    with open_source(examples / "emd_files" / "fei_example_tem_stack.emd") as source:
        assert source.shape == (2, 3, 3)  # HyperSpy's own test expects it so
        assert source.frames().dtype == np.int16


def test_no_bit_of_the_tags_gives_another_shape(tmp_path: Path) -> None:
    """One of the width, say, whose pixels would all be there."""
    counts = np.arange(3 * 8 * 12, dtype=np.uint8).reshape(3, 8, 12)
    path = WRITERS["dm4"](tmp_path, "a", counts)
    whole, shapes = path.read_bytes(), set()
    begin = whole.index(counts.tobytes())
    for at in [*range(begin), *range(begin + counts.nbytes, len(whole))]:
        for bit in (at % 8, (at + 3) % 8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            with suppress(MrczDaskError), open_source(path) as source:
                shapes.add(source.shape)
    assert shapes == {(3, 8, 12)}

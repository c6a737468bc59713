from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import mrcz_dask
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sidecar import read_sidecar, sidecar_path, write_sidecar
from mrcz_dask.formats.sources import open_source, read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES, open_writer
from mrcz_dask.values.errors import DamagedError, FooterError, OutputExistsError
from mrcz_dask.values.params import OutputFormat

BESIDE: list[OutputFormat] = ["mrcs", "mrcs.zst", "tiff"]
SCALE = {"scale": 0.25, "offset": 1.0}
STEPS = np.arange(60, dtype=np.int16).reshape(2, 5, 6) - 9


def put(folder: Path, format: OutputFormat, pixels: dict[str, Any] | None = None) -> Path:
    """Write two frames of int16."""
    path = folder / f"a{OUTPUT_SUFFIXES[format]}"
    with open_writer(path, format, STEPS.shape, "i2", pixels=pixels, durable=False) as writer:
        for frame in STEPS:
            writer.append(frame)
    return path


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


def test_a_newer_version_is_not_guessed_at(tmp_path: Path) -> None:
    write_sidecar(tmp_path / "a.mrcs", {"n": 1})
    beside = sidecar_path(tmp_path / "a.mrcs")
    beside.write_text(beside.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(FooterError, match="has version 2, this package knows 1; update it"):
        read_sidecar(tmp_path / "a.mrcs")


def test_a_replaced_file_loses_the_sidecar_of_the_old_one(tmp_path: Path) -> None:
    path, image = tmp_path / "a.mrcs", np.zeros((4, 5), np.int16)
    for damage in (0, 9):
        write(path, image, footer="sidecar")
        beside = sidecar_path(path)
        beside.write_bytes(beside.read_bytes()[damage:])
        write(path, image, footer=False)
        assert not beside.exists()
    beside.write_text("{}")
    write(path, image, footer=False)
    assert beside.read_text() == "{}"


@pytest.mark.parametrize("left", [0, 20, 300])
@pytest.mark.parametrize("format", BESIDE)
def test_a_damaged_sidecar_is_an_error_and_is_replaced(
    tmp_path: Path, format: OutputFormat, left: int
) -> None:
    path = put(tmp_path, format)
    whole = sidecar_path(path).read_bytes()
    sidecar_path(path).write_bytes(whole[:left])
    with pytest.raises(FooterError, match=r"(?s)\.json: expected JSON, .*copy it again, or move it away"):
        mrcz_dask.read(path)
    assert put(tmp_path, format) == path and sidecar_path(path).read_bytes() == whole


@pytest.mark.parametrize("foreign", ['{"title": "mine"}', "of somebody: else", '["mrcz-dask"]'])
def test_a_file_of_another_program_is_not_replaced(tmp_path: Path, foreign: str) -> None:
    sidecar_path(tmp_path / "a.tif").write_text(foreign)
    with pytest.raises(OutputExistsError, match=r"a\.tif\.json is there"):
        put(tmp_path, "tiff")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif.json"]


READERS: list[Callable[[Path], object]] = [
    mrcz_dask.read,
    mrcz_dask.open_stack,
    mrcz_dask.read_footer,
    open_source,
    lambda path: mrcz_dask.read(path, permissive=True),
    lambda path: mrcz_dask.read(path.read_bytes()),
]


@pytest.mark.parametrize("format", BESIDE)
def test_a_scale_that_is_not_there_is_an_error(tmp_path: Path, format: OutputFormat) -> None:
    path = put(tmp_path, format, SCALE)
    np.testing.assert_array_equal(mrcz_dask.read(path), STEPS * np.float32(0.25) + 1)
    beside = sidecar_path(path)
    whole = beside.read_bytes()
    for damaged in (None, whole[:99], whole.replace(b"0.25", b"0.50"), b"{}"):
        beside.unlink(missing_ok=True)
        if damaged is not None:
            beside.write_bytes(damaged)
        for reader in READERS:
            with pytest.raises(FooterError):
                reader(path)
        assert verify_file(path).status == "damaged"


@pytest.mark.parametrize("format", BESIDE)
def test_counts_are_read_without_their_sidecar_with_a_caveat(tmp_path: Path, format: OutputFormat) -> None:
    path = put(tmp_path, format)
    sidecar_path(path).unlink()
    with open_source(path) as reader:
        np.testing.assert_array_equal(reader.frames(), STEPS)
        assert "copy it back beside the file" in reader.notes[0]
    assert read_footer(path) is None


@pytest.mark.parametrize("format", ["mrcs.zst", "tiff", "zarr"])
def test_what_an_older_version_wrote_is_not_called_sound(tmp_path: Path, format: OutputFormat) -> None:
    """Its frames have checksums, its other bytes have no digest."""
    path = put(tmp_path, format, SCALE)
    assert verify_file(path).status == "sound"
    if format == "zarr":
        import zarr

        from mrcz_dask.formats.sidecar import sealed

        array = zarr.open_array(path)
        payload = {key: value for key, value in (read_footer(path) or {}).items() if key != "file"}
        array.attrs["mrcz_dask"] = sealed(payload)
    else:
        payload = {key: value for key, value in (read_sidecar(path) or {}).items() if key != "file"}
        write_sidecar(path, payload)
    report = verify_file(path)
    assert (report.status, report.problems) == ("partly-checked", ())
    np.testing.assert_array_equal(mrcz_dask.read(path), STEPS * np.float32(0.25) + 1)


def test_tags_that_other_programs_see_are_verified(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with open_writer(path, "tiff", STEPS.shape, "i2", pixel_size=1.5) as writer:
        for frame in STEPS:
            writer.append(frame)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[1].tags["XResolution"].overwrite((1, 2))
    report = verify_file(path)
    assert report.status == "damaged" and report.damaged_frames == ()
    assert report.problems[0].startswith("its frames are sound, but other bytes")
    np.testing.assert_array_equal(mrcz_dask.read(path), STEPS)


def test_bytes_behind_the_last_frame_are_an_error(tmp_path: Path) -> None:
    path = put(tmp_path, "mrcs")
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(DamagedError, match="4 bytes behind the last frame"):
        mrcz_dask.read(path)

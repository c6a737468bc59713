"""Frames of HDF5 and Zarr that were never written, and stacks in files that HDF5 links to."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from mrcz_dask.cli.app import app
from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.values.errors import FormatError, TruncatedError

COUNTS = np.random.default_rng(0).poisson(2, (8, 20, 30)).astype(np.uint16)


@pytest.mark.parametrize(
    ("name", "chunks", "lost"),
    [
        ("a.h5", (1, 20, 30), "3-7"),
        ("a.h5", (2, 10, 30), "4-7"),
        ("a.h5", None, "0-7"),
        ("a.emd", (20, 30, 1), "3-7"),
    ],
)
def test_hdf5_of_which_not_all_was_written(tmp_path: Path, name: str, chunks: Any, lost: str) -> None:
    path = tmp_path / name
    velox = name.endswith("emd")
    with h5py.File(path, "w") as file:
        where = "Data/Image/f0/Data" if velox else "movie"
        data = file.create_dataset(where, (20, 30, 8) if velox else (8, 20, 30), "u2", chunks=chunks)
        for k in range(3 if chunks else 0):
            data[(..., k) if velox else k] = COUNTS[k]
    with pytest.raises(TruncatedError, match=rf"{path.name}: \d of 8 frames were never written \({lost}\)"):
        open_source(path)
    report = verify_file(path)
    assert report.status == "damaged" and report.frames == (int(lost[0]) if chunks else 0)
    found: list[Exception] = []
    if chunks and chunks[0] != 2:
        with open_source(path, complain=found.append) as source:
            np.testing.assert_array_equal(source.frames(slice(3)), COUNTS[:3])


LAYOUTS = [
    {"zarr_format": 2, "chunks": (1, 10, 30)},
    {"zarr_format": 2, "chunks": (3, 20, 30), "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    {"zarr_format": 3, "chunks": (1, 20, 30)},
    {"zarr_format": 3, "chunks": (1, 10, 15), "shards": (3, 20, 30)},
    {"zarr_format": 3, "chunks": (1, 10, 15), "shards": (8, 20, 30)},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_zarr_without_some_of_its_chunks(tmp_path: Path, layout: dict[str, Any]) -> None:
    path = tmp_path / "a.zarr"
    array = zarr.create_array(str(path), shape=(8, 20, 30), dtype="u2", fill_value=0, **layout)
    array[:3] = COUNTS[:3]
    whole = r"a\.zarr: 5 of 8 frames were never written \(3-7\); .*write_empty_chunks=True"
    with pytest.raises(TruncatedError, match=whole):
        open_source(path)
    report = verify_file(path)
    assert report.status == "damaged" and report.frames == 3
    with open_source(path, complain=lambda error: None) as source:
        np.testing.assert_array_equal(source.frames(slice(3)), COUNTS[:3])
        with pytest.raises(TruncatedError, match="frame 3 was never written"):
            source.frame(3)
    array[3:, :10] = COUNTS[3:, :10]
    if layout["chunks"][1] == 10:
        with pytest.raises(TruncatedError, match=r"were never written \(3-7\)"):
            open_source(path)
    array[3:] = COUNTS[3:]
    with open_source(path) as source:
        assert source.notes == ()
        np.testing.assert_array_equal(source.frames(), COUNTS)
    lost = sorted(one for one in path.rglob("*") if one.is_file() and one.name not in METADATA)[-1]
    lost.unlink()
    with pytest.raises(TruncatedError, match=r"were never written \(.*7\)"):
        open_source(path)


def test_an_image_of_zarr_that_was_never_written(tmp_path: Path) -> None:
    path = tmp_path / "dark.zarr"
    zarr.create_array(str(path), shape=(20, 30), chunks=(20, 30), dtype="f4")
    with pytest.raises(TruncatedError, match="1 of 1 frames were never written"):
        open_source(f"{path}::/")


METADATA = (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json")


def test_blank_frames_of_zarr_that_are_written_are_read(tmp_path: Path) -> None:
    blank = COUNTS * (np.arange(8) < 6)[:, None, None].astype(np.uint16)
    for name, layout in enumerate(LAYOUTS):
        path, keep = str(tmp_path / f"{name}.zarr"), {"write_empty_chunks": True}
        array = zarr.create_array(path, shape=(8, 20, 30), dtype="u2", config=keep, **layout)  # type: ignore[arg-type]
        array[:] = blank
        np.testing.assert_array_equal(read(path), blank)


@pytest.mark.parametrize("command", ["koma", "assess", "info", "recompress", "outliers", "count", "verify"])
def test_no_command_takes_what_was_never_written(tmp_path: Path, command: str) -> None:
    for k in range(3):
        path = str(tmp_path / f"s{k}.zarr")
        array = zarr.create_array(path, shape=(8, 20, 30), chunks=(1, 20, 30), dtype="u2")
        array[:4] = COUNTS[:4] + k
    arguments = [] if command in ("info", "verify") else ["-o", str(tmp_path / "out")]
    arguments += ["--workers", "0", "--no-report"] if command == "koma" else []
    shown = CliRunner().invoke(app, [command, str(tmp_path), *arguments])
    said = f"{shown.exception} {shown.output}"
    assert shown.exit_code in (1, 3) and "never written" in " ".join(said.split()), said
    assert not list(tmp_path.glob("out/*.mrcz"))


def master(folder: Path) -> Path:
    """A master file of Dectris, and the two files that it links to."""
    with h5py.File(folder / "x_master.h5", "w") as file:
        group = file.create_group("entry/data")
        for k, part in ((1, COUNTS[:5]), (2, COUNTS[5:])):
            name = f"x_data_{k:06d}.h5"
            with h5py.File(folder / name, "w") as other:
                other.create_dataset("entry/data/data", data=part, chunks=(1, 20, 30))
            group[f"data_{k:06d}"] = h5py.ExternalLink(name, "entry/data/data")
    return folder / "x_master.h5"


def test_links_to_files_of_the_same_folder_are_followed(tmp_path: Path) -> None:
    path = master(tmp_path)
    np.testing.assert_array_equal(read(path), COUNTS)
    np.testing.assert_array_equal(read(f"{path}::/entry/data", [-1, 4]), COUNTS[[7, 4]])
    (tmp_path / "x_data_000002.h5").unlink()
    with pytest.raises(TruncatedError, match=r"x_data_000002\.h5, which is not there"):
        open_source(path)
    with h5py.File(path, "a") as file:
        del file["entry/data/data_000002"]
        file["entry/data/data_000002"] = h5py.ExternalLink("../y.h5", "data")
    with pytest.raises(FormatError, match="outside of its folder"):
        open_source(path)


def test_frames_of_a_virtual_dataset_that_are_in_no_file(tmp_path: Path) -> None:
    master(tmp_path)
    source = h5py.VirtualSource("x_data_000001.h5", "entry/data/data", (5, 20, 30), maxshape=(None, 20, 30))
    end = h5py.h5s.UNLIMITED
    for shape, most, taken in (((8, 20, 30), None, slice(5)), ((5, 20, 30), (None, 20, 30), slice(0, end))):
        layout = h5py.VirtualLayout(shape, "u2", maxshape=most)
        layout[taken] = source[taken] if most else source
        with h5py.File(tmp_path / f"v{shape[0]}.h5", "w") as file:
            file.create_virtual_dataset("movie", layout)
    with pytest.raises(TruncatedError, match="1800 of its 4800 pixels are in no file"):
        open_source(tmp_path / "v8.h5")
    np.testing.assert_array_equal(read(tmp_path / "v5.h5"), COUNTS[:5])


def test_a_virtual_dataset_whose_file_is_gone(tmp_path: Path) -> None:
    master(tmp_path)
    layout = h5py.VirtualLayout((5, 20, 30), "u2")
    layout[:] = h5py.VirtualSource("x_data_000001.h5", "entry/data/data", (5, 20, 30))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("movie", layout)
    np.testing.assert_array_equal(read(tmp_path / "v.h5"), COUNTS[:5])
    (tmp_path / "x_data_000001.h5").unlink()
    with pytest.raises(TruncatedError, match=r"x_data_000001\.h5, which is not there"):
        open_source(tmp_path / "v.h5")

"""Python's readers on our outputs: mrcfile validates them; hyperspy, RosettaSciIO, tifffile, xarray agree."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import rsciio.mrc
import rsciio.mrcz
import rsciio.tiff
import tifffile
import xarray
import zarr

import mrcz_dask
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.export.run import export
from mrcz_dask.export.texts import TEXTS, Optics
from mrcz_dask.numerics.simulate import named
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.params import KomaParams, OutputFormat, Settings, WriteParams

pytestmark = pytest.mark.downstream

NIGHT = named("standard", shape=(96, 128), frames=6, stacks=5, seed=2, dose=8, hot=(0.002, 0.004))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session, corrected into every format."""
    folder = tmp_path_factory.mktemp("readers")
    write_session(folder / "night", NIGHT)
    formats: tuple[OutputFormat, ...] = ("mrcz", "mrcs", "tiff", "zarr")
    for format in formats:
        for write, dtype in (("normalized", "float32"), ("recompressed", "int16")):
            params = WriteParams(format=format, write=write, dtype=dtype)  # type: ignore[arg-type]
            plan = make_plan(
                folder / "night", folder / f"{format}-{write}", Settings(koma=KomaParams(2), write=params)
            )
            assert carry_out(plan, SerialClient()).complete
    return folder


def valid(path: Path) -> bool:
    """Whether mrcfile finds nothing to complain of."""
    with (path.parent / "validation.txt").open("w") as report:
        return bool(mrcfile.validate(path, print_file=report))


def test_mrcfile_validates_what_we_write_plain(folder: Path) -> None:
    files = [*(folder / "mrcs-normalized").glob("*.mrcs"), *(folder / "mrcs-recompressed").glob("*.mrcs")]
    assert len(files) == 10
    assert all(valid(path) for path in files)
    for path in files:
        with mrcfile.open(path) as file:
            assert np.array_equal(np.array(file.data), mrcz_dask.read(path))


@pytest.mark.parametrize("program", TEXTS)
def test_mrcfile_validates_exports(folder: Path, tmp_path: Path, program: Any) -> None:
    export(folder / "mrcz-recompressed", tmp_path / "out", program, Optics(pixel_size=1.1))
    files = [p for suffix in ("mrc", "mrcs") for p in (tmp_path / "out").rglob(f"*.{suffix}")]
    assert len(files) >= 12
    assert [path for path in files if not valid(path)] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files open
def test_rosettasciio_reads_ours(folder: Path) -> None:
    """hyperspy's readers; its MRCZ reader gives the stored values."""
    for path in sorted((folder / "mrcz-normalized").glob("*.mrcz")):
        assert np.array_equal(rsciio.mrcz.file_reader(str(path))[0]["data"], mrcz_dask.read(path))
    for path in sorted((folder / "mrcs-normalized").glob("*.mrcs")):
        assert np.array_equal(rsciio.mrc.file_reader(str(path))[0]["data"], mrcz_dask.read(path))
    for path in sorted((folder / "tiff-normalized").glob("*.tif")):
        assert np.array_equal(rsciio.tiff.file_reader(str(path))[0]["data"], mrcz_dask.read(path))


def test_tifffile_and_xarray_read_ours(folder: Path) -> None:
    for path in sorted((folder / "tiff-recompressed").glob("*.tif")):
        assert np.array_equal(tifffile.imread(path), mrcz_dask.read(path))
    for path in sorted((folder / "zarr-recompressed").glob("*.zarr")):
        if path.name == "session.zarr":
            continue
        stored = zarr.open_array(path, mode="r")
        array = xarray.DataArray(stored, dims=stored.metadata.dimension_names)  # type: ignore[union-attr]
        assert array.dims == ("frame", "y", "x")
        assert np.array_equal(array.values, mrcz_dask.read(path))


@pytest.fixture(scope="module")
def hyperspy() -> Path:
    """A Python with hyperspy in an environment of its own: it is large, and ties versions."""
    place = Path(__file__).parents[2] / "build" / "hyperspy"
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
        command = [str(python), "-m", "pip", "install", "-q", "hyperspy", "mrcz", "blosc"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
        assert done.returncode == 0, done.stderr[-2000:]
    assert sys.version_info >= (3, 11)
    return python


def test_hyperspy_loads_ours(folder: Path, hyperspy: Path, tmp_path: Path) -> None:
    paths = [
        next((folder / "mrcz-normalized").glob("*.mrcz")),
        next((folder / "mrcz-recompressed").glob("*.mrcz")),
        next((folder / "mrcs-normalized").glob("*.mrcs")),
    ]
    program = (
        "import sys, numpy, hyperspy.api as hs\n"
        "for k, path in enumerate(sys.argv[2:]):\n"
        "    reader = 'MRC' if path.endswith('.mrcs') else None\n"  # it knows .mrc alone by its name
        "    numpy.save(f'{sys.argv[1]}/{k}.npy', hs.load(path, reader=reader).data)\n"
    )
    command = [str(hyperspy), "-c", program, str(tmp_path), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    for k, path in enumerate(paths):
        assert np.array_equal(np.load(tmp_path / f"{k}.npy"), mrcz_dask.read(path))

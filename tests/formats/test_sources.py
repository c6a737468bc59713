"""One interface for every input: the same counts, whatever the file."""

import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.sources import FrameSource, open_source, read
from mrcz_dask.values.errors import FormatError, MissingLibraryError
from mrcz_dask.values.params import InputParams
from tests.inputs import WRITERS, Counts

FORMATS = {"gz": "MRC in gzip", "four bits": "MRC", "serialem mrc": "MRC", "mrcz": "MRCZ"}


@pytest.fixture(params=WRITERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def counts() -> Counts:
    return np.random.default_rng(0).poisson(2, (3, 20, 30)).clip(0, 15).astype(np.uint8)


@given(
    n=st.integers(1, 4),
    ny=st.integers(2, 24),
    nx=st.integers(1, 12),
    seed=st.integers(0, 99),
    name=st.sampled_from(list(WRITERS)),
)
def test_the_same_counts_in_every_format(
    n: int, ny: int, nx: int, seed: int, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    counts = np.random.default_rng(seed).poisson(2, (n, ny, 2 * nx)).clip(0, 15).astype(np.uint8)
    path = WRITERS[name](tmp_path_factory.mktemp("inputs"), "a", counts)
    with open_source(path) as source:
        assert (source.shape, source.dtype, len(source)) == (counts.shape, np.uint8, n)
        np.testing.assert_array_equal(source.frames(nthreads=2), counts)
        np.testing.assert_array_equal(source.frames([-1, 0]), counts[[-1, 0]])


def test_the_interface(kind: str, counts: Counts, tmp_path: Path) -> None:
    with open_source(WRITERS[kind](tmp_path, "a", counts)) as source:
        assert isinstance(source, FrameSource)
        assert source.format == FORMATS.get(
            kind, {"tiff": "TIFF", "eer": "EER", "hdf5": "HDF5", "zarr": "Zarr", "dm4": "DM"}.get(kind)
        )
        assert source.first_row == ("bottom" if source.format.startswith("MRC") else "top")
        assert (source.quantized, source.scale, source.offset) == (False, 1, 0)
        assert source.pixel_size == ((1.25, 1.25, 1.25) if kind == "dm4" else None)
        out = np.empty((20, 30), np.uint8)
        assert source.frame(1, out) is out
        np.testing.assert_array_equal(out, counts[1])
        np.testing.assert_array_equal(source.physical(-1), counts[-1])
        np.testing.assert_array_equal(list(source), counts)
        with pytest.raises(IndexError, match="no frame 3; it has 3"):
            source.frame(3)
        if source.format in ("TIFF", "EER", "HDF5", "Zarr"):
            assert source.meta["input"]["format"] == source.format
            assert source.meta["input"]["first_row"] == "top"
        assert pickle.loads(pickle.dumps(source.meta)) == source.meta


def test_from_several_threads(kind: str, counts: Counts, tmp_path: Path) -> None:
    with open_source(WRITERS[kind](tmp_path, "a", counts)) as source, ThreadPoolExecutor(4) as pool:
        order = [k % 3 for k in range(24)]
        for k, frame in zip(order, pool.map(source.frame, order), strict=True):
            np.testing.assert_array_equal(frame, counts[k])


def test_content_goes_before_the_name(kind: str, counts: Counts, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path, "a", counts)
    np.testing.assert_array_equal(read(path.rename(tmp_path / "b.mrc"), nthreads=1), counts)


@pytest.mark.parametrize("name", ["a.tif", "a.eer", "a.dm4", "a.h5"])
def test_the_name_says_what_was_expected(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nonsense" * 300)
    with pytest.raises(FormatError, match=rf"{name}: begins with b'nonsense'; expected .*, as its name says"):
        open_source(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(FormatError, match=name):
        open_source(tmp_path / name)


def test_a_missing_package_is_named(counts: Counts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = WRITERS["hdf5"](tmp_path, "a", counts)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingLibraryError, match=r"pip install .*\[hdf5\]"):
        open_source(path)


def test_the_sign_of_bytes(tmp_path: Path, foreign_bytes: Callable[..., bytes]) -> None:
    stored = np.array([[[0, 1, 127, -128, -1, 5]]], np.int8).repeat(2, 0)
    unsigned = stored.view(np.uint8)
    cases = [
        ({}, "auto", stored), ({}, "unsigned", unsigned), ({}, "signed", stored),
        ({"flags": 1}, "auto", stored), ({"flags": 0}, "auto", unsigned), ({"flags": 0}, "signed", stored),
        ({"high": 255.0}, "auto", unsigned), ({"low": -128.0, "high": 127.0}, "auto", stored),
        ({"flags": 1, "high": 255.0}, "auto", stored),
    ]  # fmt: skip
    for header, mode0, expected in cases:
        found = read(foreign_bytes(stored, **header), params=InputParams(mode0=mode0))  # type: ignore[arg-type]
        assert found.dtype == expected.dtype, (header, mode0)
        np.testing.assert_array_equal(found, expected)


@pytest.fixture
def foreign_bytes() -> Callable[..., bytes]:
    """A function that makes an MRC file of mode 0 with IMOD's flags, or with a range of values."""
    import struct

    from mrcz_dask.formats.mrc.header import Header, Statistics

    def make(stored: np.ndarray, flags: int | None = None, low: float = 0.0, high: float = -1.0) -> bytes:
        header = Header(stored.shape, 0, stats=Statistics(low, high, 0, 0), mz=len(stored))
        blob = bytearray(header.to_bytes())
        if flags is not None:
            struct.pack_into("<2i", blob, 152, 1146047817, flags)
        return bytes(blob) + stored.tobytes()

    return make

"""Other programs read our files, and we theirs."""

import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import read

mrcz = pytest.importorskip("mrcz")
mrcfile = pytest.importorskip("mrcfile")

# what python-mrcz has a mode for; uint8 it knows as int8 only
KNOWN = ["i1", "i2", "u2", "i4", "u4", "f4", "c8"]
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
dtypes = st.sampled_from(KNOWN)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 30), st.integers(1, 30))
seeds = st.integers(0, 2**32 - 1)


def pixels(dtype: str, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    raw = np.random.default_rng(seed).bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.frombuffer(raw, dtype).reshape(shape)


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


@quick
@given(dtypes, shapes, seeds, st.sampled_from(["auto", "lz4:9", "zlib:1", "none"]), st.sampled_from([2, 5]))
def test_python_mrcz_reads_ours(
    tmp_path: Path, dtype: str, shape: tuple[int, int, int], seed: int, codec: str, version: int
) -> None:
    stack, path = pixels(dtype, shape, seed), tmp_path / "a.mrcz"
    write(path, stack, codec=codec, pixel_size=1.06, meta={"who": "é"}, chunk_version=version, durable=False)
    found, header = mrcz.readMRC(str(path))
    assert isinstance(found, np.ndarray) and same(found, stack.squeeze())
    assert header["who"] == "é"
    np.testing.assert_allclose(header["pixelsize"], 1.06, rtol=1e-6)


@quick
@given(
    dtypes,
    shapes,
    seeds,
    st.sampled_from([None, "zstd", "lz4", "lz4hc", "zlib", "blosclz"]),
    st.sampled_from([None, "blosc2"]),
    st.sampled_from(["le", "be"]),
    st.booleans(),
)
def test_we_read_python_mrcz(
    tmp_path: Path,
    dtype: str,
    shape: tuple[int, int, int],
    seed: int,
    compressor: str | None,
    backend: str | None,
    endian: str,
    as_list: bool,
) -> None:
    stack, path = pixels(dtype, shape, seed), str(tmp_path / "a.mrcz")
    kept = stack.astype(stack.dtype.newbyteorder(">")) if endian == "be" else stack
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it takes statistics of whatever bits are there
        mrcz.writeMRC(
            list(kept) if as_list else kept,
            path,
            meta={"a": [1]},
            endian=endian,
            compressor=compressor,
            backend=backend if compressor else None,
            pixelsize=1.06,
        )
    with StackReader(path) as reader:
        assert same(reader.frames(), stack)
        assert reader.meta == {"a": [1]} and reader.pixel_size == (1.06, 1.06, 1.06)
        assert reader.header.byteorder == (">" if endian == "be" else "<")


def test_four_bits_both_ways(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 16, (3, 4, 6), np.uint8)
    write(tmp_path / "a.mrcs", stack, four_bit=True)
    found, _ = mrcz.readMRC(str(tmp_path / "a.mrcs"), slices=0)
    np.testing.assert_array_equal(found, stack)
    mrcz.writeMRC(stack, str(tmp_path / "b.mrcs"), dtype="uint4")
    np.testing.assert_array_equal(read(tmp_path / "b.mrcs"), stack)


BLOSC_ALONE = """
import sys
sys.modules["blosc2"] = None
import mrcz, numpy as np
assert not mrcz.ioMRC.BLOSC2_PRESENT
for path in sys.argv[1:]:
    found, header = mrcz.readMRC(path)
    assert (found == np.load(path + ".npy")).all() and header["k"] == 1, path
"""


def test_python_mrcz_with_blosc_alone_reads_every_mode(tmp_path: Path) -> None:
    paths = []
    for dtype in ("i1", "u1", "i2", "u2", "f4", "c8"):
        for codec in ("auto", "auto:fast", "zlib:5:byte", "none"):
            stack = np.random.default_rng(1).poisson(30, (3, 64, 50)).astype(dtype)
            path = tmp_path / f"{dtype}-{codec.replace(':', '-')}.mrcz"
            write(path, stack, codec=codec, meta={"k": 1}, durable=False)
            np.save(f"{path}.npy", stack)
            paths.append(str(path))
    subprocess.run([sys.executable, "-c", BLOSC_ALONE, *paths], check=True, timeout=60)


@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "f4", "c8", "f2"])
@pytest.mark.parametrize("name", ["a.mrcs", "a.mrc"])
def test_mrcfile_validates_exports_with_a_sidecar(tmp_path: Path, dtype: str, name: str) -> None:
    stack, path = np.random.default_rng(2).poisson(9, (4, 20, 30)).astype(dtype), tmp_path / name
    write(path, stack, pixel_size=1.25, footer="sidecar")
    report = io.StringIO()
    assert mrcfile.validate(str(path), print_file=report), report.getvalue()
    with mrcfile.open(path) as found:
        np.testing.assert_array_equal(found.data, stack)
        assert found.is_image_stack() and found.voxel_size.x == found.voxel_size.y == 1.25
    np.testing.assert_array_equal(read(path), stack)


def test_mrcfile_reads_exports_with_a_footer(tmp_path: Path) -> None:
    stack = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    write(tmp_path / "a.mrcs", stack, pixel_size=1.25)
    with pytest.warns(RuntimeWarning, match="larger than expected"):
        np.testing.assert_array_equal(mrcfile.read(tmp_path / "a.mrcs"), stack)


def test_we_read_mrcfile(tmp_path: Path) -> None:
    image = np.arange(20, dtype=np.float32).reshape(4, 5)
    with mrcfile.new(tmp_path / "a.mrc", data=image) as file:
        file.voxel_size = 1.5
    np.testing.assert_array_equal(read(tmp_path / "a.mrc", 0), image)
    with StackReader(tmp_path / "a.mrc") as reader:
        assert reader.pixel_size == (1.5, 1.5, 1.5)


def test_our_files_in_the_python_mrcz_of_the_example(session_folder: Path, tmp_path: Path) -> None:
    source = sorted(session_folder.glob("FoilHole_9*.mrcz"))[0]
    stack = read(source)
    with StackReader(source) as reader:
        write(tmp_path / "a.mrcz", stack, pixel_size=reader.pixel_size, meta=reader.meta)
    np.testing.assert_array_equal(mrcz.readMRC(str(tmp_path / "a.mrcz"))[0], stack)
    assert (tmp_path / "a.mrcz").stat().st_size < source.stat().st_size

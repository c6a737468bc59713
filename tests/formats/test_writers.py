"""Every format: the same pixels and dtype come back, other programs agree, nothing is left of what failed."""

import subprocess
import tracemalloc
from pathlib import Path
from shutil import which
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.formats import provenance
from mrcz_dask.formats.frame_writer import FrameWriter
from mrcz_dask.formats.frames import PIXEL_TYPES
from mrcz_dask.formats.mrc.reader import read_header
from mrcz_dask.formats.sidecar import sidecar_path
from mrcz_dask.formats.sources import open_source, read, read_footer
from mrcz_dask.formats.writers import (
    OUTPUT_SUFFIXES,
    check_format_codec,
    open_writer,
    reversed_rows,
    row_order,
    stored_type,
)
from mrcz_dask.values.errors import DamagedError, DtypeError, ParameterError, SpaceError
from mrcz_dask.values.params import OutputFormat

Stack = NDArray[Any]
FORMATS: list[OutputFormat] = list(OUTPUT_SUFFIXES)
BESIDE: list[OutputFormat] = ["mrcs", "mrcs.zst", "tiff"]
RANGES = {
    "nibbles": (0, 15),
    "small": (0, 127),
    "bytes": (0, 255),
    "words": (0, 65_535),
    "signed": (-300, 300),
}
STEP = provenance.append([], provenance.step("test", {"a": 1}))


def stack_of(dtype: str, low: int, high: int, shape: tuple[int, int, int], seed: int = 0) -> Stack:
    """Pixels of a dtype, spread over as much of a range as it holds, with both ends of it."""
    found = np.dtype(dtype)
    if found.kind in "iu":
        low, high = max(low, np.iinfo(found).min), min(high, np.iinfo(found).max)
    high = min(high, 60_000) if found == np.float16 else high
    pixels = np.random.default_rng(seed).integers(low, high + 1, shape).astype(found)
    pixels.reshape(-1)[:2] = [low, high][: pixels.size]
    return pixels


def save(path: Path, format: OutputFormat, stack: Stack, **options: Any) -> Path:
    """Write a stack in the dtype that `stored_type` gives; frames are given as they are."""
    real = stack.real
    dtype, four_bit = stored_type(format, stack.dtype, real.min(), real.max())
    pixels = {"unit": "counts", "dtype": stack.dtype.newbyteorder("<").str, **options.pop("pixels", {})}
    writer = open_writer(path, format, stack.shape, dtype, four_bit=four_bit, pixels=pixels, **options)
    with writer:
        for frame in stack:
            writer.append(frame)
    return path


def named(folder: Path, format: OutputFormat) -> Path:
    return folder / f"a{OUTPUT_SUFFIXES[format]}"


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=30, deadline=None)
@given(
    dtype=st.sampled_from(sorted(one.str for one in PIXEL_TYPES if one.kind != "c")),
    span=st.sampled_from(sorted(RANGES)),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
    nthreads=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_same_pixels_and_dtype_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    format: OutputFormat,
    dtype: str,
    span: str,
    shape: tuple[int, int, int],
    nthreads: int,
    seed: int,
) -> None:
    stack = stack_of(dtype, *RANGES[span], shape, seed)
    path = named(tmp_path_factory.mktemp("a"), format)
    about: dict[str, Any] = {"meta": {"a": [1]}, "provenance": STEP, "recipe": {"b": 2}, "pixel_size": 1.25}
    save(path, format, stack, nthreads=nthreads, extended=b"\1\2", extended_type="FEI1", **about)
    with open_source(path) as reader:
        assert reader.shape == stack.shape and reader.dtype == stack.dtype
        np.testing.assert_array_equal(reader.frames(nthreads=nthreads), stack)
        assert reader.meta == {"a": [1]} and reader.provenance == STEP
        assert (reader.footer or {})["recipe"] == {"b": 2}
        assert reader.pixels["unit"] == "counts" and reader.pixel_size == (1.25, 1.25, 1.25)
        assert (reader.extended, reader.extended_type) == (b"\1\2", "FEI1")
    assert read_footer(path) == reader.footer


@pytest.mark.parametrize("format", FORMATS)
def test_bytes_do_not_depend_on_threads(tmp_path: Path, format: OutputFormat) -> None:
    stack = stack_of("u2", 0, 9, (7, 60, 50))
    for name, nthreads in (("one", 1), ("three", 3)):
        (tmp_path / name).mkdir()
        save(named(tmp_path / name, format), format, stack, nthreads=nthreads)
    first, second = (
        {one.relative_to(folder): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
        for folder in (tmp_path / "one", tmp_path / "three")
    )
    assert first == second


@pytest.mark.parametrize("format", ["mrcs.zst", "tiff", "zarr"])
def test_rows_are_reversed_when_asked_for(tmp_path: Path, format: OutputFormat) -> None:
    stack = stack_of("u2", 0, 9, (2, 6, 5))
    save(named(tmp_path, format), format, stack, reverse_rows=True, nthreads=2)
    np.testing.assert_array_equal(read(named(tmp_path, format)), stack[:, ::-1])


@pytest.mark.parametrize(
    ("format", "span", "expected"),
    [
        ("mrcs", "nibbles", ("u1", True)),
        ("mrcs", "small", ("i1", False)),
        ("mrcs", "bytes", ("u2", False)),
        ("mrcs", "signed", ("i2", False)),
        ("mrcs.zst", "nibbles", ("i1", False)),
        ("mrcs.zst", "words", ("f4", False)),
        ("tiff", "nibbles", ("u1", False)),
        ("tiff", "bytes", ("u1", False)),
        ("tiff", "words", ("u2", False)),
        ("tiff", "signed", ("i2", False)),
        ("mrcz", "nibbles", ("i4", False)),
        ("zarr", "signed", ("i4", False)),
    ],
)
def test_integers_are_narrowed_to_what_programs_read_alike(
    format: OutputFormat, span: str, expected: tuple[str, bool]
) -> None:
    found = stored_type(format, "i4", *RANGES[span])
    assert found == (np.dtype(expected[0]), expected[1])


def test_what_no_type_holds_is_refused() -> None:
    assert stored_type("tiff", "i4", -70_000, 1 << 24)[0] == np.float32
    for low, high in ((0, (1 << 24) + 1), (-(1 << 24) - 1, 0)):
        with pytest.raises(DtypeError, match="write mrcz or zarr"):
            stored_type("mrcs", "i4", low, high)
    with pytest.raises(DtypeError, match="write mrcz or zarr"):
        stored_type("tiff", "c8", 0, 1)
    assert stored_type("mrcs", "f2", 0, 1)[0] == np.float32
    assert stored_type("mrcz", "f2", 0, 1)[0] == np.float16


def test_a_value_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    stack = stack_of("u2", 0, 300, (2, 5, 6))
    for dtype, said in (("u1", "<u2"), ("u2", "|u1")):
        writer = open_writer(tmp_path / "a.tif", "tiff", stack.shape, dtype, pixels={"dtype": said})
        with pytest.raises(ParameterError, match="cannot hold all"), writer:
            for frame in stack:
                writer.append(frame)
    assert list(tmp_path.iterdir()) == []


def test_odd_rows_are_not_kept_in_half_bytes(tmp_path: Path) -> None:
    """RELION packs rows end to end, IMOD in whole bytes."""
    for width, mode in ((6, 101), (7, 0)):
        save(tmp_path / "a.mrcs", "mrcs", stack_of("u1", 0, 15, (2, 4, width)))
        assert read_header(tmp_path / "a.mrcs")["mode"] == mode


def test_bytes_of_a_packed_size_become_words(tmp_path: Path) -> None:
    """Programs take 8-bit frames of half a K3's super-resolution for packed ones."""
    stack = np.zeros((1, 8184, 5760), np.uint8)
    stack[0, 0, :3] = [1, 200, 3]
    save(tmp_path / "a.tif", "tiff", stack)
    assert tifffile.imread(tmp_path / "a.tif").dtype == np.uint16
    with open_source(tmp_path / "a.tif") as reader:
        assert reader.dtype == np.uint8
        np.testing.assert_array_equal(reader.frame(0), stack[0])


@pytest.mark.parametrize(
    ("dtype", "span"), [("u1", "small"), ("u2", "bytes"), ("i2", "signed"), ("f4", "signed"), ("u2", "words")]
)
def test_other_programs_read_them(tmp_path: Path, dtype: str, span: str) -> None:
    stack = stack_of(dtype, *RANGES[span], (4, 30, 22))
    for format in FORMATS:
        save(named(tmp_path, format), format, stack, pixel_size=1.06)
    with mrcfile.open(tmp_path / "a.mrcs") as file:
        np.testing.assert_array_equal(file.data, stack)
        assert np.isclose(file.voxel_size.x, 1.06)
    assert mrcfile.validate(tmp_path / "a.mrcs")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), stack)
    array = zarr.open_array(str(tmp_path / "a.zarr"), mode="r")
    assert array.dtype == stack.dtype and array.chunks == (1, 30, 22)
    assert array.metadata.dimension_names == ("frame", "y", "x")  # type: ignore[union-attr]
    np.testing.assert_array_equal(np.asarray(array[:]), stack)
    packed = (tmp_path / "a.mrcs.zst").read_bytes()
    with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as stream:
        (tmp_path / "b.mrcs").write_bytes(stream.read())
    with mrcfile.open(tmp_path / "b.mrcs") as file:
        np.testing.assert_array_equal(file.data, stack)
        assert np.isclose(file.header.dmean, stack.mean(), rtol=1e-5)


@pytest.mark.skipif(which("zstd") is None, reason="needs the program zstd")
def test_zstd_unpacks_the_plain_file(tmp_path: Path) -> None:
    """From a file and from a pipe, as RELION does it."""
    stack = stack_of("u1", 0, 100, (3, 40, 30))
    save(tmp_path / "a.mrcs", "mrcs", stack)
    save(tmp_path / "a.mrcs.zst", "mrcs.zst", stack)
    found = subprocess.run(["zstd", "-dc", tmp_path / "a.mrcs.zst"], capture_output=True, check=True)
    assert found.stdout == (tmp_path / "a.mrcs").read_bytes()
    packed = (tmp_path / "a.mrcs.zst").read_bytes()
    assert (
        subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout == found.stdout
    )
    subprocess.run(["zstd", "-qt", tmp_path / "a.mrcs.zst"], check=True)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("old", [False, True])
def test_nothing_is_left_of_what_went_wrong(tmp_path: Path, format: OutputFormat, old: bool) -> None:
    path, stack = named(tmp_path, format), stack_of("u2", 0, 300, (3, 20, 21))
    if old:
        save(path, format, stack)
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    with pytest.raises(ZeroDivisionError):
        interrupted(open_writer(path, format, stack.shape, "u2"), stack)
    with (
        pytest.raises(ParameterError, match="1 of 3 frames"),
        open_writer(path, format, stack.shape, "u2") as a,
    ):
        a.append(stack[0])
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


def interrupted(writer: FrameWriter, stack: Stack) -> None:
    with writer:
        writer.append(stack[0])
        raise ZeroDivisionError


@pytest.mark.parametrize("format", FORMATS)
def test_an_output_replaces_an_older_one(tmp_path: Path, format: OutputFormat) -> None:
    path = named(tmp_path, format)
    for k in (1, 2):
        save(path, format, stack_of("u2", 0, 300, (k, 20, 21), k))
    np.testing.assert_array_equal(read(path), stack_of("u2", 0, 300, (2, 20, 21), 2))
    assert len(list(tmp_path.iterdir())) == (2 if format in BESIDE else 1)


@pytest.mark.parametrize("format", BESIDE)
def test_the_sidecar_of_another_file_is_not_believed(tmp_path: Path, format: OutputFormat) -> None:
    path, other = named(tmp_path, format), tmp_path / f"b{OUTPUT_SUFFIXES[format]}"
    save(path, format, stack_of("u2", 0, 300, (2, 20, 21), 1))
    save(other, format, stack_of("u2", 0, 300, (2, 20, 21), 2))
    sidecar_path(other).replace(sidecar_path(path))
    with pytest.raises(DamagedError):
        read(path)


@pytest.mark.parametrize("format", ["tiff", "zarr"])
def test_a_scale_is_known_again(tmp_path: Path, format: OutputFormat) -> None:
    stack = stack_of("i2", -300, 300, (2, 8, 9))
    save(named(tmp_path, format), format, stack, pixels={"scale": 0.25, "offset": 1.0})
    np.testing.assert_array_equal(read(named(tmp_path, format)), stack * np.float32(0.25) + 1)


def test_codecs_are_checked_before_anything_is_opened(tmp_path: Path) -> None:
    good: dict[OutputFormat, list[str]] = {
        "mrcz": ["none", "zstd:1", "lz4:9"],
        "mrcs": ["none"],
        "mrcs.zst": ["zstd", "zstd:19"],
        "tiff": ["none", "deflate", "deflate:1", "lzw"],
        "zarr": ["none", "zstd:3:bit", "noise:1"],
    }
    for format, codecs in good.items():
        for codec in ["auto", "auto:fast", "auto:small", *codecs]:
            check_format_codec(format, codec)
            save(named(tmp_path, format), format, stack_of("u2", 0, 9, (2, 8, 9)), codec=codec)
            np.testing.assert_array_equal(read(named(tmp_path, format)), stack_of("u2", 0, 9, (2, 8, 9)))
        for codec in ("nothing", "lzw:1", "deflate:13", "zstd:0", "auto:slow"):
            with pytest.raises(ParameterError):
                check_format_codec(format, codec)


def test_memory_does_not_depend_on_the_number_of_frames(tmp_path: Path) -> None:
    frame = stack_of("u1", 0, 100, (1, 500, 500))[0]
    for format in FORMATS:
        with open_writer(named(tmp_path, format), format, (60, 500, 500), "u1", nthreads=2) as writer:
            writer.append(frame)
            tracemalloc.start()
            for _ in range(59):
                writer.append(frame)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 30 * frame.nbytes, format


def test_rows_are_reversed_between_tiff_and_mrc(tmp_path: Path) -> None:
    stack = stack_of("u2", 0, 9, (2, 6, 5))
    save(tmp_path / "a.tif", "tiff", stack)
    save(tmp_path / "a.mrcs", "mrcs", stack)
    with open_source(tmp_path / "a.tif") as a, open_source(tmp_path / "a.mrcs") as b:
        assert [reversed_rows(a, one) for one in FORMATS] == [False, True, True, False, False]
        assert [reversed_rows(b, one) for one in FORMATS] == [False, False, False, True, False]
        save(tmp_path / "a.mrcz", "mrcz", stack, pixels=row_order(a, "mrcz"))
        assert row_order(b, "mrcz") == row_order(a, "mrcs") == {}
    with open_source(tmp_path / "a.mrcz") as c:
        assert [reversed_rows(c, one) for one in FORMATS] == [False, True, True, False, False]
        save(tmp_path / "b.mrcs", "mrcs", stack, pixels=c.pixels, reverse_rows=True)
    with open_source(tmp_path / "b.mrcs") as d:
        assert not reversed_rows(d, "mrcs")


def test_no_folder_of_somebody_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "precious").touch()
    with pytest.raises(SpaceError, match="no Zarr store"):
        open_writer(tmp_path / "a.zarr", "zarr", (2, 3, 4), "u1")
    with pytest.raises(SpaceError, match="make it first"):
        open_writer(tmp_path / "no" / "a.zarr", "zarr", (2, 3, 4), "u1")

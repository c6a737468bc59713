"""TIFF as tifffile writes it: compressions, types, packed frames, tags, and what is wrong with files."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.formats.mrc.modes import pack
from mrcz_dask.formats.sources import open_source, read
from mrcz_dask.values.errors import FormatError, MrczDaskError, TruncatedError
from mrcz_dask.values.params import InputParams
from tests.inputs import as_tiff


def file_of(array: NDArray[Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, photometric="minisblack", **options)
    return stream.getvalue()


@given(data=st.data())
def test_every_page_comes_back(data: st.DataObject, stacks: st.SearchStrategy[NDArray[Any]]) -> None:
    array = data.draw(stacks.filter(lambda a: a.dtype.kind != "c" and min(a.shape[-2:]) > 1))
    options = {
        "compression": data.draw(st.sampled_from([None, "lzw", "adobe_deflate", "packbits", "zstd"])),
        "bigtiff": data.draw(st.booleans()),
        "byteorder": data.draw(st.sampled_from("<>")),
        **data.draw(st.sampled_from([{}, {"rowsperstrip": 7}, {"tile": (16, 32)}])),
    }
    if (
        options["compression"] in ("lzw", "adobe_deflate")
        and array.dtype.kind in "iu"
        and data.draw(st.booleans())
    ):
        options["predictor"] = True
    stack = array.reshape(-1, *array.shape[-2:])
    with open_source(file_of(stack, **options)) as source:
        assert (source.format, source.shape, source.dtype) == ("TIFF", stack.shape, stack.dtype)
        assert source.codec == options["compression"]
        np.testing.assert_array_equal(source.frames(nthreads=2), stack)


def test_four_bits_a_sample_and_two_pixels_in_a_byte() -> None:
    counts = np.random.default_rng(0).integers(0, 16, (3, 20, 30), np.uint8)
    packed = np.stack([pack(frame) for frame in counts])
    params = InputParams(four_bit="packed")
    np.testing.assert_array_equal(read(file_of(packed, compression="lzw"), params=params), counts)
    np.testing.assert_array_equal(read(file_of(packed)), packed)
    with pytest.raises(FormatError, match="has 16 bits a pixel; expected 8 with two pixels in each"):
        open_source(file_of(packed.astype(np.uint16)), params)
    swapped = (packed >> 4) | (packed << 4)  # TIFF's own 4 bits have the first pixel in the high ones
    blob = file_of(swapped)
    np.testing.assert_array_equal(read(patched(blob, {256: 30, 258: 4})), counts)


def patched(blob: bytes, tags: dict[int, int]) -> bytes:
    """Return a little-endian TIFF with other values of short tags on every page."""
    found = bytearray(blob)
    (page,) = struct.unpack_from("<I", found, 4)
    while page:
        (count,) = struct.unpack_from("<H", found, page)
        for k in range(count):
            (code,) = struct.unpack_from("<H", found, page + 2 + 12 * k)
            if code in tags:
                struct.pack_into("<I", found, page + 10 + 12 * k, tags[code])
        (page,) = struct.unpack_from("<I", found, page + 2 + 12 * count)
    return bytes(found)


def test_half_a_super_resolution_frame_is_packed() -> None:
    packed = np.zeros((1, 7676, 3710), np.uint8)
    packed[0, 5, 7] = 0x21
    blob = file_of(packed, compression="zlib")
    with open_source(blob) as source:
        assert source.shape == (1, 7676, 7420)
        assert source.frame(0)[5, 14:16].tolist() == [1, 2]
        assert source.meta["input"]["four_bit_packed"] is True
    with open_source(blob, InputParams(four_bit="plain")) as source:
        assert source.shape == packed.shape


def test_what_the_tags_say() -> None:
    text = "SerialEMCCD: Dose frac. image, scaled by 1.00  r/f 4\nsecond line"
    known = {
        "resolution": (1e8 / 1.06, 1e8 / 1.06),
        "resolutionunit": "CENTIMETER",
        "datetime": "2026:10:14 19:06:33",
    }
    with open_source(file_of(np.zeros((2, 8, 8), np.uint8), description=text, **known)) as source:
        assert source.pixel_size == pytest.approx((1.06,) * 3)
        assert source.labels == tuple(text.splitlines())
        assert source.meta["datetime"] == "2026-10-14 19:06:33"
        assert source.first_row == source.meta["input"]["first_row"] == "top"
    with open_source(
        file_of(np.zeros((2, 8, 8), np.uint8), resolution=(72, 72), resolutionunit="INCH")
    ) as source:
        assert source.pixel_size is None


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 8, 8), np.float64), "has float64 pixels; expected"),
        (np.zeros((2, 8, 8), np.bool_), "has bool pixels"),
    ],
)
def test_pixels_that_no_stack_has(array: NDArray[Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        open_source(file_of(array))


def test_pages_that_are_no_stack(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(FormatError, match=r"a\.tif: a page has the shape .* expected gray images"):
        open_source(path)
    with tifffile.TiffWriter(path) as file:
        file.write(np.zeros((8, 8), np.uint8))
        file.write(np.zeros((8, 9), np.uint8))
    with pytest.raises(FormatError, match=r"a\.tif: page 1 is \(8, 9\) uint8, the first one \(8, 8\) uint8"):
        open_source(path)
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), description="ImageJ=1.51d\nimages=5\n")
    with pytest.raises(FormatError, match="has 1 pages, and ImageJ says that there are 5 images"):
        open_source(path)


def test_fewer_pages_than_the_first_one_announces(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(2, (5, 40, 50)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", counts, photometric="minisblack", truncate=True)
    with pytest.raises(TruncatedError, match="has 1 pages, and its description says that there are 5"):
        open_source(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
def test_cut_off_or_damaged(tmp_path: Path, compression: str | None) -> None:
    counts = np.random.default_rng(0).poisson(2, (3, 40, 50)).astype(np.uint8)
    path = as_tiff(tmp_path, "a", counts, compression=compression)
    whole = path.read_bytes()
    for end in range(0, len(whole) - 1, 83):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError, match=r"a\.tif"):
            read(path, nthreads=1)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TruncatedError, match="but the file ends at"):
        read(path)
    rng = np.random.default_rng(1)
    for _ in range(200):
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            read(path, nthreads=1)
        except (MrczDaskError, OSError) as error:
            assert "a.tif" in str(error)


@pytest.mark.parametrize(("tag", "value"), [(262, 0), (274, 3)])
def test_tags_about_showing_are_named_and_not_heeded(tmp_path: Path, tag: int, value: int) -> None:
    path, counts = tmp_path / "a.tif", np.arange(2 * 6 * 8, dtype=np.uint16).reshape(2, 6, 8)
    kind = "miniswhite" if tag == 262 else "minisblack"
    tags = [] if tag == 262 else [(tag, "H", 1, value, True)]
    tifffile.imwrite(path, counts, photometric=kind, extratags=tags)
    with open_source(path) as stack:
        assert np.array_equal(stack.frames(), counts)
        assert [f"is {value}, not 1" in note for note in stack.notes] == [True]

import contextlib
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.formats.compression.chunks import CHUNK_HEADER
from mrcz_dask.formats.compression.codecs import Codec
from mrcz_dask.formats.mrc.header import HEADER_SIZE, Header
from mrcz_dask.formats.mrc.layout import lenient
from mrcz_dask.formats.mrc.reader import StackReader, read_header
from mrcz_dask.formats.sources import open_source, read, read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.values.errors import (
    DamagedError,
    FooterError,
    FormatError,
    HeaderError,
    MrczDaskError,
    ParameterError,
    TruncatedError,
)

Stack = NDArray[np.int16]
LZ4 = Codec("lz4")


def foreign(stack: NDArray[Any], *, order: str = "<", codec: Codec | None = LZ4, **header: Any) -> bytes:
    """A file without footer in any byte order, as other programs write them."""
    shape: Any = stack.shape
    mode = {"int8": 0, "int16": 1, "float32": 2, "complex64": 4, "uint16": 6, "float16": 12}[stack.dtype.name]
    name = codec and codec.name
    head = Header(shape, mode, codec=name, byteorder=order, **header)  # type: ignore[arg-type]
    frames = stack.astype(stack.dtype.newbyteorder(order))  # type: ignore[arg-type]
    return head.to_bytes() + b"".join(codec.compress(f) if codec else f.tobytes() for f in frames)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("codec", [None, Codec("zlib", version=2), Codec(version=5)])
@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "c8", "u2", "f2"])
def test_files_of_other_programs(stack: Stack, order: str, codec: Codec | None, dtype: str) -> None:
    expected = stack.astype(dtype)
    data = foreign(expected, order=order, codec=codec, mz=1)
    with StackReader(data) as reader:
        found = reader.frames(nthreads=2)
        assert reader.footer is None and reader.codec == (codec and codec.name)
        assert reader.chunk_version == (codec and codec.version)
    assert found.dtype == expected.dtype and found.dtype.isnative
    np.testing.assert_array_equal(found, expected)


def test_selections(stack: Stack, file_of: Any) -> None:
    data = file_of(stack)
    for selection in (slice(1, 4), slice(None, None, -2), [3, 0, -1], [], np.array([2, 2])):
        np.testing.assert_array_equal(read(data, selection), stack[selection])  # type: ignore[arg-type]
    assert read(data, -1).shape == (50, 40)
    np.testing.assert_array_equal(read(data, 2), stack[2])
    with StackReader(data) as reader:
        np.testing.assert_array_equal(np.stack(list(reader)), stack)
        assert len(reader) == 6 and reader.shape == stack.shape


@pytest.mark.parametrize("bad", [True, 1.5, "1", [True, False], [0.5]])
def test_what_is_no_selection(stack: Stack, file_of: Any, bad: Any) -> None:
    with pytest.raises(ParameterError, match=r"expected a (whole )?number(, a| or) slice or a list"):
        read(file_of(stack), bad)
    with pytest.raises(IndexError, match="no frame 6; it has 6"):
        read(file_of(stack), 6)


def test_frames_go_into_buffers_that_are_there(stack: Stack, file_of: Any) -> None:
    out = np.empty(stack.shape[1:], stack.dtype)
    strided = np.empty((50, 80), stack.dtype)[:, ::2]
    with StackReader(file_of(stack)) as reader:
        assert reader.frame(3, out) is out
        reader.frame(4, strided)
    np.testing.assert_array_equal(out, stack[3])
    np.testing.assert_array_equal(strided, stack[4])


def test_one_frame_without_touching_the_others(file_of: Any, counted: Any) -> None:
    stack = np.random.default_rng(0).integers(0, 1000, (20, 100, 90), np.int16)
    for data in (file_of(stack), foreign(stack)):
        stream = counted(data)
        reader = StackReader(stream)
        start = stream.taken
        # without a footer the pixels of one frame tell their sign
        looked_at = 0 if reader.footer else max(reader.frame_index.nbytes)
        assert start < HEADER_SIZE * 3 + 20 * (CHUNK_HEADER + 30) + looked_at
        np.testing.assert_array_equal(reader.frame(7), stack[7])
        assert stream.taken - start == reader.frame_index.nbytes[7] == len(reader.stored_chunk(7))


@pytest.mark.parametrize("codec", [None, Codec()])
def test_cut_off_anywhere(stack: Stack, codec: Codec | None) -> None:
    data = foreign(stack, codec=codec)
    ends = [*StackReader(data).frame_index.offsets[1:], len(data)]
    for whole, end in enumerate(ends):
        for size in (end - 1, end - 20):
            with pytest.raises(TruncatedError, match=f"hold {whole} whole frames of 6"):
                read(data[:size])
    for size in (0, 1, 1023):
        with pytest.raises(TruncatedError, match="header takes 1024"):
            read(data[:size])


def test_of_a_cut_off_file_the_whole_frames_if_that_is_asked_for(stack: Stack) -> None:
    data = foreign(stack)[:-1]
    with pytest.warns(UserWarning, match="5 whole frames of 6"):
        found = read(data, permissive=True)
    np.testing.assert_array_equal(found, stack[:5])
    plain = foreign(stack, codec=None)[:-4001]
    with pytest.warns(UserWarning, match="4 whole frames of 6"):
        assert read(plain, permissive=True).shape == (4, 50, 40)
    with pytest.raises(TruncatedError, match="0 whole frames"):
        read(plain[:2000], permissive=True)


def test_with_a_footer_cut_off_is_damaged_at_every_place(stack: Stack, file_of: Any) -> None:
    data = file_of(stack)
    with StackReader(data) as reader:
        places = [0, 500, 1024, *reader.frame_index.offsets, reader.frame_index.end]
    for size in [*places, *(place + 7 for place in places), len(data) - 48, len(data) - 1]:
        with pytest.raises(FormatError):
            read(data[:size])


def test_any_flipped_bit_is_found(stack: Stack, file_of: Any) -> None:
    data = file_of(stack, meta={"a": 1}, pixel_size=1)
    rng = np.random.default_rng(0)
    labels = 8 * 224
    places = [*range(labels), *range(labels, 8 * HEADER_SIZE, 7), *rng.integers(0, 8 * len(data), 1500)]
    for bit in places:
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MrczDaskError) as caught:
            read(bytes(broken), nthreads=1)
        assert isinstance(caught.value, (ValueError, OSError))


def test_a_damaged_frame_is_named_and_the_others_are_read(stack: Stack, file_of: Any) -> None:
    data = bytearray(file_of(stack, codec="none"))
    with StackReader(bytes(data)) as reader:
        at = reader.frame_index.offsets[4]
    data[at + 100] ^= 0x10
    with StackReader(bytes(data)) as reader:
        np.testing.assert_array_equal(reader.frame(3), stack[3])
        with pytest.raises(DamagedError, match="frame 4 is damaged"):
            reader.frame(4)
    with pytest.warns(UserWarning, match="frame 4 is damaged"):
        assert (read(bytes(data), permissive=True) != stack).sum() == 1


def test_damage_without_footer_names_file_and_frame(stack: Stack, tmp_path: Path) -> None:
    data = bytearray(foreign(stack))
    offsets = StackReader(bytes(data)).frame_index.offsets
    data[offsets[2] + CHUNK_HEADER : offsets[3]] = b"\xff" * (offsets[3] - offsets[2] - CHUNK_HEADER)
    (tmp_path / "bad.mrcz").write_bytes(data)
    with pytest.raises(DamagedError, match=r"bad\.mrcz: frame 2: the lz4 chunk cannot be decoded"):
        read(tmp_path / "bad.mrcz")


def test_a_broken_footer_is_an_error_or_left_aside(stack: Stack, file_of: Any) -> None:
    data = file_of(stack)
    broken = data[:-60] + bytes([data[-60] ^ 1]) + data[-59:]
    for call in (read, read_footer):
        with pytest.raises(FooterError, match="broken footer"):
            call(broken)
    with pytest.warns(UserWarning, match="broken footer"):
        np.testing.assert_array_equal(read(broken, permissive=True), stack)
    with pytest.warns(UserWarning, match="broken footer"):
        assert read_footer(broken, permissive=True) is None


def test_a_lost_footer_is_missed(stack: Stack, file_of: Any) -> None:
    data = file_of(stack)
    with StackReader(data) as reader:
        cut = data[: reader.frame_index.end]
    with pytest.raises(FooterError, match="its footer is gone"):
        read(cut)
    with pytest.warns(UserWarning, match="its footer is gone"):
        np.testing.assert_array_equal(read(cut, permissive=True), stack)
    np.testing.assert_array_equal(read(file_of(stack, footer=False)), stack)


def test_a_header_of_another_file(stack: Stack, file_of: Any) -> None:
    data = file_of(stack)
    other = replace(Header.parse(data), shape=(5, 50, 40)).to_bytes() + data[HEADER_SIZE:]
    with pytest.raises(HeaderError, match=r"shape \[5, 50, 40\], the footer \[\d+, 50, 40\]; correct"):
        read(other)


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("asked", [1536, 131072])
def test_nsymbt_of_another_header_before_a_footer(
    stack: Stack, file_of: Any, asked: int, codec: str, tmp_path: Path
) -> None:
    path, data = tmp_path / "a.mrc", bytearray(file_of(stack, codec=codec))
    struct.pack_into("<i", data, 92, asked)
    path.write_bytes(data)
    problems = verify_file(path).problems
    assert f"NSYMBT {asked}" in problems[0] or "cannot be in" in problems[0]
    assert "correct the header" in problems[0] and not any("NSYMBT 327" in one for one in problems)
    with pytest.raises(HeaderError, match=r"as for NSYMBT 0; correct|cannot be in .*; correct"):
        read(bytes(data))


def test_quantized_pixels(stack: Stack, file_of: Any) -> None:
    pixels = {"unit": "counts", "scale": 0.0625, "offset": -2.0}
    for options in ({}, {"footer": False}):
        data = file_of(stack, pixels=pixels, meta={"k": "v"}, **options)
        found = read(data, slice(0, 2))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, stack[:2] / np.float32(16) - np.float32(2))
        np.testing.assert_array_equal(read(data, scaled=False), stack)
        np.testing.assert_array_equal(read(data, 1), found[1])
        with StackReader(data) as reader:
            assert reader.quantized and (reader.scale, reader.offset) == (0.0625, -2.0)
            assert reader.meta == {"k": "v"} and reader.pixels["unit"] == "counts"
            out = np.empty((50, 40), np.float32)
            assert reader.physical(1, out) is out
            assert (reader.physical(1) == found[1]).all()


def test_not_quantized_is_as_stored(stack: Stack, file_of: Any) -> None:
    with StackReader(file_of(stack)) as reader:
        assert not reader.quantized and (reader.scale, reader.offset) == (1.0, 0.0)
        assert reader.physical(0).dtype == np.int16


def test_an_extended_header_that_is_no_json(stack: Stack) -> None:
    data = foreign(stack, extended=b"{oops", extended_type="json")
    with StackReader(data) as reader, pytest.raises(FormatError, match="a JSON object"):
        _ = reader.meta
    with StackReader(data, complain=lenient) as reader, pytest.warns(UserWarning, match="a JSON object"):
        assert reader.meta == {}
    with StackReader(foreign(stack, extended=b"\0" * 768, extended_type="FEI1")) as reader:
        assert reader.meta == {} and reader.extended == b"\0" * 768
        np.testing.assert_array_equal(reader.frame(5), stack[5])


def test_read_header_is_plain_and_needs_no_frames(stack: Stack) -> None:
    found = read_header(foreign(stack, pixel_size=(2.0, 2.0, 2.0))[:-1000])
    assert found["shape"] == [6, 50, 40] and found["dtype"] == "<i2" and found["codec"] == "lz4"
    assert found["mode"] == 1 and found["pixel_size"] == [2, 2, 2]


@given(st.binary(max_size=400), st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_random_bytes_never_hang_or_crash(noise: bytes, words: int) -> None:
    head = bytearray(Header((3, 5, 7), 1, codec="zstd").to_bytes())
    struct.pack_into(f"<{words}i", head, 0, *range(100, 100 + words))
    for data in (noise, bytes(head) + noise):
        with contextlib.suppress(MrczDaskError):
            read(data)


def test_the_example_session(session_folder: Path) -> None:
    mrcz = pytest.importorskip("mrcz")
    good, bad = 0, {}
    for path in sorted(session_folder.glob("FoilHole*.mrc*")):
        if path.suffix == ".mdoc":
            continue
        try:
            found = read(path)
        except FormatError as error:
            bad[path.name] = error
            continue
        good += 1
        assert found.shape == (20, 480, 464) and found.dtype == np.int8
        np.testing.assert_array_equal(found, np.array(mrcz.readMRC(str(path))[0]))
        assert read_header(path)["pixel_size"] == [1.06] * 3 and read_footer(path) is None
    assert good == 26
    assert isinstance(bad["FoilHole_777777_Data_7777.mrcz"], TruncatedError)
    assert "12 whole frames of 20" in str(bad["FoilHole_777777_Data_7777.mrcz"])
    assert "no MRC file" in str(bad["FoilHole_888888_Data_8888.mrcz"])
    assert read(session_folder / "CountRef_gain.mrc", 0).shape == (464, 480)


@pytest.mark.parametrize(("axes", "said"), [((1, 2, 3), 0), ((0, 0, 0), 0), ((2, 1, 3), 1), ((3, 2, 1), 1)])
def test_axes_of_another_order_are_named(tmp_path: Path, axes: tuple[int, ...], said: int) -> None:
    path, counts = tmp_path / "a.mrcs", np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    header = bytearray(Header(shape=(2, 3, 4), mode=1).to_bytes())
    struct.pack_into("<3i", header, 64, *axes)
    path.write_bytes(bytes(header) + counts.tobytes())
    with open_source(path) as stack:
        assert np.array_equal(stack.frames(), counts)
        assert len([note for note in stack.notes if f"MAPC, MAPR, MAPS are {axes}" in note]) == said

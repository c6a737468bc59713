import contextlib
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.mrc.header import HEADER_SIZE, UNDETERMINED, Header, Statistics
from mrcz_dask.formats.mrc.header import decode_meta as decode
from mrcz_dask.formats.mrc.header import encode_meta as encode
from mrcz_dask.formats.mrc.modes import CODECS, PIXELS_OF_MODE
from mrcz_dask.values.errors import FormatError, TruncatedError

PLAIN = Header(shape=(3, 5, 7), mode=1, mz=1, pixel_size=(1.5, 1.5, 1.5), stats=Statistics(-1, 2, 0.5, 0.25))
sizes = st.floats(0.125, 100, width=32).map(lambda x: float(f"{x:.3g}"))
headers = st.builds(
    Header,
    shape=st.tuples(*[st.integers(1, 1 << 20)] * 3),
    mode=st.sampled_from(sorted(PIXELS_OF_MODE)),
    codec=st.sampled_from([None, *CODECS.values()]),
    byteorder=st.sampled_from("<>"),
    pixel_size=st.none() | st.tuples(sizes, sizes, sizes),
    stats=st.builds(Statistics, *[st.floats(width=32, allow_nan=False)] * 4),
    mz=st.just(0),
    labels=st.lists(
        st.text("abcXYZ 123", min_size=1, max_size=80).map(str.strip).filter(bool), max_size=10
    ).map(tuple),
    packed_size=st.integers(0, 1 << 62),
).filter(lambda header: not (header.labels and header.labels[0].startswith("MRCZ")))


@given(headers, st.binary(max_size=64))
def test_there_and_back(header: Header, extended: bytes) -> None:
    kind = "SERI" if extended else ""
    header = replace(header, extended=extended, extended_size=len(extended), extended_type=kind)
    found = Header.parse(header.to_bytes())
    assert (found.pixel_size is None) == (header.pixel_size is None)
    if header.pixel_size is not None:  # of a cell in float32
        assert found.pixel_size == pytest.approx(header.pixel_size, rel=1e-6)
    assert replace(found, pixel_size=header.pixel_size) == header
    without = Header.parse(header.to_bytes()[:HEADER_SIZE])
    assert replace(without, pixel_size=header.pixel_size) == replace(header, extended=b"")


@pytest.mark.parametrize("order", ["<", ">"])
def test_words_are_where_mrc2014_has_them(order: str) -> None:
    raw = replace(PLAIN, byteorder=order, labels=("one",)).to_bytes()
    assert struct.unpack_from(order + "10i", raw) == (7, 5, 3, 1, 0, 0, 0, 7, 5, 1)
    assert struct.unpack_from(order + "6f3i", raw, 40) == (10.5, 7.5, 1.5, 90, 90, 90, 1, 2, 3)
    assert struct.unpack_from(order + "3f2i", raw, 76) == (-1, 2, 0.5, 0, 0)
    assert struct.unpack_from(order + "fi", raw, 216) == (0.25, 1)
    assert raw[208:213] == b"MAP " + (b"\x44" if order == "<" else b"\x11")
    assert raw[224:228] == b"one "
    assert Header.parse(raw).dtype == np.dtype(order + "i2")


def test_a_wrong_machine_stamp_is_seen_through() -> None:
    raw = bytearray(replace(PLAIN, byteorder=">").to_bytes())
    raw[212:216] = bytes(4)
    assert Header.parse(bytes(raw)).byteorder == ">"


def test_python_mrcz_leaves_the_sampling_out_and_uses_mz_as_a_flag() -> None:
    raw = bytearray(replace(PLAIN, labels=("MRCZ0.6.0",)).to_bytes())
    struct.pack_into("<3i3f", raw, 28, 0, 0, 1, 1.06 * 7, 1.06 * 5, 1.06 * 3)
    assert Header.parse(bytes(raw)).pixel_size == (1.06, 1.06, 1.06)


@pytest.mark.parametrize("cell", [(0, 0, 0), (float("nan"), 1, 1), (-1, 1, 1)])
def test_without_a_sensible_cell_there_is_no_pixel_size(cell: tuple[float, ...]) -> None:
    raw = bytearray(PLAIN.to_bytes())
    struct.pack_into("<3f", raw, 40, *cell)
    assert Header.parse(bytes(raw)).pixel_size is None


def test_nonsense_is_refused_with_what_was_found() -> None:
    with pytest.raises(TruncatedError, match=r"x: 12 bytes; an MRC header takes 1024"):
        Header.parse(bytes(12), name="x")
    with pytest.raises(FormatError, match=r"x: no MRC.*expected b'MAP '.*NX 0, NY 0, NZ 0"):
        Header.parse(bytes(1024), name="x")
    for at, value, text in [
        (0, -7, "NX -7"),
        (8, 0, "NZ 0"),
        (12, 77, "MODE is 77"),
        (92, -1, "NSYMBT is -1"),
    ]:
        raw = bytearray(PLAIN.to_bytes())
        struct.pack_into("<i", raw, at, value)
        with pytest.raises(FormatError, match=text):
            Header.parse(bytes(raw))


def test_sizes_that_the_file_cannot_hold_are_refused() -> None:
    compressed = replace(PLAIN, codec="zstd")
    assert Header.parse(compressed.to_bytes(), file_size=1024 + 3 * 16).shape == (3, 5, 7)
    with pytest.raises(FormatError, match="3 frames behind 1024 bytes cannot be in 1071 bytes"):
        Header.parse(compressed.to_bytes(), file_size=1024 + 3 * 16 - 1)
    huge = replace(compressed, shape=(1, 1 << 17, 1 << 17))
    with pytest.raises(FormatError, match="cannot be one blosc chunk"):
        Header.parse(huge.to_bytes(), file_size=1 << 20)
    with pytest.raises(FormatError, match="cannot be in 1024 bytes"):
        Header.parse(replace(PLAIN, extended=b"12345").to_bytes()[:1024], file_size=1024)


def test_to_dict_is_plain() -> None:
    found = replace(PLAIN, byteorder=">").to_dict()
    assert found["shape"] == [3, 5, 7] and found["dtype"] == ">i2" and found["byteorder"] == "big"
    assert found["stats"] == {"minimum": -1, "maximum": 2, "mean": 0.5, "rms": 0.25}


@given(st.binary(min_size=1024, max_size=1100))
def test_random_bytes_are_refused_or_read_but_nothing_else(data: bytes) -> None:
    stamped = data[:208] + b"MAP " + data[212:]
    with contextlib.suppress(FormatError):
        Header.parse(stamped, file_size=len(stamped))


def test_imod_says_how_bytes_are_meant() -> None:
    raw = bytearray(replace(PLAIN, mode=0).to_bytes())
    assert Header.parse(bytes(raw)).imod_signed is None
    for flags, signed in ((1, True), (0, False), (9, True), (8, False)):
        struct.pack_into("<2i", raw, 152, 1146047817, flags)
        assert Header.parse(bytes(raw)).imod_signed is signed


def test_two_pixels_in_a_byte_of_mode_0() -> None:
    raw = bytearray(replace(PLAIN, mode=0).to_bytes())
    struct.pack_into("<2i", raw, 152, 1146047817, 16)
    found = Header.parse(bytes(raw))
    assert (found.shape, found.four_bit, found.frame_shape) == ((3, 5, 14), True, (5, 7))
    assert found.pixel_size == PLAIN.pixel_size
    label = ("SerialEMCCD: Dose fractionation image, 4 bits packed",)
    half = replace(PLAIN, mode=0, shape=(3, 7420, 3838), labels=label)
    assert Header.parse(half.to_bytes()).shape == (3, 7420, 7676)
    assert Header.parse(replace(half, labels=()).to_bytes()).shape == half.shape
    assert Header.parse(replace(half, shape=(3, 7420, 3700)).to_bytes()).shape == (3, 7420, 3700)


def test_statistics_that_were_not_determined_are_not_told_as_measured() -> None:
    nothing = replace(PLAIN, stats=UNDETERMINED).to_dict()["stats"]
    assert set(nothing.values()) == {None}
    some = replace(PLAIN, stats=Statistics(1, 3, 2, -1)).to_dict()["stats"]
    assert some == {"minimum": 1, "maximum": 3, "mean": 2, "rms": None}


def test_meta_and_scale_come_back_apart() -> None:
    data = encode({"voltage": 300, "who": "é"}, {"scale": 0.5, "offset": 1.0, "dtype": "<i2"})
    assert decode("json", data) == ({"voltage": 300, "who": "é"}, {"scale": 0.5, "offset": 1.0})
    assert json.loads(data)["voltage"] == 300


def test_nothing_to_say_takes_no_room() -> None:
    assert encode(None, {"dtype": "<i2", "unit": "counts"}) == b"" == encode({}, {})
    assert decode("json", b"") == ({}, {}) == decode("FEI1", b"\0\1")


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff", b"[" * 100000])
def test_what_is_no_json_object(data: bytes) -> None:
    with pytest.raises(FormatError, match="extended header"):
        decode("json", data)

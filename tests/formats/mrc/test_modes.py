import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.mrc.modes import (
    CODECS,
    PIXELS_OF_MODE,
    half_super_resolution,
    join_mode,
    pack,
    packed_row,
    pixel_mode,
    split_mode,
    unpack_into,
)
from mrcz_dask.values.errors import DtypeError, FormatError, ParameterError


def test_every_mode_with_every_codec() -> None:
    for mode, pixel in PIXELS_OF_MODE.items():
        for codec in (None, *CODECS.values()):
            assert split_mode(join_mode(mode, codec)) == (pixel, codec)


@pytest.mark.parametrize("mode", [-1, 3, 5, 16, 7000, 1003, 100000])
def test_unknown_modes_are_refused(mode: int) -> None:
    with pytest.raises(FormatError, match=f"MODE is {mode}; expected one of"):
        split_mode(mode)


@pytest.mark.parametrize(
    ("dtype", "cast"),
    [
        ("f8", "float32"),
        ("i8", "int32"),
        ("u8", "uint32"),
        ("?", "uint8"),
        ("c16", "complex64"),
        ("S3", "int16"),
    ],
)
def test_refused_types_name_the_one_to_cast_to(dtype: str, cast: str) -> None:
    with pytest.raises(DtypeError, match=rf"cannot hold {np.dtype(dtype).name} pixels; cast to {cast}"):
        pixel_mode(dtype)


def test_byte_order_does_not_matter() -> None:
    assert pixel_mode(">i2") == pixel_mode("<i2") == 1


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_there_and_back(ny: int, nx: int, seed: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 16, (ny, nx), np.uint8)
    packed, out = pack(frame), np.empty_like(frame)
    assert packed.shape == (ny, packed_row(nx)) == (ny, -(-nx // 2))
    unpack_into(packed, out)
    np.testing.assert_array_equal(out, frame)


def test_the_first_pixel_is_in_the_low_nibble() -> None:
    np.testing.assert_array_equal(pack(np.array([[1, 2, 3]])), [[0x21, 0x03]])


@pytest.mark.parametrize("value", [-1, 16])
def test_what_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ParameterError, match=r"hold 0\.\.15"):
        pack(np.array([[0, value]]))


@pytest.mark.parametrize("shape", [(7676, 3710), (7420, 3838), (7424, 3840), (8184, 5760), (11520, 4092)])
def test_packed_frames_of_cameras_are_known_by_their_size(shape: tuple[int, int]) -> None:
    assert half_super_resolution(*shape)
    assert not half_super_resolution(shape[0], 2 * shape[1])


@pytest.mark.parametrize("shape", [(3838, 3710), (3710, 3838), (4092, 5760), (5760, 4092), (4096, 4096)])
def test_frames_that_are_not_packed(shape: tuple[int, int]) -> None:
    assert not half_super_resolution(*shape)

import numpy as np
import pytest

from mrcz_dask.formats.mrc.modes import CODECS, PIXELS, join_mode, pixel_mode, split_mode
from mrcz_dask.values.errors import DtypeError, FormatError


def test_every_mode_with_every_codec() -> None:
    for mode, pixel in PIXELS.items():
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

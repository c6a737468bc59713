import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.packing import pack, packed_row, unpack_into
from mrcz_dask.values.errors import ParameterError


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

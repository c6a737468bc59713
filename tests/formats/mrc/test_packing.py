import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.mrc.packing import half_super_resolution, pack, packed_row, unpack_into
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


@pytest.mark.parametrize("shape", [(7676, 3710), (7420, 3838), (7424, 3840), (8184, 5760), (11520, 4092)])
def test_packed_frames_of_cameras_are_known_by_their_size(shape: tuple[int, int]) -> None:
    assert half_super_resolution(*shape)
    assert not half_super_resolution(shape[0], 2 * shape[1])


@pytest.mark.parametrize("shape", [(3838, 3710), (3710, 3838), (4092, 5760), (5760, 4092), (4096, 4096)])
def test_frames_that_are_not_packed(shape: tuple[int, int]) -> None:
    assert not half_super_resolution(*shape)

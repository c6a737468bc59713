import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.numerics.planes import TILE, bit_planes


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["u1", "u2", "u4", "u8"]),
    st.integers(1, 40) | st.sampled_from([TILE // 8 - 1, TILE // 8, TILE // 4 + 3]),
    st.integers(0, 2**32 - 1),
)
def test_planes_are_the_bits_of_the_items(dtype: str, groups: int, seed: int) -> None:
    items = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, 8 * groups, dtype, endpoint=True)
    planes = np.empty(items.nbytes, np.uint8)
    bit_planes(items.view(np.uint8), items.itemsize, planes)
    bits = [(items >> np.array(k, dtype)) & np.array(1, dtype) for k in range(8 * items.itemsize)]
    expected = [np.packbits(plane.astype(bool), bitorder="little") for plane in bits]
    np.testing.assert_array_equal(planes.reshape(len(bits), -1), expected)

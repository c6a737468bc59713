from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from mrcz_dask.numerics.outliers.weights import near_another


@settings(deadline=None)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(1, 12))
def test_a_neighbourly_pixel_has_another_within_the_radius(mask: NDArray[np.bool_], radius: int) -> None:
    window = np.ones((2 * radius + 1,) * 2)
    others = ndimage.convolve(mask.astype(int), window.astype(int), mode="constant") - mask
    assert np.array_equal(near_another(mask, radius), mask & (others > 0))

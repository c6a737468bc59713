import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.numerics.moments import BLOCK, NARROW, moments

RANGES = {
    "i1": (-128, 127), "u1": (0, 255), "i2": (-32768, 32767), "u2": (0, 65535),
    "i4": (-65535, 65535), "u4": (0, 65535),
}  # fmt: skip


def definition(pixels: np.ndarray) -> tuple[int, int, int, int]:
    values = pixels.astype(object)  # Python's integers, of any size
    return min(values), max(values), values.sum(), (values**2).sum()


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(sorted(RANGES)),
    st.integers(1, 300) | st.integers(BLOCK - 2, BLOCK + 2) | st.just(3 * BLOCK + 77),
    st.sampled_from([0, 1, 60, NARROW - 1, NARROW, NARROW + 1, 1 << 17]),
    st.integers(0, 2**32 - 1),
)
def test_they_are_those_of_the_definition(dtype: str, size: int, top: int, seed: int) -> None:
    low, high = RANGES[dtype]
    ends = max(low, -top), min(high, top)
    pixels = np.random.default_rng(seed).integers(*ends, size, endpoint=True).astype(dtype)
    assert moments(pixels) == definition(pixels)


@pytest.mark.parametrize("dtype", sorted(RANGES))
@pytest.mark.parametrize(
    "value", [-1, NARROW, NARROW + 1, *(end for ends in RANGES.values() for end in ends)]
)
def test_blocks_of_one_value_overflow_nothing(dtype: str, value: int) -> None:
    low, high = RANGES[dtype]
    value, size = min(max(value, low), high), 5 * BLOCK + 1
    assert moments(np.full(size, value, dtype)) == (value, value, size * value, size * value**2)


def test_without_pixels_there_are_none() -> None:
    with pytest.raises(ValueError, match="no pixels"):
        moments(np.empty(0, np.int8))

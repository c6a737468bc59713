"""Counting values and looking them up, against NumPy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.outliers.histogram import SMALL, count_values, look_up

CASES = {
    "dtype": st.sampled_from(["int8", "uint8", "int16", "uint16", "int32", "int64"]),
    "seed": st.integers(0, 999),
    "size": st.integers(0, 400),
    "first": st.integers(-40, 90),
    "shift": st.integers(0, 3),
    "length": st.sampled_from([1, 2, 50, SMALL + 1]),
}


def entries(values, first, shift, length):
    return np.clip((values.astype(np.int64) >> shift) - first, 0, length - 1)


@given(**CASES)
def test_counts_are_those_of_bincount(dtype, seed, size, first, shift, length):
    values = np.random.default_rng(seed).integers(0, 127, size).astype(dtype)
    counts = np.zeros(length, np.int64)

    count_values(values, first, shift, counts)

    assert (counts == np.bincount(entries(values, first, shift, length), minlength=length)).all()


@given(**CASES)
def test_looking_up_is_indexing(dtype, seed, size, first, shift, length):
    draw = np.random.default_rng(seed)
    values, table = draw.integers(0, 127, size).astype(dtype), draw.integers(0, 255, length).astype(np.uint8)
    out = np.empty(size, np.uint8)

    look_up(values, first, shift, table, out)

    assert (out == table[entries(values, first, shift, length)]).all()

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mrcz_dask.numerics.outliers.histogram import MOST_BINS, SMALL, count_values, look_up, tabulate

DTYPES = st.sampled_from([np.int16, np.int64])
IMAGES = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(-9999, 9999))


@settings(deadline=None)
@given(IMAGES)
def test_every_pixel_is_counted_under_its_value(image: NDArray[Any]) -> None:
    table = tabulate(image, None, 8)
    assert table is not None
    values, counts = np.unique(image, return_counts=True)
    held = table.counts > 0
    assert np.array_equal(table.centers()[held], values)
    assert np.array_equal(table.counts[held], counts)
    assert (table.least, table.most, table.total) == (image.min(), image.max(), image.size)


@settings(deadline=None)
@given(IMAGES)
def test_looking_up_gives_each_pixel_what_its_value_has(image: NDArray[Any]) -> None:
    table = tabulate(image, None, 8)
    assert table is not None
    assert np.array_equal(table.look_up(table.centers(), image), image)


@pytest.mark.parametrize("reach", [8.0, 64.0])
def test_stray_values_do_not_coarsen_the_table(reach: float) -> None:
    image = np.random.default_rng(0).normal(0, 1000, (200, 200)).astype(np.int64)
    plain = tabulate(image, None, reach)
    image[0, :3] = 2**62, -(2**61), 2**40
    table = tabulate(image, None, reach)
    assert plain is not None and table is not None
    assert table.width * 256 <= table.robust()[1] and table.total == image.size
    assert table.most == 2**62
    assert np.allclose(table.robust(), plain.robust(), atol=40)


def test_the_median_is_interpolated_inside_a_value() -> None:
    table = tabulate(np.array([[0, 1, 1, 1]]), None, 8)
    assert table is not None
    assert table.quantile(0.5) == pytest.approx(0.5 + 1 / 3)
    assert table.quantile(0.25) == pytest.approx(0.5)


def test_pixels_that_are_not_finite_are_not_counted() -> None:
    bad = np.array([[True, False], [False, False]])
    table = tabulate(np.array([[9, 1], [1, 2]]), bad, 8)
    assert table is not None and table.total == 3 and table.most == 2
    assert tabulate(np.zeros((2, 2), np.int8), np.ones((2, 2), bool), 8) is None


def test_bins_count_what_lies_outside() -> None:
    image = np.random.default_rng(1).poisson(100, (300, 300))
    image[0, :7], image[1, :3] = 1000, 0
    table = tabulate(image, None, 8)
    assert table is not None
    found = table.histogram(100, 10, 8, True)
    assert (found.below, found.above, found.total) == (3, 7, image.size)
    assert np.array_equal(np.diff(found.edges), np.ones(found.edges.size - 1))
    assert found.edges[0] == 20.5 and found.edges[-1] == 180.5
    assert found.cumulative()[80] == (image <= found.edges[80]).sum()


def test_bins_are_never_too_many() -> None:
    image = np.random.default_rng(1).normal(0, 3000, (300, 300)).astype(np.int64)
    table = tabulate(image, None, 8)
    assert table is not None
    middle, half = table.robust()
    assert table.histogram(middle, half, 8, True).edges.size <= MOST_BINS
    assert table.histogram(middle, half, 8, False).edges.size <= 8 * 2 * 16 * 1.1


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

"""Counted images hold every electron inside, in the pixel where it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.counting.places import add_events
from mrcz_dask.values.errors import ParameterError

PLACES = st.lists(st.tuples(st.floats(-0.5, 12.5, width=32), st.floats(-0.5, 17.5, width=32)), max_size=40)


@given(places=PLACES, upsampling=st.sampled_from([1, 2, 4]))
def test_sum_is_the_number_inside_and_coarser_images_are_sums(places, upsampling):
    y, x = np.array(places, np.float32).reshape(-1, 2).T
    image = np.zeros((12 * upsampling, 17 * upsampling), np.uint16)
    add_events(y, x, upsampling, image)
    whole = np.zeros((12, 17), np.uint16)
    add_events(y, x, 1, whole)
    inside = (y >= 0) & (y < 12) & (x >= 0) & (x < 17)
    assert image.sum() == inside.sum()
    coarse = image.reshape(12, upsampling, 17, upsampling).sum(axis=(1, 3))
    np.testing.assert_array_equal(coarse, whole)


@given(row=st.integers(0, 8191), upsampling=st.sampled_from([1, 2, 4]))
def test_edges_are_exact(row, upsampling):
    edge = np.float32(row / upsampling)
    below = np.nextafter(edge, np.float32(-1))
    assert int(np.floor(edge * upsampling)) == row
    image = np.zeros((8192, 1), np.uint8)
    add_events(np.array([edge, below]), np.zeros(2, np.float32), upsampling, image)
    assert image[row, 0] == 1
    if row:
        assert image[row - 1, 0] == 1


def test_a_full_pixel_stays_full():
    image = np.zeros((4, 4), np.uint8)
    add_events(np.full(300, 1.5), np.full(300, 2.5), 1, image)
    assert image[1, 2] == 255
    assert add_events(np.full(3, 1.5), np.full(3, 2.5), 1, image) == 3


def test_upsampling_is_1_2_or_4():
    with pytest.raises(ParameterError, match="upsampling"):
        add_events(np.zeros(1), np.zeros(1), 3, np.zeros((12, 12), np.uint8))

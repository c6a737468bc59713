"""Sketches: what they keep of a pattern, and what they do not see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mrcz_dask.numerics.session.sketch import SPOTS, sketch, sketch_sizes, sketch_words

SHAPE = (96, 128)
NOTHING = np.zeros(SHAPE, bool)


def bits(found: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The bits of the spots, and of columns and rows, 0 or 1 each."""
    words = sketch_words(found, shape)
    one, two = (np.unpackbits(part.view(np.uint8)) for part in words)
    spots, lines = sketch_sizes(shape)
    assert not one[spots:].any() and not two[lines:].any()
    return one[:spots], two[:lines]


def plainly(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences of spots, and of columns and rows, by NumPy; where every block is a spot."""
    by, bx = (values.shape[0] - 1) // 2, (values.shape[1] - 1) // 2
    inner = values[1 : 1 + 2 * by, 1 : 1 + 2 * bx].astype(int).reshape(by, 2, bx, 2)
    good = ~mask[1 : 1 + 2 * by, 1 : 1 + 2 * bx].reshape(by, 2, bx, 2).any(axis=(1, 3))
    a, b, c, d = inner[:, 0, :, 0], inner[:, 0, :, 1], inner[:, 1, :, 0], inner[:, 1, :, 1]
    across, down = good * (a - b + c - d), good * (a + b - c - d)
    upper, left = (by + 1) // 2, (bx + 1) // 2
    columns = [across[:upper].sum(axis=0), across[upper:].sum(axis=0)]
    rows = [down[:, :left].sum(axis=1), down[:, left:].sum(axis=1)]
    return (good * (a + d - b - c)).ravel(), np.concatenate([*columns, *rows])


@given(
    shape=st.tuples(st.integers(3, 40), st.integers(3, 40)),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.int16, np.int32, np.int64]),
)
def test_bits_are_signs_of_differences(shape: tuple[int, int], seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    values, mask = rng.poisson(9, shape).astype(dtype), rng.random(shape) < 0.1

    found = bits(sketch(values, mask, 1), shape)

    for bit, difference in zip(found, plainly(values, mask), strict=True):
        told = difference != 0
        assert_array_equal(bit[told], difference[told] > 0)


def test_neither_dose_nor_outliers_matter() -> None:
    rng = np.random.default_rng(0)
    values, mask = rng.integers(0, 1000, SHAPE), rng.random(SHAPE) < 0.01
    wild = np.where(mask, 10**9, values * 3 + 5)
    assert sketch(values, mask, 7) == sketch(wild, mask, 7)
    assert sketch(values, mask, 7) == sketch(values.astype(np.int32), mask, 7)


def test_columns_and_rows_are_seen_in_their_own_half_alone() -> None:
    rng = np.random.default_rng(1)
    lines = rng.integers(0, 50, (SHAPE[0], 1)) + rng.integers(0, 50, SHAPE[1])
    spots, along = bits(sketch(lines, NOTHING, 3), SHAPE)
    _, difference = plainly(lines, NOTHING)
    told = difference != 0
    assert told.mean() > 0.9
    assert_array_equal(along[told], difference[told] > 0)
    assert 0.45 < spots.mean() < 0.55  # coins


def test_coins_differ_from_stack_to_stack_and_stay() -> None:
    flat = np.full(SHAPE, 4)
    one, other = (bits(sketch(flat, NOTHING, key), SHAPE)[0] for key in (1, 2))
    assert abs((one == other).mean() - 0.5) < 4 * 0.5 / np.sqrt(one.size)
    assert sketch(flat, NOTHING, 1) == sketch(flat, NOTHING, 1)


def test_agreement_tells_the_correlation_of_patterns() -> None:
    rng = np.random.default_rng(2)
    shape = (400, 400)
    pattern = 0.2 * rng.standard_normal(shape)
    stacks = [rng.poisson(100 * (1 + pattern)) for _ in range(2)]
    one, other = (bits(sketch(s, np.zeros(shape, bool), k), shape)[0] for k, s in enumerate(stacks))
    rho = 0.04 / (0.04 + 0.01)
    expected = 1 - np.arccos(rho) / np.pi
    assert (one == other).mean() == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(one.size))


def test_super_resolution_shows_the_gain_of_physical_pixels() -> None:
    rng = np.random.default_rng(3)
    gain = np.kron(rng.integers(0, 1000, (48, 64)), np.ones((2, 2), int))
    spots, _ = bits(sketch(gain, NOTHING, 1), SHAPE)
    difference, _ = plainly(gain, NOTHING)
    assert (difference != 0).mean() > 0.9
    assert_array_equal(spots[difference != 0], difference[difference != 0] > 0)


@pytest.mark.parametrize("shape", [(1, 1), (2, 50), (50, 1)])
def test_images_without_a_block_have_an_empty_sketch(shape: tuple[int, int]) -> None:
    assert sketch(np.ones(shape, np.int16), np.zeros(shape, bool), 0) == b""
    assert sketch_sizes(shape) == (0, 0)


def test_spots_are_spread_over_the_image() -> None:
    shape = (1025, 2049)
    assert sketch_sizes(shape) == (SPOTS, 2 * (512 + 1024))
    values, mask = np.zeros(shape, np.int16), np.zeros(shape, bool)
    before, _ = bits(sketch(values, mask, 5), shape)
    values[1::2, 1::2] = 1  # every block has a difference
    values[:513] = 0
    after, _ = bits(sketch(values, mask, 5), shape)
    changed = after[SPOTS // 2 :]
    assert changed.all()
    assert_array_equal(after[: SPOTS // 2], before[: SPOTS // 2])

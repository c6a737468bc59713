"""Compiled passes over several images against NumPy twins."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.reference import fused

FACTOR, DOSE = np.float32(1 / 30), np.float32(1.01)
SIDES = st.integers(1, 70)


def images(seed, shape):
    draw = np.random.default_rng(seed)
    values = draw.poisson(30, shape).astype(np.int16)
    a, b = (draw.normal(1, 0.1, shape).astype(np.float32) for _ in range(2))
    return values, a, b, draw.random(shape) < 0.05


def profiles_twin(image, mask, mean, level):
    left = np.where(mask, 0, image.astype(np.float64) - mean)
    top = -(-len(left) // 2)
    columns = np.array([left[:top].sum(axis=0), left[top:].sum(axis=0)])
    return left, columns, left.sum(axis=1), blocks_twin(left, level)


def blocks_twin(image, level):
    ny, nx = image.shape
    side = 1 << level
    padded = np.pad(image, ((0, -ny % side), (0, -nx % side)))
    return padded.reshape(-(-ny // side), side, -(-nx // side), side).sum(axis=(1, 3))


def room(count, shape, level):
    ny, nx = shape
    blocks = np.zeros((count, -(-ny >> level), -(-nx >> level)))
    return np.zeros((count, 2, nx)), np.zeros((count, ny)), blocks


@given(seed=st.integers(0, 999), ny=SIDES, nx=SIDES)
def test_sums_are_those_of_numpy(seed, ny, nx):
    values, a, b, mask = images(seed, (ny, nx))
    mean = np.multiply(values, FACTOR, dtype=np.float32) / DOSE

    total, good = fused.masked_sum((values, FACTOR, DOSE), mask)

    assert good == (~mask).sum()
    assert total == pytest.approx(mean[~mask].sum(dtype=np.float64), rel=1e-12)
    both = [image.sum(dtype=np.float64) for image in (a, b)]
    assert fused.two_sums(a, b) == pytest.approx(both, rel=1e-12)


@given(seed=st.integers(0, 999), ny=SIDES, nx=SIDES, level=st.sampled_from([0, 1]))
def test_profiles_and_products_are_those_of_numpy(seed, ny, nx, level):
    values, a, b, mask = images(seed, (ny, nx))
    mean = np.multiply(values, FACTOR, dtype=np.float32) / DOSE
    means = np.array([0.99, 1.01, 1.02])
    sums, products = room(3, (ny, nx), level), np.zeros(6)

    fused.add_profiles((values, FACTOR, DOSE), a, b, mask, means, level, (0, 3), sums, products)

    columns, rows, blocks = sums

    twins = [profiles_twin(i, mask, m, level) for i, m in zip((mean, a, b), means, strict=True)]
    for k, (_, of_columns, of_rows, of_blocks) in enumerate(twins):
        assert columns[k] == pytest.approx(of_columns, abs=1e-9)
        assert rows[k] == pytest.approx(of_rows, abs=1e-9)
        assert blocks[k] == pytest.approx(of_blocks, abs=1e-9)
    pairs = [(x[0] * y[0]).sum() for x, y in combinations_with_replacement(twins, 2)]
    assert products == pytest.approx(pairs, abs=1e-9)


@given(seed=st.integers(0, 999), ny=SIDES, nx=SIDES, level=st.sampled_from([0, 1]))
def test_one_and_two_images_are_as_three(seed, ny, nx, level):
    values, a, b, mask = images(seed, (ny, nx))
    means = np.array([0.99, 1.01, 1.02])

    def added(mask, first, last):
        sums, products = room(last - first, (ny, nx), level), np.zeros(6)
        stack = values, FACTOR, DOSE
        fused.add_profiles(stack, a, b, mask, means, level, (first, last), sums, products)
        return sums, products.tolist()

    three, products = added(mask, 0, 3)
    one, same_products = added(mask, 0, 1)
    assert same_products == products
    assert all((x == y[:1]).all() for x, y in zip(one, three, strict=True))
    whole, _ = added(np.zeros_like(mask), 0, 3)
    two, _ = added(np.zeros((0, 0), bool), 1, 3)
    assert all((x == y[1:]).all() for x, y in zip(two, whole, strict=True))


@given(seed=st.integers(0, 999), ny=SIDES, nx=SIDES)
def test_pair_sums_are_those_of_blocks(seed, ny, nx):
    image = np.random.default_rng(seed).normal(size=(ny, nx))
    out = np.empty((-(-ny // 2), -(-nx // 2)))

    fused.pair_sums(image, out)

    assert out == pytest.approx(blocks_twin(image, 1), abs=1e-12)


@given(seed=st.integers(0, 999), ny=SIDES, nx=SIDES)
def test_products_of_block_means_count_every_pixel(seed, ny, nx):
    draw = np.random.default_rng(seed)
    three = [draw.normal(size=(-(-ny // 4), -(-nx // 4))) for _ in range(3)]
    tall, wide = (np.diff(np.append(np.arange(0, n, 4), n)).astype(np.float64) for n in (ny, nx))
    out = np.zeros(6)

    fused.block_products(*three, tall, wide, out)

    spread = [i.repeat(4, axis=0)[:ny].repeat(4, axis=1)[:, :nx] for i in three]
    pairs = [(x * y).sum() for x, y in combinations_with_replacement(spread, 2)]
    assert out == pytest.approx(pairs, abs=1e-9)


@given(seed=st.integers(0, 999), ny=SIDES, nx=SIDES)
def test_products_over_shells_are_those_of_bincount(seed, ny, nx):
    draw = np.random.default_rng(seed)
    three = [draw.normal(size=(ny, nx)) + 1j * draw.normal(size=(ny, nx)) for _ in range(3)]
    shells = draw.integers(-1, 3, (ny, nx)).astype(np.int16)
    weight, out = draw.integers(1, 3, nx).astype(np.float64), np.zeros((6, 4))

    fused.shell_products(*three, shells, weight, out)

    for found, (x, y) in zip(out, combinations_with_replacement(three, 2), strict=True):
        power = (x * y.conj()).real * weight
        assert found == pytest.approx(np.bincount(shells.ravel() + 1, power.ravel(), 4), abs=1e-9)


@given(seed=st.integers(0, 999), ny=SIDES, nx=SIDES, level=st.sampled_from([0, 1]))
def test_images_are_made_of_images_lines_and_blocks(seed, ny, nx, level):
    draw = np.random.default_rng(seed)
    a, b = (draw.normal(size=(ny, nx)).astype(np.float32) for _ in range(2))
    columns, rows = draw.normal(size=(2, nx)), draw.normal(size=ny)
    small, side, out = draw.normal(size=(-(-ny >> level), -(-nx >> level))), 1 << level, np.empty_like(a)

    fused.add_up(a, b, 0.3, -0.7, columns, rows, small, level, out)

    lines = columns[(2 * np.arange(ny) >= ny).astype(int)] + rows[:, None]
    spread = small.repeat(side, axis=0)[:ny].repeat(side, axis=1)[:, :nx]
    assert out == pytest.approx(0.3 * a - 0.7 * b + lines + spread, abs=1e-5)


@given(seed=st.integers(0, 999), ny=SIDES, nx=SIDES)
def test_a_coarse_image_is_raised_to_the_next_level(seed, ny, nx):
    draw = np.random.default_rng(seed)
    a, b, out = draw.normal(size=(ny, nx)), draw.normal(size=(ny, nx)), np.empty((ny, nx))
    coarse = draw.normal(size=(-(-ny // 2), -(-nx // 2)))

    fused.raise_level(coarse, a, b, 0.1, 0.2, 0.3, 0.4, 0.5, out)

    spread = coarse.repeat(2, axis=0)[:ny].repeat(2, axis=1)[:, :nx]
    assert out == pytest.approx(spread + 0.1 * a + 0.2 * b - 0.3 * a - 0.4 * b - 0.5, abs=1e-12)

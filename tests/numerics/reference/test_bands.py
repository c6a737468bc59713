"""Bands: orthogonal parts of an image without its mean, no band too small."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mrcz_dask.numerics.reference.bands import make_bands, plane_weight
from mrcz_dask.numerics.reference.parts import (
    MeanImage,
    References,
    combine,
    measure_bands,
    measure_bands_of_frames,
)

SIDES = st.one_of(st.integers(1, 40), st.integers(41, 400))
SIZES = [(1, 1), (1, 1000), (1000, 1), (2, 1000), (3, 300), (8, 8), (256, 256), (480, 464), (481, 463)]


def noise(seed, shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def powers(image, bands):
    """Return the power in each band, long waves too."""
    bands = replace(bands, fitted=bands.shells)
    return measure_bands(
        MeanImage(image), References.of([image], bands), np.zeros(image.shape, bool), bands
    ).products[0, 0]


def rising(shape, down, across):
    """A plane of mean 0 that rises by so much in all."""
    y, x = (np.linspace(-0.5, 0.5, n) if n > 1 else np.zeros(1) for n in shape)
    return (down * y[:, None] + across * x).astype(np.float32)


def without_plane(image):
    axes = [rising(image.shape, *which).astype(np.float64) for which in ((1, 0), (0, 1))]
    return image - sum(axis * (image * axis).sum() / ((axis**2).sum() or 1) for axis in axes)


def part(image, bands, name):
    """One band of an image, as an image."""
    factors = np.array([[float(n == name) for n in bands.names]])
    return combine([image], References.of([image], bands).parts, factors, bands)


@given(ny=SIDES, nx=SIDES, least=st.sampled_from([2, 20, 200]))
@example(ny=1, nx=1, least=200)
@example(ny=1, nx=1000, least=200)
@example(ny=1000, nx=1, least=200)
@example(ny=2, nx=1000, least=200)
@example(ny=3, nx=300, least=200)
@example(ny=8, nx=8, least=200)
@example(ny=480, nx=464, least=200)
@example(ny=481, nx=463, least=200)
def test_the_modes_add_up_and_no_band_is_small(ny, nx, least):
    bands = make_bands((ny, nx), least)

    assert sum(bands.modes) == ny * nx - 1
    assert all(modes >= min(least, ny * nx - 1) for modes in bands.modes)
    assert len(set(bands.names)) == len(bands.names) == len(bands.modes)


@given(ny=SIDES, nx=SIDES, seed=st.integers(0, 2**32 - 1))
def test_the_parts_add_up_to_the_image(ny, nx, seed):
    image = noise(seed, (ny, nx))
    bands = make_bands((ny, nx), 20)

    found = combine([image], References.of([image], bands).parts, np.ones((1, len(bands.names))), bands)

    # Blocks at the edges may be smaller than the others; the mean of block means is then not quite zero.
    assert np.ptp(found - image) < 1e-5
    assert abs(found.mean(dtype=np.float64)) < 1e-6 + 1 / (ny * nx) ** 0.5


@pytest.mark.parametrize("shape", [(256, 256), (480, 464), (101, 57), (64, 1024)])
def test_the_parts_add_up_exactly_where_blocks_fit(shape):
    one, two = noise(1, shape), noise(2, shape)
    bands = make_bands(shape, 200)
    count = len(bands.names)
    factors = np.array([np.full(count, 2.0), np.full(count, -0.5)])

    found = combine([one, two], References.of([one, two], bands).parts, factors, bands)

    expected = 2 * (one - one.mean(dtype=np.float64)) - 0.5 * (two - two.mean(dtype=np.float64))
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", [(256, 256), (480, 464), (101, 57)])
def test_bands_are_apart_and_taking_one_twice_is_taking_it_once(shape):
    image, bands = noise(3, shape), make_bands(shape, 200)
    pieces = [part(image, bands, name).astype(np.float64) for name in bands.names]

    for k, piece in enumerate(pieces):
        # The shells of what is left beside columns know nothing of halves: they share a little with them.
        again = part(piece.astype(np.float32), bands, bands.names[k])
        assert ((again - piece) ** 2).sum() < 0.01 * (piece**2).sum()
        assert (piece**2).sum() == pytest.approx(powers(image, bands)[k], rel=0.01)
        for other in pieces[:k]:
            assert abs((piece * other).sum()) < 0.02 * np.sqrt((piece**2).sum() * (other**2).sum())


@pytest.mark.parametrize("shape", [s for s in SIZES if min(s) > 2])
def test_products_over_bands_add_up_to_the_product_of_the_images(shape):
    one, two = noise(4, shape), noise(5, shape)
    mask = np.random.default_rng(6).random(shape) < 0.01
    bands = make_bands(shape, 200)
    bands = replace(bands, fitted=bands.shells)
    means = (i[~mask].mean(dtype=np.float64) for i in (one, two))
    left, right = (np.where(mask, 0, i - mean) for i, mean in zip((one, two), means, strict=True))
    full = (without_plane(left) * without_plane(right)).sum()

    found = measure_bands(MeanImage(one), References.of([two], bands), mask, bands).products[0, 1]

    assert found.sum() == pytest.approx(full, abs=0.03 * one.size**0.5)


def test_white_noise_has_its_power_where_the_modes_are():
    bands = make_bands((512, 512), 200)
    found = np.mean([powers(noise(seed, (512, 512)), bands) for seed in range(6)], axis=0)

    for power, modes in zip(found, bands.modes, strict=True):
        assert abs(power / modes - 1) < 5 * np.sqrt(2 / (6 * modes)) + 0.01


def test_a_pattern_of_columns_has_its_power_in_columns_and_may_differ_between_halves():
    profiles = np.random.default_rng(1).normal(size=(2, 256)).astype(np.float32)
    pattern = np.repeat(profiles, 128, axis=0)
    bands = make_bands((256, 256), 200)
    found = powers(pattern, bands)

    assert found[bands.names.index("columns")] > 0.9 * found.sum()
    turned = powers(np.ascontiguousarray(pattern.T[:, :1].repeat(256, axis=1)), bands)
    assert turned[bands.names.index("rows")] > 0.9 * turned.sum()


def test_what_is_smooth_along_a_profile_is_not_columns_or_rows():
    x = np.arange(512) / 512
    image = (np.cos(2 * np.pi * x)[None, :] + np.cos(2 * np.pi * x + 1)[:, None]).astype(np.float32)
    bands = make_bands((512, 512), 200)
    found = powers(image, bands)

    assert found[-1] > 0.9 * found.sum()


@pytest.mark.parametrize(("wave", "name"), [(4, "shell 1/4"), (10, "shell 1/8"), (20, "shell 1/16")])
def test_shells_are_octaves_below_the_fine_scales(wave, name):
    y, x = np.mgrid[:512, :512]
    image = np.cos(2 * np.pi * (x + y) / wave / np.sqrt(2)).astype(np.float32)
    bands = make_bands((512, 512), 200)

    found = powers(image, bands)

    assert found[bands.names.index(name)] > 0.5 * found.sum()


@pytest.mark.parametrize("waves", [1, 3, 5])
def test_waves_as_long_as_the_image_do_not_decide_about_coefficients(waves):
    """Illumination and thick ice are in few of them."""
    y, x = np.mgrid[:512, :512] / 512
    image = np.cos(2 * np.pi * waves * (x + y) / np.sqrt(2) + 1).astype(np.float32)
    bands = make_bands((512, 512), 200)

    found = measure_bands(MeanImage(image), References.of([image], bands), np.zeros(image.shape, bool), bands)

    share = found.products[0, 0].sum() / powers(image, bands).sum()
    assert (share > 0.5) == (waves >= 4)


@given(ny=SIDES, nx=SIDES, slopes=st.tuples(*[st.floats(-2, 2)] * 4))
@example(ny=1, nx=1000, slopes=(1.0, 1.0, 1.0, 1.0))
@example(ny=2, nx=1000, slopes=(1.0, -1.0, 0.5, 2.0))
@example(ny=481, nx=463, slopes=(1.0, -1.0, 0.5, 2.0))
def test_what_grows_evenly_to_one_side_is_in_no_product(ny, nx, slopes):
    assume(ny * nx > 1)
    shape, nothing = (ny, nx), np.zeros((ny, nx), bool)
    one, two, bands = noise(9, shape), noise(10, shape), make_bands(shape, 20)
    tilted = one + rising(shape, *slopes[:2])
    flat, sloping = (References.of([image], bands) for image in (two, two + rising(shape, *slopes[2:])))

    before = measure_bands(MeanImage(one), flat, nothing, bands)
    found = measure_bands(MeanImage(tilted), sloping, nothing, bands)
    again = measure_bands_of_frames(MeanImage(tilted), sloping, nothing, bands, found)

    assert found.products == pytest.approx(before.products, abs=1e-5 * (1 + one.size**0.5))
    assert again.products == pytest.approx(found.products, rel=1e-9, abs=1e-9)


@given(ny=SIDES, nx=SIDES, least=st.sampled_from([2, 20, 200]))
@example(ny=1, nx=1, least=200)
@example(ny=480, nx=464, least=200)
def test_no_band_is_decided_by_few_modes(ny, nx, least):
    bands = make_bands((ny, nx), least)
    weight = np.broadcast_to(plane_weight(bands.size(bands.level)[1]), bands.fitted.shape)

    decides = bands.fitted >= 0
    assert (bands.fitted[decides] == bands.shells[decides]).all()
    for shell in range(int(bands.shells.max()) + 1):
        assert weight[bands.fitted == shell].sum() >= min(least, weight[bands.shells == shell].sum())


def test_masked_pixels_do_not_matter():
    image, mask = noise(7, (128, 128)), np.random.default_rng(8).random((128, 128)) < 0.05
    bands = make_bands((128, 128), 200)
    spoilt = np.where(mask, np.float32(np.nan), image)

    references = References.of([image], bands)
    clean, found = (measure_bands(MeanImage(i), references, mask, bands) for i in (image, spoilt))

    assert clean.parts[0].mean == found.parts[0].mean
    assert (clean.parts[1].spectrum == found.parts[1].spectrum).all()
    assert (clean.products == found.products).all()


def test_a_large_image_is_made_small_before_it_is_transformed():
    bands = make_bands((3838, 3710), 200)

    assert bands.level == 2
    assert bands.names[:4] == ("columns", "rows", "scale 1", "scale 2")
    assert np.prod(bands.size(bands.level)) < 1 << 20
    assert make_bands((480, 464), 200).level == 1
    assert make_bands((60, 60), 200).level == 0

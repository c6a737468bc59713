"""Regression on references: right coefficients, a Wiener factor from the data, the specimen left alone."""

import numpy as np
import pytest

from mrcz_dask.numerics.reference.bands import make_bands
from mrcz_dask.numerics.reference.parts import MeanImage, References, measure_bands, measure_bands_of_frames
from mrcz_dask.numerics.reference.regression import LARGEST_SUM, fit_bands, pattern_of
from mrcz_dask.numerics.simulate.params import SimulationParams
from mrcz_dask.numerics.simulate.specimen import illumination

SHAPE = (200, 180)
NOTHING = np.zeros(SHAPE, bool)


def noise(seed, std=1.0, shape=SHAPE):
    return np.random.default_rng(seed).normal(0, std, shape).astype(np.float32)


def specimen(seed, shape=SHAPE):
    """Mostly low frequencies, as a blurred specimen has them."""
    spectrum = np.fft.rfft2(noise(seed, shape=shape))
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    image = np.fft.irfft2(spectrum / (0.02 + radius) ** 1.5, s=shape)
    return (image / image.std()).astype(np.float32)


def taken_off(target, references, mask=NOTHING):
    bands = make_bands(target.shape, 200)
    fits = fit_bands(measure_bands(MeanImage(target), References.of(references, bands), mask, bands), bands)
    return fits, pattern_of(fits, References.of(references, bands), bands)


def band_powers(image):
    bands = make_bands(image.shape, 200)
    return measure_bands(
        MeanImage(image), References.of([image], bands), np.zeros(image.shape, bool), bands
    ).products[0, 0]


def test_known_coefficients_of_two_references_come_back():
    short, long = noise(1), noise(2)

    fits, pattern = taken_off(0.3 * short + 0.6 * long + 5, [short, long])

    for fit in fits:
        assert fit.used
        assert fit.coefficients == pytest.approx((0.3, 0.6), abs=1e-5)
        assert fit.explained == pytest.approx(1, abs=1e-5)
    expected = 0.3 * short + 0.6 * long
    assert pattern == pytest.approx(expected - expected.mean(), abs=1e-4)
    assert abs(pattern.mean(dtype=np.float64)) < 1e-6


def test_a_reference_of_another_dose_is_scaled():
    pattern = noise(3, 0.03)

    fits, found = taken_off(0.5 * pattern, [pattern])

    assert all(f.coefficients == pytest.approx((0.5,), abs=1e-5) for f in fits)
    assert found == pytest.approx(0.5 * (pattern - pattern.mean()), abs=1e-6)


@pytest.mark.parametrize("share", [0.25, 1.0, 4.0])
def test_a_noisy_reference_is_attenuated_as_wiener_would(share):
    pattern = noise(4)
    reference, target = pattern + noise(5, np.sqrt(share)), pattern + noise(6)

    fits, _ = taken_off(target, [reference])

    for fit in fits:
        # Each of the modes / 2 complex modes has noise / reference power (2 - share of reliability).
        error = np.sqrt(2 / (1 + share) / fit.modes)
        assert abs(fit.coefficients[0] - 1 / (1 + share)) < 5 * error


def test_the_better_of_two_noisy_references_counts_for_more():
    pattern = noise(7)
    short, long = pattern + noise(8, 1.0), pattern + noise(9, 0.5)

    fits, _ = taken_off(pattern + noise(10), [short, long])

    finest = next(f for f in fits if f.name == "scale 1")
    # Inverse variances 1 and 4, and 1 for the pattern itself.
    assert finest.coefficients == pytest.approx((1 / 6, 4 / 6), abs=0.05)


@pytest.mark.parametrize("with_pattern", [False, True])
def test_a_specimen_keeps_its_power_in_every_band(with_pattern):
    kept = []
    for seed in range(8):
        image, pattern = specimen(100 + seed), 0.3 * noise(200 + seed)
        references = [with_pattern * pattern + noise(300 + 2 * seed + k, 0.1) for k in (0, 1)]
        _, found = taken_off(image + with_pattern * pattern + noise(400 + seed, 0.3), references)
        left = found - with_pattern * (pattern - pattern.mean())
        kept.append(band_powers(image - left) / band_powers(image))

    low_bands = band_powers(specimen(100)) > 5 * band_powers(0.3 * noise(400))
    assert low_bands.sum() >= 2
    assert np.mean(kept, axis=0)[low_bands].min() > 0.99
    assert np.mean(kept, axis=0)[low_bands].max() < 1.02  # what is left of the pattern


def test_without_a_pattern_almost_nothing_is_taken_off():
    taken = []
    for seed in range(10):
        fits, found = taken_off(noise(500 + seed), [noise(600 + seed), noise(700 + seed)])
        taken.append(float(np.var(found)))
        assert all(f.explained < 2 * 2 / (f.modes / 2) * 4 for f in fits)

    # What chance explains is 2 of the modes of each band; by the criterion most bands are not used at all.
    assert np.mean(taken) < 5 * 2 * 7 / np.prod(SHAPE)


def ice(index, strength):
    """Ice that grows thick to one side, relative to its mean."""
    params = SimulationParams(shape=SHAPE, stacks=40, ice=(index,), ice_strength=strength)
    through = illumination(params, index)
    return through / through.mean()


def test_ice_that_grows_to_one_side_does_not_make_a_band_used():
    """References have a little of their members' ice."""
    used = []
    for k in range(20):
        references = [0.02 * ice(k, 0.25) + noise(1000 + k, 0.01)]
        used += [f.used for f in taken_off(ice(20 + k, 0.5) + noise(1100 + k, 0.2), references)[0]]

    # chi-squared of one degree of freedom beyond 4, and positive: 2 % by chance
    assert np.mean(used) < 0.06


def test_ice_that_grows_to_one_side_leaves_the_coefficients_alone():
    found = []
    for k in range(10):
        pattern = noise(1200 + k, 0.03)
        references = [pattern + 0.02 * ice(k, 0.25)]
        fits, _ = taken_off(ice(20 + k, 0.25) + pattern + noise(1300 + k, 0.03), references)
        found.append([fit.coefficients[0] for fit in fits])

    # The pattern's and the noise's; ice is no plane, and has a little left.
    error = np.sqrt(1 / np.array([fit.modes for fit in fits]))
    assert (np.abs(np.array(found) - 1) < 8 * error).all()


def test_unused_bands_have_no_coefficients_and_take_nothing_off():
    fits, found = taken_off(noise(11), [noise(12)])

    unused = [f for f in fits if not f.used]
    assert unused
    assert all(f.coefficients == (0.0,) for f in unused)
    assert all(f.to_dict()["coefficients"] == [0.0] for f in unused)
    if len(unused) == len(fits):
        assert (found == 0).all()


def test_a_band_is_used_if_it_explains_more_than_chance_would():
    fits = []
    for seed in range(20):
        references = [noise(800 + 2 * seed), noise(801 + 2 * seed)][: 1 + seed % 2]
        fits += taken_off(noise(900 + seed) + 0.01 * references[0], references)[0]

    def beyond_chance(fit):
        return fit.explained > 2 * len(fit.coefficients) / (fit.modes / 2) * (1 - fit.explained)

    assert any(f.used for f in fits)
    assert all(beyond_chance(f) for f in fits if f.used)
    assert any(f.explained > 0 and not f.used for f in fits)


@pytest.mark.parametrize("copies", [1.0, 2.0])
def test_references_that_are_the_same_count_as_the_first(copies):
    pattern = noise(13)

    fits, found = taken_off(0.8 * pattern, [pattern, np.float32(copies) * pattern])

    assert all(f.coefficients == pytest.approx((0.8, 0), abs=1e-4) for f in fits)
    assert found == pytest.approx(0.8 * (pattern - pattern.mean()), abs=1e-3)


@pytest.mark.parametrize("nothing", [0, 1], ids=["target", "reference"])
def test_a_constant_image_takes_nothing_off(nothing):
    images = [noise(14), noise(14)]
    images[nothing] = np.full(SHAPE, 3, np.float32)

    fits, found = taken_off(images[0], images[1:])

    assert not any(f.used for f in fits)
    assert (found == 0).all()


def test_one_reference_may_be_constant():
    fits, _ = taken_off(noise(15), [noise(15), np.ones(SHAPE, np.float32)])

    assert all(f.coefficients == pytest.approx((1, 0), abs=1e-4) for f in fits)


def test_an_image_that_is_masked_everywhere_takes_nothing_off():
    fits, found = taken_off(noise(16), [noise(16)], ~NOTHING)

    assert not any(f.used for f in fits)
    assert (found == 0).all()


def test_negative_sums_are_not_used_and_large_ones_are_kept_at_the_bound():
    pattern = noise(17)

    opposite, _ = taken_off(-pattern, [pattern])
    tripled, found = taken_off(3 * pattern, [pattern])

    assert LARGEST_SUM == 1.2
    assert not any(f.used for f in opposite)
    assert all(sum(f.coefficients) == pytest.approx(LARGEST_SUM) for f in tripled)
    assert found == pytest.approx(LARGEST_SUM * (pattern - pattern.mean()), abs=1e-4)


def test_what_is_masked_in_the_stack_does_not_matter_to_the_fit():
    pattern, mask = noise(18), np.random.default_rng(19).random(SHAPE) < 0.01
    spoilt = np.where(mask, np.float32(1e6), pattern + noise(20))

    fits, _ = taken_off(spoilt, [pattern], mask)
    clean, _ = taken_off(np.where(mask, np.float32(-5), pattern + noise(20)), [pattern], mask)

    assert fits == clean
    assert all(abs(f.coefficients[0] - 1) < 5 / np.sqrt(f.modes) for f in fits)


def test_the_pattern_is_taken_at_masked_pixels_too():
    pattern, mask = noise(21), np.random.default_rng(22).random(SHAPE) < 0.01

    _, found = taken_off(np.where(mask, np.float32(0), pattern), [pattern], mask)

    assert np.corrcoef(found[mask], pattern[mask])[0, 1] > 0.999


@pytest.mark.parametrize("shape", [(1, 900), (900, 1), (31, 33), (6, 7), (64, 5)])
def test_odd_shapes(shape):
    pattern = noise(23, shape=shape)

    fits, found = taken_off(pattern, [pattern], np.zeros(shape, bool))

    assert found.shape == shape
    assert sum(f.modes for f in fits) == pattern.size - 1
    assert found == pytest.approx(pattern - pattern.mean(), abs=1e-5)


def test_the_same_bits_again():
    images = [noise(24), noise(25), noise(26)]

    once, again = taken_off(images[0], images[1:]), taken_off(images[0].copy(), images[1:])

    assert once[0] == again[0]
    assert once[1].tobytes() == again[1].tobytes()


def test_some_of_the_frames_are_fitted_to_references_as_they_were_seen():
    pattern = noise(23)
    mask, other = (np.random.default_rng(seed).random(SHAPE) < 0.01 for seed in (26, 27))
    bands = make_bands(SHAPE, 200)
    references = References.of([pattern + noise(24), pattern + noise(25)], bands)
    whole = measure_bands(MeanImage(pattern + noise(28)), references, mask, bands)
    some = MeanImage(np.where(other, np.float32(1e6), pattern + noise(29)))

    again = measure_bands_of_frames(some, references, other, bands, whole)

    apart = measure_bands(some, references, other, bands)
    assert again.products[1:, 1:].tolist() == whole.products[1:, 1:].tolist()
    for one, two in zip(fit_bands(again, bands), fit_bands(apart, bands), strict=True):
        assert one.coefficients == pytest.approx(two.coefficients, abs=0.05)
    same = measure_bands_of_frames(some, references, other, bands, apart)
    assert same.products == pytest.approx(apart.products, rel=1e-12)

"""The pattern of a stack in each form and method, and what it does to correlated noise."""

import numpy as np
import pytest

from mrcz_dask.numerics.noise.correlation import correlated_noise
from mrcz_dask.numerics.reference.koma import PatternFit, spread
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.numerics.reference.window import Member, WindowSum
from mrcz_dask.values.params import KomaParams
from mrcz_dask.values.windows import koma_window

SHAPE = (160, 160)
NOTHING = np.zeros(SHAPE, bool)
FORMS = ("subtract", "subtract-raw", "divide")


def find_pattern(mean, dose, mask, images, params):
    return PatternFit(images, params).find(MeanImage(mean.astype(np.float32)), dose, mask)


def simulated(seed, stacks, frames, pattern, dose=2.0, additive=0.0):
    rng = np.random.default_rng(seed)
    return rng.poisson(dose * (1 + pattern) + additive, (stacks, frames, *SHAPE)).astype(np.uint8)


def member(stack, masked=()):
    values = stack.sum(axis=0, dtype=np.int32)
    return Member(values, 0, np.array(masked, np.int64), float(values.mean()), len(stack))


def reference(members, raw=False):
    total = WindowSum(SHAPE, raw)
    total.move_to(range(len(members)), 0, members.__getitem__)
    return total.reference()


def pattern_for(stack, refs, **params):
    mean = stack.mean(axis=0)
    return find_pattern(mean, float(mean.mean()), NOTHING, refs, KomaParams(**params))


def white(seed, std=0.03):
    return np.random.default_rng(seed).normal(0, std, SHAPE)


def test_plain_subtract_is_the_dose_times_the_reference_without_its_mean():
    ref = (1 + white(1)).astype(np.float32)
    mask = np.random.default_rng(2).random(SHAPE) < 0.1

    found = find_pattern(np.full(SHAPE, 3.0), 3.0, mask, [ref], KomaParams(method="plain"))

    assert found.fits == ()
    assert found.image == pytest.approx(3 * (ref - ref[~mask].mean()), abs=1e-6)
    assert abs(found.image[~mask].mean(dtype=np.float64)) < 1e-7


@pytest.mark.parametrize("form", ["subtract-raw", "divide"])
def test_plain_in_the_other_forms_is_the_reference_without_its_mean(form):
    ref = (2 + white(1)).astype(np.float32)

    found = find_pattern(np.full(SHAPE, 3.0), 3.0, NOTHING, [ref], KomaParams(method="plain", form=form))

    assert found.image == pytest.approx(ref - ref.mean(), abs=1e-6)


@pytest.mark.parametrize("method", ["fit", "plain"])
@pytest.mark.parametrize("form", FORMS)
def test_no_reference_no_pattern(method, form):
    found = find_pattern(white(1), 1.0, NOTHING, [], KomaParams(method=method, form=form))

    assert found.fits == ()
    assert found.image.shape == SHAPE
    assert (found.image == 0).all()


def test_no_dose_no_pattern_unless_it_is_in_counts():
    ref = [white(1).astype(np.float32)]

    assert (find_pattern(white(1), 0.0, NOTHING, ref, KomaParams()).image == 0).all()
    assert find_pattern(white(1), 0.0, NOTHING, ref, KomaParams(form="subtract-raw")).image.any()


@pytest.mark.parametrize(("form", "left"), [("subtract", 0.0), ("subtract-raw", 0.5), ("divide", 0.0)])
def test_plain_references_at_half_the_dose(form, left):
    """A multiplicative pattern is gone when scaled to the dose; in counts half of it is left."""
    pattern, dose = white(3), 4.0
    half = np.full(SHAPE, 100 * dose / 2) * (1 + pattern)
    one = Member(
        np.rint(half * 1000).astype(np.int64), 0, np.array([], np.int64), float(half.mean()) * 1000, 100000
    )
    image = dose * (1 + pattern)
    found = find_pattern(
        image,
        dose,
        NOTHING,
        [reference([one], form == "subtract-raw")],
        KomaParams(method="plain", form=form),
    ).image

    corrected = image / (1 + found) if form == "divide" else image - found
    slope = np.polyfit(pattern.ravel(), corrected.ravel() / dose, 1)[0]
    assert slope == pytest.approx(left, abs=0.01)


def test_plain_additive_patterns_ask_for_counts():
    """References at half the dose: raw takes an additive pattern off, scaled takes twice of it."""
    pattern, dose = white(4, 0.1), 4.0
    half = (dose / 2 + pattern) * 1000
    one = Member(np.rint(half).astype(np.int64), 0, np.array([], np.int64), float(half.mean()), 1000)

    def left(form):
        refs = [reference([one], form == "subtract-raw")]
        found = find_pattern(dose + pattern, dose, NOTHING, refs, KomaParams(method="plain", form=form)).image
        return np.polyfit(pattern.ravel(), (dose + pattern - found).ravel(), 1)[0]

    assert left("subtract-raw") == pytest.approx(0, abs=0.01)
    assert left("subtract") == pytest.approx(-1, abs=0.01)


def test_fit_finds_the_scale_of_either_pattern_by_itself():
    pattern, dose = white(4, 0.1), 4.0
    half = (dose / 2 + pattern) * 1000
    one = Member(np.rint(half).astype(np.int64), 0, np.array([], np.int64), float(half.mean()), 1000)

    found = find_pattern(dose + pattern, dose, NOTHING, [reference([one])], KomaParams()).image

    assert np.polyfit(pattern.ravel(), (dose + pattern - found).ravel(), 1)[0] == pytest.approx(0, abs=0.01)


def held_out_change(seed, pattern, method, stacks=7, radius=3, frames=10):
    """Change of R on odd frames by references from the others, and coefficients from even frames."""
    data = simulated(seed, stacks, frames, pattern)
    i = stacks // 2
    refs = [reference([member(data[j]) for j in koma_window(i, stacks, radius)])]
    found = pattern_for(data[i, ::2], refs, method=method).image
    odd = data[i, 1::2].astype(np.float32)
    return correlated_noise(odd - found) - correlated_noise(odd)


def test_plain_prints_the_noise_of_the_reference_where_there_is_no_pattern():
    radius, frames = 3, 10
    changes = [held_out_change(seed, np.zeros(SHAPE), "plain") for seed in range(4)]

    law = 1 / (2 * radius * frames)  # relative to the variance of a frame, which grows by as much
    error = np.std(changes, ddof=1) / 2
    assert abs(np.mean(changes) - law / (1 + law)) < max(6 * error, 0.05 * law)


def test_fit_adds_almost_nothing_where_there_is_no_pattern():
    changes = [held_out_change(seed, np.zeros(SHAPE), "fit") for seed in range(4)]

    assert abs(np.mean(changes)) < 0.03 / 60


@pytest.mark.parametrize("method", ["plain", "fit"])
def test_a_strong_pattern_goes_with_either_method(method):
    pattern = white(5, 0.2)
    before = 2 * 0.04 / (1 + 2 * 0.04)

    change = held_out_change(6, pattern, method)

    assert change < -0.7 * before


def test_fit_is_no_worse_than_plain_and_better_for_a_weak_pattern():
    pattern = white(7, 0.05)

    plain, fit = (held_out_change(8, pattern, m) for m in ("plain", "fit"))

    assert fit < 0 < plain


@pytest.mark.parametrize("form", FORMS)
def test_fit_in_every_form_leaves_no_more_than_shot_noise(form):
    pattern = white(9, 0.2)
    data = simulated(10, 5, 20, pattern)
    refs = [reference([member(s) for s in data[1:]], form == "subtract-raw")]

    found = pattern_for(data[0, ::2], refs, form=form).image

    odd = data[0, 1::2].astype(np.float32)
    corrected = odd / np.maximum(0.1, 1 + found) if form == "divide" else odd - found
    assert correlated_noise(corrected) < 0.15 * correlated_noise(odd)


def test_a_pattern_has_a_fit_for_each_band_of_its_image():
    ref = (1 + white(11)).astype(np.float32)

    found = find_pattern(2.0 * ref, 2.0, NOTHING, [ref, ref[::-1].copy()], KomaParams(min_modes=500))

    assert sum(f.modes for f in found.fits) == ref.size - 1
    assert min(f.modes for f in found.fits) >= 500
    assert all(len(f.coefficients) == 2 for f in found.fits)


@pytest.mark.parametrize(
    ("doses", "expected"), [([], 0), ([2.0], 0), ([1, 2, 3], 1), ([1.0, 1.0, 1.1, 0.9], 0.2)]
)
def test_spread_of_doses(doses, expected):
    assert spread(doses) == pytest.approx(expected)

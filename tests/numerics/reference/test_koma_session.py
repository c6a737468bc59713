"""KOMA on simulated sessions: what it keeps of the specimen, and what references at another dose do."""

from collections.abc import Iterator

import numpy as np
import pytest

from mrcz_dask.numerics.noise.correlation import correlated_noise
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.outliers.weights import is_masked, near_another
from mrcz_dask.numerics.reference.bands import make_bands
from mrcz_dask.numerics.reference.correction import make_correction
from mrcz_dask.numerics.reference.koma import PatternFit
from mrcz_dask.numerics.reference.parts import MeanImage, References, measure_bands
from mrcz_dask.numerics.reference.window import Member, WindowSum
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.numerics.simulate.specimen import Specimen
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.params import KomaParams

SHAPE, STACKS, FRAMES = (256, 256), 16, 8
PARAMS = KomaParams(radius=4)


def session(name, seed, dose=3.0):
    # One dose rate whatever the dose, so that the etching is the same.
    return simulate_session(
        named(name, seed=seed, shape=SHAPE, stacks=STACKS, frames=FRAMES, dose=dose, frame_time=0.3 * dose)
    )


def member(stack):
    total = sum_stack(stack.frames)
    found = outlier_mask(total)
    return Member(total.values, 0, np.flatnonzero(is_masked(found.weight255)), found.mean, total.n)


def references(members, i):
    others = [k for k in range(len(members)) if k != i]
    for window in (others[max(0, i - 4) : i + 4], others):
        total = WindowSum(SHAPE)
        total.move_to(window, 0, members.__getitem__)
        yield total.reference()


def kept_and_true(name, seed) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each stack the specimen in what `fit` leaves, and in what the true pattern leaves, band by band."""
    made, bands = session(name, seed), make_bands(SHAPE, PARAMS.min_modes)
    stacks = list(made)
    members = [member(stack) for stack in stacks]
    for i, (stack, one) in enumerate(zip(stacks, members, strict=True)):
        mask = np.zeros(one.values.size, bool)
        mask[one.masked] = True
        mask = mask.reshape(SHAPE)
        dose, mean = one.mean / one.n, one.values / np.float32(one.n)
        found = PatternFit(list(references(members, i)), PARAMS).find(MeanImage(mean), dose, mask)
        shape = Specimen(made.params, i)
        truth = np.mean([shape.moved(*shift) for shift in stack.truth.drift], axis=0).astype(np.float32)
        specimen = References.of([truth], bands)
        yield tuple(
            measure_bands(MeanImage((mean - off) / np.float32(dose)), specimen, mask, bands).products[0, 1]
            for off in (found.image, dose * (stack.truth.pattern - 1))
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["standard", "no pattern"])
def test_the_specimen_is_kept(name):
    """Of its power in every band .99 of what subtracting the true pattern keeps, within the error."""
    pairs = [pair for seed in range(6) for pair in kept_and_true(name, seed)]
    kept, true = (np.array(some) for some in zip(*pairs, strict=True))

    apart = (kept - true) / true.mean(axis=0)
    error = apart.std(axis=0, ddof=1) / np.sqrt(len(pairs))
    strong = true.mean(axis=0) > 0.02 * true.mean(axis=0).sum()
    assert strong.sum() >= 3
    assert (apart.mean(axis=0) > -0.01 - 2.5 * error)[strong].all()
    assert (error < 0.015)[strong].all()


def held_out(stack, members, i, method):
    """R of frames 1, 3, 5, ... after the filter alone, and after a method."""
    even = sum_stack(stack.frames[::2])
    found = outlier_mask(even)
    mask, mean = is_masked(found.weight255), MeanImage(even.values, 1 / even.n)
    params = KomaParams(radius=4, method=method)
    off = PatternFit(list(references(members, i)), params).find(mean, found.mean / even.n, mask).image
    near = near_another(mask, 2)
    for image in (np.zeros(SHAPE, np.float32), off):
        ready = make_correction("subtract", image, mean, found.weight255, near).ready()
        yield correlated_noise(ready.apply(frame) for frame in stack.frames[1::2])


@pytest.mark.parametrize("name", ["no pattern", "standard"])
def test_references_at_half_the_dose_add_nothing(name):
    members = [member(stack) for stack in session(name, 3, dose=1.5)]
    whole = session(name, 3)

    scores = np.array([list(held_out(whole.stack(i), members, i, "fit")) for i in (2, 6, 10, 14)])

    without, corrected = scores.mean(axis=0)
    assert corrected < without + 0.1e-3
    if name == "standard":
        assert corrected < without - 0.5e-3


CARBON, ICE = (0, 4, 8, 12), (2, 6, 10, 14)


def errors_and_contrast(name, seed, strength):
    """For each stack of high contrast the error before and after `fit`, and the share of contrast taken."""
    whole = simulate_session(
        named(
            name, seed=seed, shape=SHAPE, stacks=STACKS, frames=4, dose=5.0, frame_time=1.5, drift=2.0,
            hot=(0, 0), carbon=CARBON, ice=ICE, carbon_strength=strength, ice_strength=strength,
        )
    )  # fmt: skip
    stacks = list(whole)
    members = [member(stack) for stack in stacks]
    usable = [k for k in range(STACKS) if k not in CARBON + ICE]
    short, long = WindowSum(SHAPE), WindowSum(SHAPE)
    long.move_to(usable, 0, members.__getitem__)
    for i in CARBON + ICE:
        short.move_to(sorted(usable, key=lambda k: abs(k - i))[:4], 0, members.__getitem__)
        one, truth = members[i], stacks[i].truth
        mask = np.isin(np.arange(one.values.size), one.masked).reshape(SHAPE)
        mean = MeanImage(one.values, 1 / one.n)
        off = (
            PatternFit([short.reference(), long.reference()], PARAMS).find(mean, one.mean / one.n, mask).image
        )
        specimen = truth.expected_sum / one.n / truth.pattern
        good = ~(mask | truth.dead)
        error, taken, shown = (
            v[good] - v[good].mean() for v in (specimen * (truth.pattern - 1), off, specimen)
        )
        yield (error**2).sum(), ((error - taken) ** 2).sum(), (shown * taken).sum() / (shown**2).sum()


@pytest.mark.parametrize("strength", [0.25, 0.5])
def test_stacks_of_high_contrast_come_nearer_to_the_truth(strength):
    before, after, _ = np.array(list(errors_and_contrast("standard", 5, strength))).T

    assert (after < before).all()
    assert after.mean() < 0.5 * before.mean()


def test_carbon_and_ice_keep_their_contrast():
    """Without a pattern, of which a part may be correlated with it."""
    found = [one for seed in range(3) for one in errors_and_contrast("no pattern", seed, 0.5)]
    _, _, contrast = np.array(found).T

    assert np.abs(contrast).mean() < 1e-3

"""High-contrast stacks: carbon and ice are found, normal stacks are not, late stacks change nothing."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.session.contrast import (
    BlockMeans,
    Usability,
    block_means,
    judge_contrast,
)
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.params import ContrastParams

RADIUS = 3
PARAMS = ContrastParams()


def session_grids(name, **changes):
    session = simulate_session(named(name, **changes))
    totals = [sum_stack(stack.frames) for stack in session]
    return [block_means(t.total(), outlier_mask(t).mask, PARAMS.blocks) for t in totals]


def flat(rng, contrast=0.0, blocks=6, counts=20_000.0, pixels=1000):
    edge = 1 - contrast * (np.arange(blocks) < blocks // 2)
    means = rng.poisson(counts * edge * np.ones((blocks, blocks))) / (counts / 20)
    return BlockMeans(means, np.full((blocks, blocks), pixels))


def verdicts(grids, radius=RADIUS, params=PARAMS):
    return [v.usable for v in judge_contrast(grids, radius, params)]


@pytest.mark.parametrize("name", ["standard", "mature"])
def test_carbon_and_ice_are_found_and_nothing_else(name):
    bad = {1, 4, 9, 11}
    grids = session_grids(
        name, shape=(320, 320), stacks=14, carbon=(4, 11), ice=(1, 9), carbon_strength=0.1, ice_strength=0.2
    )

    assert {k for k, usable in enumerate(verdicts(grids)) if not usable} == bad


@pytest.mark.parametrize("seed", [1, 2])
def test_a_clean_session_has_no_high_contrast(seed):
    found = judge_contrast(session_grids("evolving", shape=(320, 320), stacks=10, seed=seed), RADIUS, PARAMS)

    assert all(v.usable for v in found)
    assert max(v.score for v in found) < PARAMS.floor <= min(v.limit for v in found)


def test_the_fixed_pattern_divides_out():
    rng = np.random.default_rng(1)
    pattern = 1 + rng.normal(0, 0.2, (6, 6))
    grids = [flat(rng) for _ in range(8)]

    assert all(verdicts([BlockMeans(g.means * pattern, g.pixels) for g in grids]))


def test_the_limit_is_twice_the_lower_quartile_or_the_floor():
    rng = np.random.default_rng(9)
    spread = [0.06, 0.06, 0.06, 0.06, 0.06, 0.09, 0.25]
    grids = [BlockMeans(1000 * (1 + rng.normal(0, s, (12, 12))), np.full((12, 12), 1000)) for s in spread]

    found = judge_contrast(grids, 10, PARAMS)

    scores = [v.score for v in found]
    assert all(v.limit == pytest.approx(2 * np.quantile(scores, 0.25)) for v in found)
    assert [v.usable for v in found] == [True] * 6 + [False]
    assert all(v.limit == 1.0 for v in judge_contrast(grids, 10, ContrastParams(floor=1.0)))


def test_the_dose_does_not_matter():
    rng = np.random.default_rng(2)
    grids = [flat(rng, counts=c) for c in (5e3, 1e4, 2e4, 4e4, 8e4)]

    assert all(verdicts(grids))


def test_counting_alone_gives_no_score():
    rng = np.random.default_rng(3)
    scores = []
    for _ in range(10):
        pixels = np.full((8, 8), 50)
        grids = [BlockMeans(rng.poisson(50.0, (8, 8)) * 1.0, pixels) for _ in range(20)]
        poisson = [BlockMeans(rng.poisson(50 * 50, (8, 8)) / 50, pixels) for _ in range(20)]
        scores.append(np.median([v.score for v in judge_contrast(poisson, 20, PARAMS)]))
        assert (
            np.median([v.score for v in judge_contrast(grids, 20, PARAMS)]) > 0.1
        )  # the same grid of fewer counts

    assert np.mean(scores) < 0.01


@settings(max_examples=25)
@given(
    bad=st.sets(st.integers(0, 29)),
    j=st.integers(0, 29),
    radius=st.integers(1, 8),
    history=st.integers(9, 20),
    seed=st.integers(0, 99),
)
def test_decided_by_the_history_up_to_one_radius_later_alone(bad, j, radius, history, seed):
    rng = np.random.default_rng(seed)
    grids = [flat(rng, 0.3 * (k in bad)) if k % 7 else None for k in range(30)]
    params = ContrastParams(history=history)

    stop = min(j + radius + 1, 30)
    start = max(0, stop - history)
    alone = judge_contrast(grids[start:stop], radius, params)[j - start]

    assert repr(alone) == repr(judge_contrast(grids, radius, params)[j])


def test_later_stacks_change_nothing_that_is_final():
    rng = np.random.default_rng(4)
    grids = [flat(rng, 0.3 * (k % 5 == 1)) for k in range(60)]
    params = ContrastParams(history=20)

    for n in (8, 25, 59):
        final = n - RADIUS
        assert (
            judge_contrast(grids[:n], RADIUS, params)[:final] == judge_contrast(grids, RADIUS, params)[:final]
        )


def test_a_stack_without_a_mask_is_never_usable_and_has_no_say():
    rng = np.random.default_rng(5)
    grids = [flat(rng) for _ in range(6)]

    found = judge_contrast([*grids[:3], None, *grids[3:]], 10, PARAMS)

    assert not found[3].usable
    assert math.isnan(found[3].score)
    assert [v for k, v in enumerate(found) if k != 3] == judge_contrast(grids, 10, PARAMS)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_fewer_than_three_stacks_cannot_be_judged(number):
    rng = np.random.default_rng(6)
    found = judge_contrast([None, *[flat(rng, 0.5) for _ in range(number)]], 10, PARAMS)

    assert len(found) == number + 1
    assert all(math.isnan(v.score) for v in found)


def test_no_stack_has_a_mask():
    assert verdicts([None, None]) == [False, False]


@pytest.mark.parametrize("hidden", [math.nan, 0.0], ids=["masked", "dark"])
@pytest.mark.parametrize("where", [slice(None), slice(2, 3), slice(0, 6)], ids=["all", "one", "most"])
def test_blocks_without_pixels_or_counts_have_no_say(hidden, where):
    rng = np.random.default_rng(7)
    grids = [flat(rng, 0.3 * (k == 4)) for k in range(8)]
    for grid in grids[where]:
        grid.means[1, 2] = hidden
        grid.pixels[1, 2] = 0 if math.isnan(hidden) else 10

    usable = verdicts(grids)

    if hidden == 0.0 and where != slice(None):
        assert not usable[4]  # a block that is dark in some stacks alone is contrast
    else:
        assert usable == [k != 4 for k in range(8)]


def test_stacks_of_another_grid_are_judged_among_themselves():
    rng = np.random.default_rng(8)
    small, large = [flat(rng, blocks=4) for _ in range(4)], [flat(rng, blocks=8) for _ in range(4)]

    found = judge_contrast([g for pair in zip(small, large, strict=True) for g in pair], 20, PARAMS)

    assert found[::2] == judge_contrast(small, 20, PARAMS)
    assert found[1::2] == judge_contrast(large, 20, PARAMS)


@given(ny=st.integers(1, 40), nx=st.integers(1, 40), blocks=st.integers(2, 20), seed=st.integers(0, 99))
def test_block_means_leave_out_what_is_masked(ny, nx, blocks, seed):
    rng = np.random.default_rng(seed)
    total, mask = rng.poisson(30.0, (ny, nx)) * 1.0, rng.random((ny, nx)) < 0.3
    total[mask] = math.nan

    grid = block_means(total, mask, blocks)

    assert grid.means.shape == (min(blocks, ny), min(blocks, nx))
    assert grid.pixels.sum() == np.count_nonzero(~mask)
    seen = grid.pixels > 0
    assert np.isnan(grid.means[~seen]).all()
    assert (grid.means[seen] * grid.pixels[seen]).sum() == pytest.approx(total[~mask].sum())


def test_block_means_of_even_blocks():
    total = np.arange(64.0).reshape(8, 8)

    grid = block_means(total, np.zeros((8, 8), bool), 2)

    assert (grid.means == total.reshape(2, 4, 2, 4).mean(axis=(1, 3))).all()
    assert (grid.pixels == 16).all()
    assert grid.relative.mean() == pytest.approx(1)
    assert grid.poisson == pytest.approx((1 / (16 * grid.means)).mean())


def reference_judge(grids, radius, params):
    """`judge_contrast` in NumPy, stack by stack."""
    known = [None if g is None else (g.relative, g.poisson) for g in grids]
    return [reference_judge_one(known, j, radius, params) for j in range(len(known))]


def reference_judge_one(known, j, radius, params):
    if known[j] is None:
        return Usability(False, np.nan, np.nan)
    stop = min(j + radius + 1, len(known))
    start = min(max(0, stop - params.history), j)
    places = [i for i in range(start, stop) if known[i] and known[i][0].shape == known[j][0].shape]
    if len(places) < 3:
        return Usability(True, np.nan, np.nan)
    relative, poisson = np.stack([known[i][0] for i in places]), np.array([known[i][1] for i in places])
    accepted = np.ones(len(places), bool)
    for _ in range(5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            median = np.nanmedian(relative[accepted], axis=0)
            ratio = relative / np.where(median > 0, median, np.nan)
            scores = np.sqrt(np.maximum(0, np.nanvar(ratio, axis=(1, 2)) - poisson))
        limit = max(params.floor, params.factor * float(np.quantile(scores, 0.25)))
        before, accepted = accepted, scores <= limit
        if (before == accepted).all() or accepted.sum() < 3:
            break
    score = scores[places.index(j)]
    return Usability(bool(score <= limit), float(score), float(limit))


@settings(max_examples=60)
@given(
    number=st.integers(1, 40),
    shapes=st.lists(st.tuples(st.integers(2, 18), st.integers(2, 18)), min_size=1, max_size=2),
    hidden=st.sampled_from([0.0, 0.05, 0.5]),
    floor=st.sampled_from([0.0, 0.04]),
    radius=st.integers(1, 8),
    history=st.integers(9, 30),
    seed=st.integers(0, 9999),
)
def test_to_the_bit_what_numpy_gives(number, shapes, hidden, floor, radius, history, seed):
    rng = np.random.default_rng(seed)

    def grid():
        shape = shapes[rng.integers(len(shapes))]
        pixels = np.where(rng.random(shape) < hidden, 0, 800)
        pixels.flat[0] = 800
        edge = 1 - 0.3 * (rng.random() < 0.2) * (np.arange(shape[1]) < shape[1] / 2)
        return BlockMeans(np.where(pixels > 0, rng.poisson(50 * edge, shape), np.nan), pixels)

    grids = [grid() if rng.random() < 0.9 else None for _ in range(number)]
    params = ContrastParams(floor=floor, history=history)

    assert repr(judge_contrast(grids, radius, params)) == repr(reference_judge(grids, radius, params))

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from benchmarks.truth import hot_sigmas
from mrcz_dask.numerics.simulate import SimulationParams, StackTruth, named, simulate_session
from mrcz_dask.values.errors import ParameterError

SMALL = named(
    "evolving", shape=(96, 112), frames=12, stacks=5, seed=3, hot=(0.01, 0.02), dead=0.002, additive=0.05
)
OFF = ("etch", "cmos", "pixel", "evolve", "additive", "specimen", "dead", "dose_jitter")
QUIET: dict[str, Any] = dict.fromkeys(OFF, 0.0) | {
    "hot": (0.0, 0.0),
    "shape": (96, 112),
    "frames": 20,
    "stacks": 2,
}


def same(one: StackTruth, other: StackTruth, *names: str) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_a_stack_alone_is_that_of_the_whole_session() -> None:
    whole = list(simulate_session(SMALL))
    session = simulate_session(SMALL)
    for i in (4, 0, 3):
        for alone in (session.stack(i), simulate_session(SMALL).stack(i)):
            assert np.array_equal(alone.frames, whole[i].frames)
            assert same(alone.truth, whole[i].truth, *(f.name for f in fields(StackTruth)))


def test_shapes_dtypes_and_length() -> None:
    session = simulate_session(SMALL)
    stack = session.stack(0)
    assert len(session) == 5
    assert stack.frames.shape == (12, 96, 112)
    assert stack.frames.dtype == np.uint8
    assert stack.truth.drift.shape == (12, 2)
    for name in ("hot_excess", "pattern", "additive", "illumination", "expected_sum"):
        assert getattr(stack.truth, name).dtype == np.float32
        assert getattr(stack.truth, name).shape == (96, 112)


def test_a_session_without_effects_is_poisson() -> None:
    stack = simulate_session(SimulationParams(**QUIET)).stack(1)
    counts = stack.frames.astype(float)
    assert counts.mean() == pytest.approx(1, abs=0.01)
    assert counts.var() == pytest.approx(1, abs=0.02)
    assert np.mean(counts == 0) == pytest.approx(np.exp(-1), abs=0.004)
    assert np.allclose(stack.truth.expected_sum, 20)


def test_frames_are_independent() -> None:
    frames = simulate_session(SimulationParams(**QUIET)).stack(0).frames.astype(float) - 1
    assert abs(np.mean(frames[:-1] * frames[1:])) < 0.01


def test_the_truth_agrees_with_the_frames() -> None:
    for stack in simulate_session(SMALL):
        truth = stack.truth
        z = (stack.frames.sum(axis=0) - truth.expected_sum) / np.sqrt(np.maximum(truth.expected_sum, 1e-9))
        live = ~truth.dead & (truth.hot_excess < 30)
        assert z[live].mean() == pytest.approx(0, abs=0.05)
        assert z[live].std() == pytest.approx(1, abs=0.05)
        assert np.abs(z[live]).max() < 7
        assert not stack.frames[:, truth.dead].any()


def test_masks_are_hot_or_dead() -> None:
    truth = simulate_session(SMALL).stack(2).truth
    assert np.array_equal(truth.mask, truth.hot | truth.dead)
    assert not (truth.hot & truth.dead).any()
    assert np.array_equal(truth.hot, truth.hot_excess > 0)
    assert np.array_equal(hot_sigmas(truth) > 0, truth.hot)


def test_sigmas_are_excess_over_the_clean_sum() -> None:
    truth = simulate_session(SimulationParams(**QUIET | {"hot": (0.01, 0.01)})).stack(0).truth
    expected = 20 * truth.hot_excess[truth.hot] / np.sqrt(20)
    assert np.allclose(hot_sigmas(truth)[truth.hot], expected, rtol=1e-3)


def test_the_pattern_has_mean_1_and_the_stds_of_its_parts() -> None:
    pattern = simulate_session(named("evolving", shape=(192, 192), gamma=1.0)).stack(3).truth.pattern
    assert pattern.mean() == pytest.approx(1, abs=1e-6)
    assert pattern.var() == pytest.approx(0.03**2 + 0.015**2 + 0.01**2 + 0.02**2, rel=0.2)


def test_gamma_scales_the_etching_with_the_dose_rate() -> None:
    only: dict[str, Any] = {"cmos": 0.0, "pixel": 0.0, "dose_jitter": 0.0, "shape": (96, 96)}
    slow, fast = (simulate_session(named("standard", dose=d, **only)).pattern(0).std() for d in (0.1, 2.7))
    gamma = [0.12 * r**-1.04 - 0.0336 * r + 1.04 for r in (0.1 / 0.3, 9.0)]
    assert slow / fast == pytest.approx(gamma[0] / gamma[1], rel=0.02)


@pytest.mark.parametrize(
    ("off", "changed"),
    [
        ({"etch": 0.0}, {"pattern", "expected_sum"}),
        ({"cmos": 0.0}, {"pattern", "expected_sum"}),
        ({"evolve": 0.0}, {"pattern", "expected_sum"}),
        ({"additive": 0.0}, {"additive", "expected_sum"}),
        ({"specimen": 0.0}, {"noiseless", "expected_sum"}),
        ({"drift": 0.0}, {"drift", "noiseless", "expected_sum"}),
        ({"dead": 0.0}, {"dead", "expected_sum", "hot", "hot_excess"}),
        ({"hot": (0.0, 0.0)}, {"hot", "hot_excess", "expected_sum"}),
        ({"carbon": (2,)}, {"illumination", "noiseless", "expected_sum"}),
        ({"edge": 0.15}, {"noiseless", "expected_sum"}),
        ({"gradient": 0.2}, {"illumination", "noiseless", "expected_sum"}),
        ({"same_area": 2}, {"noiseless", "expected_sum"}),
        ({"tilts": 3}, {"noiseless", "expected_sum"}),
        ({"new_gain": (2,)}, {"pattern", "expected_sum"}),
        ({"dose_jumps": (1,), "dose_factors": (1.5,)}, {"dose", "pattern", "noiseless", "expected_sum"}),
        (
            {"dose_jumps": (1,), "dose_factors": (1.5,), "gamma": 1.0},
            {"dose", "pattern", "noiseless", "expected_sum"},
        ),
        ({"coincidence": 9.0}, {"expected_sum"}),
    ],
)
def test_one_effect_off_leaves_the_others(off: dict[str, Any], changed: set[str]) -> None:
    truth = simulate_session(SMALL).stack(2).truth
    without = simulate_session(replace(SMALL, **off)).stack(2).truth
    for name in (f.name for f in fields(StackTruth)):
        assert same(truth, without, name) or name in changed
    assert not same(truth, without, "expected_sum")


def test_copied_stacks_hold_the_data_of_the_stack_before() -> None:
    session, copied = (simulate_session(replace(SMALL, copied=which)) for which in ((), (2, 3)))
    for k, original in ((0, 0), (1, 1), (2, 1), (3, 1), (4, 4)):
        np.testing.assert_array_equal(copied.stack(k).frames, session.stack(original).frames)


def test_dead_pixels_do_not_move_the_hot_ones() -> None:
    with_dead = simulate_session(SMALL).stack(2).truth
    without = simulate_session(replace(SMALL, dead=0.0)).stack(2).truth
    assert np.array_equal(with_dead.hot, without.hot & ~with_dead.dead)


def test_another_seed_is_another_session() -> None:
    one, other = (simulate_session(replace(SMALL, seed=s)).stack(0) for s in (3, 4))
    assert not np.array_equal(one.frames, other.frames)
    assert not np.array_equal(one.truth.pattern, other.truth.pattern)


def test_doses_spread_as_asked() -> None:
    session = simulate_session(named("standard", stacks=400, dose=2.0, dose_jitter=0.05))
    doses = np.array([session.dose(i) for i in range(400)])
    assert doses.mean() == pytest.approx(2, rel=0.01)
    assert doses.std() == pytest.approx(0.1, rel=0.15)
    assert np.abs(doses - 2).max() <= 0.3 + 1e-9


@pytest.mark.parametrize(("dtype", "most"), [("int8", 127), ("uint8", 255), ("int16", 32767)])
def test_counts_are_clipped_to_their_type(dtype: Any, most: int) -> None:
    params = SimulationParams(**QUIET | {"dose": 600.0, "dtype": dtype, "frames": 1})
    frames = simulate_session(params).stack(0).frames
    assert frames.dtype == dtype
    assert frames.max() <= most
    assert (frames.min() == most) == (most < 400)


def test_a_dead_pixel_may_still_respond() -> None:
    params = SimulationParams(**QUIET | {"dead": 0.01, "dead_response": 0.25, "dose": 8.0})
    stack = simulate_session(params).stack(0)
    assert stack.frames[:, stack.truth.dead].mean() == pytest.approx(2, rel=0.1)


def test_an_index_outside_the_session_is_an_error() -> None:
    for index in (-1, 5):
        with pytest.raises(ParameterError, match="0 <= index < 5"):
            simulate_session(SMALL).stack(index)


def test_a_new_gain_is_drawn_anew_and_leaves_the_stacks_before_it() -> None:
    still: dict[str, Any] = {"etch": 0.0, "gamma": 1.0, "dose_jitter": 0.0, "shape": (128, 128), "stacks": 9}
    one = simulate_session(named("standard", **still))
    other = simulate_session(named("standard", **still, new_gain=(3, 6)))
    patterns = [other.pattern(i) - 1 for i in range(9)]
    for i in (0, 2):
        assert np.array_equal(one.pattern(i), other.pattern(i))
    for i, j, same in ((0, 2, True), (2, 3, False), (3, 5, True), (5, 6, False), (0, 6, False), (6, 8, True)):
        rho = np.corrcoef(patterns[i].ravel(), patterns[j].ravel())[0, 1]
        assert rho == pytest.approx(1 if same else 0, abs=0.25)
    assert patterns[0].std() == pytest.approx(patterns[8].std(), rel=0.1)
    assert np.array_equal(other.pattern(1), one.pattern(1))  # in any order


def test_a_new_gain_begins_the_evolving_pattern_anew() -> None:
    only: dict[str, Any] = {"etch": 0.0, "cmos": 0.0, "pixel": 0.0, "dose_jitter": 0.0, "shape": (96, 96)}
    session = simulate_session(named("evolving", **only, tau=1e6, new_gain=(4,)))
    flat = [session.pattern(i).ravel() for i in range(8)]
    assert np.corrcoef(flat[0], flat[3])[0, 1] > 0.99
    assert np.corrcoef(flat[4], flat[7])[0, 1] > 0.99
    assert abs(np.corrcoef(flat[3], flat[4])[0, 1]) < 0.5


def test_jumps_of_dose_multiply() -> None:
    params = named("standard", dose=2.0, dose_jitter=0.0, dose_jumps=(10, 20), dose_factors=(1.5, 0.5))
    session = simulate_session(params)
    assert [session.dose(i) for i in (0, 9, 10, 19, 20, 59)] == pytest.approx([2, 2, 3, 3, 1.5, 1.5])


def test_coincidence_loses_what_a_crowd_expects() -> None:
    params = SimulationParams(**QUIET | {"dose": 8.0, "frames": 4, "coincidence": 9.0})
    stack = simulate_session(params).stack(0)
    crowd = 9 * 8 / (400 * 0.3)  # electrons near one, in the same of 400 frames a second
    expected = 8 * (1 - np.exp(-crowd)) / crowd
    assert stack.frames.mean() == pytest.approx(expected, rel=0.005)
    assert stack.truth.expected_sum.mean() == pytest.approx(4 * expected, rel=1e-5)


def test_coincidence_flattens_the_pattern() -> None:
    bright: dict[str, Any] = QUIET | {"dose": 20.0, "pixel": 0.03}
    sums = [
        simulate_session(SimulationParams(**bright, coincidence=pixels)).stack(0).truth.expected_sum
        for pixels in (0.0, 9.0)
    ]
    spread = [s.std() / s.mean() for s in sums]
    assert spread[0] == pytest.approx(0.03, rel=0.01)
    assert 0.3 * spread[0] < spread[1] < 0.6 * spread[0]

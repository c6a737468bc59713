"""The pattern's variance is measured without bias, and what a session gained or lost follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from mrcz_dask.numerics.reference.common_pattern import common_pattern
from mrcz_dask.numerics.reference.evidence import (
    NEGLIGIBLE,
    SCALES,
    StackEvidence,
    mean_of,
    negligible,
    session_evidence,
    stack_evidence,
)
from mrcz_dask.numerics.reference.koma import Pattern, PatternFit
from mrcz_dask.numerics.reference.movement import Movement
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.values.params import KomaParams

SHAPE = (256, 192)
KOMA = KomaParams()


def fitted(
    pattern: np.ndarray, noise: float, seed: int, neighbors: int = 24
) -> tuple[Pattern, Pattern, np.ndarray]:
    """Return fits to all and to even frames of a stack of two halves, and its mask."""
    rng, shape = np.random.default_rng(seed), pattern.shape
    odd, even = (1 + pattern + rng.normal(0, noise * 2**0.5, shape) for _ in range(2))
    reference = pattern + rng.normal(0, noise / neighbors**0.5, shape)
    mask = rng.random(shape) < 0.01
    finder = PatternFit([reference.astype("f4")], KOMA)
    whole = finder.find(MeanImage(((odd + even) / 2).astype("f4")), 1.0, mask)
    return whole, finder.find(MeanImage(even.astype("f4")), 1.0, mask), mask


def evidence(pattern: np.ndarray, noise: float, seed: int = 0) -> StackEvidence:
    whole, even, mask = fitted(pattern, noise, seed)
    found = stack_evidence(
        whole, even, (2.0, 1.0), int((~mask).sum()), noise**2, Movement(0.1, 1.0, 0.04), 0, False
    )
    assert found is not None
    return found


def patterns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    across, down = rng.normal(size=(1, SHAPE[1])), rng.normal(size=(SHAPE[0], 1))
    return {
        "columns": np.broadcast_to(across, SHAPE),
        "rows": np.broadcast_to(down, SHAPE),
        "pixels": rng.normal(size=SHAPE),
        "smooth": gaussian_filter(rng.normal(size=(512, 512)), 10) * 35,
    }


@pytest.mark.parametrize("scale", SCALES)
def test_a_pattern_is_found_at_its_scale_with_its_variance(scale: str) -> None:
    pattern = 0.02 * patterns()[scale]
    found = [evidence(pattern, 0.1, seed) for seed in range(4)]
    shares = np.mean([one.pattern for one in found], axis=0)
    assert SCALES[int(np.argmax(shares))] == scale
    # waves that are longer than a quarter of the image are nobody's
    assert shares.sum() == pytest.approx(pattern.var(), rel=0.5 if scale == "smooth" else 0.25)
    # it goes, as far as the noise of the reference allows, from frames that the fit has not seen
    assert np.sum([one.removed for one in found]) > 0.3 * np.sum([one.pattern for one in found])


def test_the_error_is_that_of_chance() -> None:
    found = [evidence(np.zeros(SHAPE), 0.2, seed) for seed in range(40)]
    scores = np.array([one.pattern[:3] for one in found]) / np.array([one.error[:3] for one in found])
    assert np.abs(scores.mean(axis=0)).max() < 0.6
    np.testing.assert_allclose(scores.std(axis=0), 1, atol=0.35)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.floats(0, 0.002), noise=st.sampled_from([0.002, 0.01, 0.2]))
def test_a_pattern_is_not_worth_it_only_if_its_limit_is_below_that(
    seed: int, size: float, noise: float
) -> None:
    whole, _, mask = fitted(size * patterns()["pixels"], noise, seed)
    highest = negligible(whole, int((~mask).sum()))
    assert highest is None or 0 <= highest < NEGLIGIBLE
    if noise == 0.2 or size > 1.3 * NEGLIGIBLE:
        assert highest is None
    if noise == 0.002 and size < 0.5 * NEGLIGIBLE:
        assert highest is not None


def test_smooth_structure_is_worth_it() -> None:
    whole, _, mask = fitted(0.01 * patterns()["smooth"], 0.002, 0)
    assert negligible(whole, int((~mask).sum())) is None


def test_without_a_regression_nothing_is_said() -> None:
    nothing = Pattern(np.zeros(SHAPE, np.float32))
    assert negligible(nothing, 1) is None and session_evidence([]) is None
    assert stack_evidence(nothing, nothing, (2.0, 1.0), 1, None, Movement(), 0, False) is None


def stacks(n: int = 30, **changes: Any) -> list[StackEvidence]:
    rng = np.random.default_rng(3)

    def four(value: float) -> tuple[float, ...]:
        return tuple(float(v) for v in value * (1 + 0.1 * rng.normal(size=4)))

    values: dict[str, Any] = {"pattern": 1e-4, "error": 1e-6, "lasting": 1e-4, "removed": 8e-5} | changes
    by_scale = {k: four(values.pop(k)) for k in ("pattern", "error", "lasting", "removed")}
    usual = {"noise": 0.04, "movement": Movement(0.0, 1.0, 0.01).to_dict()}
    return [StackEvidence(**by_scale | usual | values) for _ in range(n)]


def test_a_session_that_gains() -> None:
    varied = [one for _ in range(2) for one in stacks(removed=8e-5) + stacks(removed=7e-5)]
    found = session_evidence(varied)
    assert found is not None and found.has_pattern and found.helps and not found.harms
    before, after = found.derating(found.fine), found.derating(found.after)
    assert before is not None and after is not None
    assert before.value == pytest.approx(3e-4 / (3e-4 + 0.04), rel=0.1) and after.value < 0.4 * before.value
    assert StackEvidence.from_dict(varied[0].to_dict()) == varied[0]


@pytest.mark.parametrize(
    "harm", [{"movement": Movement(0.8, 1.0, 0.5).to_dict()}, {"same_specimen": 4}, {"unlike": True}]
)
def test_what_takes_the_specimen_is_never_a_help(harm: dict[str, Any]) -> None:
    found = session_evidence(stacks(removed=8e-5, **harm) + stacks(removed=7e-5, **harm))
    assert found is not None and found.harms and not found.helps


def test_the_error_of_a_mean_counts_each_pair_once() -> None:
    rng = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(400):
        images = rng.normal(size=(20, 50))
        total = images.sum(axis=0)
        shared = [float((one * (total - one)).mean()) for one in images]
        mean = mean_of(shared)
        means.append(mean.value)
        errors.append(mean.error)
    assert np.std(means) == pytest.approx(np.mean(errors), rel=0.15)


@pytest.mark.parametrize("pattern", [0.0, 0.01])
@pytest.mark.parametrize("hot", [0.0, 0.03])
def test_parts_of_a_session_share_the_pattern_and_no_hot_pixels(pattern: float, hot: float) -> None:
    rng, shape, pairs = np.random.default_rng(1), (384, 400), [(0, 2), (0, 3), (1, 3)]
    common = pattern * rng.standard_normal(shape)
    parts = [(common + 0.05 * rng.standard_normal(shape)).astype("f4") for _ in range(4)]
    for part in parts[:2], parts[1:]:
        sites = rng.random(shape) < hot / 2
        for image in part:
            image[sites] += 0.3
    found = common_pattern(parts, pairs)
    assert found is not None and found.error < 5e-6
    assert found.value == pytest.approx(pattern**2, abs=3 * found.error + 0.1 * pattern**2)
    assert common_pattern(parts, []) is None and common_pattern([part[:60] for part in parts], pairs) is None

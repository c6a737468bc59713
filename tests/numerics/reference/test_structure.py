"""What stacks of a window share is told from the detector's by smooth structure and drift."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.reference import structure
from mrcz_dask.numerics.reference.structure import CoarseStack
from mrcz_dask.numerics.simulate import named, simulate_session

SHAPE = (192, 192)


@cache
def coarse(**params: Any) -> tuple[list[CoarseStack], np.ndarray]:
    """Return the coarse stacks of a simulated session, and the mean of their sums relative to the dose."""
    session = simulate_session(named(params.pop("session", "standard"), shape=SHAPE, **params))
    stacks, reference = [], np.zeros(SHAPE)
    for one in session:
        frames, mask = one.frames.astype(np.int64), one.truth.hot | one.truth.dead
        half, total = len(frames) // 2, frames.sum(axis=0)
        means = [
            [structure.coarse_means(frames[:stop][k::2].sum(axis=0)) for stop in (half, len(frames))]
            for k in (0, 1)
        ]
        numbers = [[len(frames[:stop][k::2]) for stop in (half, len(frames))] for k in (0, 1)]
        differences = [
            structure.early_less_late(early, m, whole, n)
            for (early, whole), (m, n) in zip(means, numbers, strict=True)
        ]
        counts = float(total[~mask].mean())
        image = structure.coarse_image(total, mask)
        stacks.append(CoarseStack(image, np.array(differences), counts))
        reference += np.where(mask, counts, total) / counts / len(session)
    return stacks, reference


EDGE = {"session": "hole edge", "stacks": 25, "frames": 12}


@pytest.mark.parametrize("jitter", [0.0, 5.0])
def test_the_edge_of_a_hole_is_smooth_structure_that_moves(jitter: float) -> None:
    stacks, _ = coarse(edge=0.3, aim_error=jitter, **EDGE)
    found = structure.movement_of_reference(stacks[12], [*stacks[:12], *stacks[13:]])
    assert found.seen and found.share == pytest.approx(1, abs=0.6)


def test_independent_specimens_have_nothing_in_common() -> None:
    stacks, reference = coarse(stacks=25, frames=12)
    for k in (0, 6, 12, 18, 24):
        assert not structure.movement_of_reference(stacks[k], [*stacks[:k], *stacks[k + 1 :]]).seen
    assert structure.smooth_deviation(structure.coarse_means(reference)) < 0.02


def test_without_smooth_structure_the_edge_is_gone_and_the_pattern_is_left() -> None:
    _, with_edge = coarse(edge=0.3, aim_error=0.0, **EDGE)
    image = with_edge.astype(np.float32)
    cleaned = structure.without_smooth(image, structure.coarse_means(image))
    assert cleaned.mean() == pytest.approx(image.mean(), abs=1e-5)
    assert structure.smooth_deviation(structure.coarse_means(cleaned)) < 0.01
    rough = image - np.asarray(structure.expand(structure.coarse_means(image), SHAPE))
    left = cleaned - np.asarray(structure.expand(structure.coarse_means(cleaned), SHAPE))
    np.testing.assert_allclose(left, rough, atol=0.02)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(0.2, 5.0),
    st.floats(0.2, 5.0),
)
def test_a_pattern_that_stays_is_not_in_the_difference(
    seed: int, n_early: int, n_late: int, early_dose: float, late_dose: float
) -> None:
    pattern = 1 + 0.2 * np.random.default_rng(seed).standard_normal((5, 7))
    early, late = early_dose * n_early * pattern, late_dose * n_late * pattern
    difference = structure.early_less_late(early, n_early, early + late, n_early + n_late)
    np.testing.assert_allclose(difference, 0, atol=1e-12)


def test_halves_without_frames_or_counts_tell_nothing() -> None:
    some, nothing = np.ones((3, 3)), np.zeros((3, 3))
    for early, n_early, whole, n in ((nothing, 0, some, 4), (some, 4, some, 4), (nothing, 2, nothing, 4)):
        assert not structure.early_less_late(early, n_early, whole, n).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 130), (200, 131), (400, 512)])
def test_coarse_means_are_means_of_blocks(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(-9, 99, shape).astype(np.int16)
    means = structure.coarse_means(image)
    assert means.shape == structure.grid(shape)
    rows, columns = structure.block_edges(shape)
    assert means[-1, -1] == pytest.approx(image[rows[-2] :, columns[-2] :].mean())
    assert structure.expand(means, shape).shape == shape
    np.testing.assert_allclose(structure.expand(np.full_like(means, 3.0), shape), 3.0)


def test_masked_pixels_are_not_in_the_coarse_image() -> None:
    total = np.full((128, 128), 7)
    mask = np.zeros(total.shape, bool)
    mask[:8], total[:8] = True, 10_000
    assert not structure.coarse_image(total, mask).any()
    assert not structure.coarse_image(total, np.ones_like(mask)).any()

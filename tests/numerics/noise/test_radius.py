"""The radius to use: the smallest that is not behind the best by more than its error."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.noise.radius import choose_radius
from mrcz_dask.values.errors import ParameterError

RADII = [1, 2, 4, 8, 16]


@given(
    seed=st.integers(0, 2**32 - 1),
    stacks=st.integers(2, 9),
    offset=st.floats(-1, 1),
    scale=st.floats(1e-3, 1e3),
)
def test_it_is_within_the_error_of_the_best(seed, stacks, offset, scale):
    rng = np.random.default_rng(seed)
    scores, without = rng.normal(size=(stacks, len(RADII))), rng.normal(size=stacks)
    found = choose_radius(RADII, scores, without)
    chosen = next(row for row in found.table if row.radius == found.radius)

    assert chosen.mean == pytest.approx(scores[:, RADII.index(found.radius)].mean())
    lost = 0.01 * max(row.gain for row in found.table)
    assert chosen.behind <= min(chosen.behind_error, lost) or chosen.behind == 0
    assert all(row.behind > min(row.behind_error, lost) for row in found.table if row.radius < found.radius)
    # what stacks have in common at all radii, and units, change nothing
    other = choose_radius(RADII, scale * (scores + offset), scale * (without + offset))
    assert other.radius == found.radius and other.helps == found.helps


def test_noise_that_the_radii_share_does_not_blur_the_choice():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1, (8, 1))
    scores = shared + np.array([0.5, 0.3, 0.1, 0.2, 0.4]) + rng.normal(0, 0.001, (8, 5))

    found = choose_radius(RADII, scores, shared[:, 0] + 1)

    assert found.radius == 4 and found.helps
    assert "held-out R of 8 stacks is lowest at 4" in found.reason


def test_of_radii_that_are_alike_the_smallest():
    scores = [[3.0, 1.0, 1.2, 1.5, 1.5], [3.1, 1.3, 1.0, 1.5, 1.5], [3.0, 1.3, 1.3, 1.5, 1.5]]

    found = choose_radius(RADII, scores, [5.0] * 3)

    assert found.radius == 2 and "is behind by no more than the error" in found.reason


def test_a_loss_that_the_error_hides_is_not_taken():
    scores = [[3.0, 1.0], [3.0, 2.9], [1.0, 2.5]]  # the first is behind by .2 of 8, with an error of .99

    assert choose_radius([6, 12], scores, [10.0] * 3).radius == 12


def test_the_end_of_the_range_and_no_help_are_said():
    scores = [[5.0, 4.0, 3.0, 2.0, 1.0], [5.1, 4.1, 3.1, 2.1, 1.1]]

    found = choose_radius(RADII, scores, [1.0, 1.1])

    assert found.radius == 16 and not found.helps
    assert "largest that was tried" in found.reason and "does not lower R beyond chance" in found.reason


def test_one_stack_has_no_error():
    found = choose_radius([1, 2], [[2.0, 1.0]], [3.0])

    assert found.radius == 2 and math.isnan(found.table[0].error) and "one stack has no error" in found.reason
    assert found.to_dict()["table"][1]["gain"] == 2


@pytest.mark.parametrize("scores", [[], [[1.0]], [1.0, 2.0]])
def test_sizes_that_do_not_go_together(scores):
    with pytest.raises(ParameterError, match=r"expected \(stacks, radii\)"):
        choose_radius([1, 2], scores, [1.0])

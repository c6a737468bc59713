"""How much of a pattern is left, by sketches, against patterns that are known."""

import numpy as np
import pytest

from mrcz_dask.numerics.session.likeness import Halves, session_pattern, share_left
from mrcz_dask.numerics.session.sketch import sketch

SHAPE = (256, 256)
NOTHING = np.zeros(SHAPE, bool)


def night(pattern: np.ndarray, seed: int, counts: float = 200.0, stacks: int = 8) -> Halves:
    rng = np.random.default_rng(seed)
    sums = [rng.poisson(counts * (1 + pattern)) for _ in range(stacks)]
    found = session_pattern(
        [sketch(one, NOTHING, int(rng.integers(2**62))) for one in sums], [counts] * stacks, SHAPE
    )
    assert found is not None
    return found


def drawn(seed: int, size: float = 0.02) -> np.ndarray:
    return size * np.random.default_rng(1000 + seed).standard_normal(SHAPE)


@pytest.mark.parametrize("counts", [50.0, 200.0, 800.0])
def test_the_same_pattern_is_all_left_at_any_dose(counts: float) -> None:
    left = share_left(night(drawn(0), 1), night(drawn(0), 2, counts))
    assert left is not None and abs(left.value - 1) < max(0.15, 3 * left.error)


def test_another_pattern_has_nothing_of_it() -> None:
    left = share_left(night(drawn(0), 1), night(drawn(1), 2))
    assert left is not None and abs(left.value) < 4 * left.error < 0.4


def test_a_pattern_that_is_gone_is_seen() -> None:
    """As after a gain reference that leaves nothing."""
    left = share_left(night(drawn(0), 1), night(0 * drawn(0), 2))
    assert left is not None and abs(left.value) < 4 * left.error


def test_what_comes_in_addition_does_not_count() -> None:
    left = share_left(night(drawn(0, 0.01), 1), night(drawn(0, 0.01) + drawn(1, 0.01), 2))
    assert left is not None and abs(left.value - 1) < max(0.15, 3 * left.error)


def test_a_pattern_that_is_not_there_tells_nothing() -> None:
    assert share_left(night(0 * drawn(0), 1), night(drawn(0), 2)) is None


def test_one_stack_and_small_images_have_none() -> None:
    assert session_pattern([b""], [1.0], (2, 2)) is None
    assert session_pattern([b"", b""], [1.0, 1.0], (2, 2)) is None


def test_a_change_in_the_middle_of_a_session_is_seen_in_the_next() -> None:
    before, after = ([night(drawn(seed), 10 * seed + k) for k in range(4)] for seed in (0, 1))
    mixed = np.stack([before[3][0], after[3][1]])
    left = share_left(np.mean([*before[:3], mixed], axis=0), after[0])
    assert left is not None and left.value + 3 * left.error < 0.5

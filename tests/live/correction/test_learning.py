"""What a stack teaches: from whom mask, pattern and fill are."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mrcz_dask.live.correction.learning import Learner, LiveSum
from mrcz_dask.numerics.gain.gain import Gain
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.values.errors import OutlierError
from mrcz_dask.values.params import KomaParams, Settings

SHAPE = (96, 80)
HOT = (slice(None, None, 31), slice(None, None, 29))


def summed(name: str, seed: int, frames: int = 20, hot: float = 0.0) -> LiveSum:
    image = 3 * (1 + 0.1 * np.random.default_rng(0).standard_normal(SHAPE))
    image[HOT] += hot
    values = np.random.default_rng((1, seed)).poisson(frames * image).astype(np.int16)
    return LiveSum(name, StackSum(values, 0, frames))


def learner(**koma: Any) -> Learner:
    return Learner(SHAPE, Settings(koma=KomaParams(radius=3, **koma)), None, 0)


def weight(applied: Any) -> NDArray[np.uint8]:
    assert applied.correction is not None
    found: NDArray[np.uint8] = applied.correction.correction.weight
    return found


def test_a_look_keeps_the_smaller_of_two_weights() -> None:
    one, so_far = learner(), summed("new", 1, 8, hot=10)
    before = one.learn(summed("old", 0))
    found = one.update_mask(so_far)
    own = outlier_mask(so_far.total).weight255
    np.testing.assert_array_equal(weight(found), np.minimum(weight(before), own))
    assert (weight(found)[HOT] == 0).all() and (weight(before)[HOT] > 128).any()
    assert found.about["mask"] == {"old": 20, "new": 8} and found.notes is None


def test_a_look_changes_nothing_of_what_is_learned() -> None:
    with_looks, without = learner(method="plain"), learner(method="plain")
    for k in range(4):
        with_looks.update_mask(summed("s", 10 + k, 5))
        first, second = with_looks.learn(summed("s", k)), without.learn(summed("s", k))
    assert first.correction is not None and second.correction is not None
    assert first.correction.pattern.tobytes() == second.correction.pattern.tobytes()
    assert first.correction.correction.fill.tobytes() == second.correction.correction.fill.tobytes()


def test_a_stack_of_nothing_is_not_learned_from() -> None:
    one = learner()
    empty = LiveSum("blank", StackSum(np.zeros(SHAPE, np.int16), 0, 5))
    assert one.learn(empty).correction is None
    known = one.learn(summed("s0", 0))
    after = one.learn(empty)
    assert after.notes is not None and "blank: outlier mask degenerate" in after.notes[0]
    assert after.about == known.about and (weight(after) == weight(known)).all()


def test_a_stack_without_finite_pixels_is_an_error() -> None:
    nothing = StackSum(np.zeros(SHAPE, np.int64), 5, 3, np.ones(SHAPE, bool))
    with pytest.raises(OutlierError):
        Learner(SHAPE, Settings(), None, 5).learn(LiveSum("s", nothing))


def test_defects_of_the_gain_are_filled_from_the_beginning() -> None:
    image = np.full(SHAPE, 2, np.float32)
    image[4, 5] = 0
    one = Learner(SHAPE, Settings(), Gain.of(image), 0)
    frame = np.full(SHAPE, 3, np.uint8)
    begun = one.fill_defects(frame)
    assert begun.correction is not None and begun.level == 3
    assert begun.correction.apply(image * 3)[4, 5] == pytest.approx(6)
    assert weight(one.learn(summed("s", 0)))[4, 5] == 0


def test_a_dark_is_no_dose() -> None:
    dark = np.full(SHAPE, 0.5, np.float32)
    one = Learner(SHAPE, Settings(), Gain.of(np.ones(SHAPE, np.float32), dark=dark), 0)
    assert one.level(3.0) == pytest.approx(2.5)
    assert one.learn(summed("s", 0)).level == pytest.approx(2.5, rel=0.02)

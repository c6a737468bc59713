"""The stacks that are kept: their sums come back to the bit, and a break leaves those after it."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mrcz_dask.live.correction.learning import LastStacks
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.values.params import KomaParams, Settings

SHAPE = (192, 192)
FRAMES = 30


def pattern(seed: int) -> NDArray[Any]:
    return 1 + 0.08 * np.random.default_rng(seed).standard_normal(SHAPE)


def summed(number: int, image: NDArray[Any], dose: float = 1.0) -> StackSum:
    draws = np.random.default_rng((7, number))
    return StackSum(draws.poisson(FRAMES * dose * image).astype(np.int16), 0, FRAMES)


def filled(stacks: LastStacks, totals: list[StackSum], first: int = 0) -> list[str]:
    said = []
    for number, total in enumerate(totals, first):
        stacks.add(f"s{number}", total, outlier_mask(total))
        said.append(stacks.forget_old_epoch())
    return said


def test_sums_come_back() -> None:
    stacks, total = LastStacks(Settings()), summed(0, pattern(0))
    mask = outlier_mask(total)
    kept = stacks.add("s0", total, mask)
    member = stacks.load(0)
    assert kept.shape == SHAPE and kept.dose == pytest.approx(mask.mean / FRAMES)
    np.testing.assert_array_equal(member.values, total.values)
    assert member.values.dtype == total.values.dtype
    np.testing.assert_array_equal(member.masked, np.flatnonzero(mask.mask))
    assert (member.mean, member.n, member.exponent) == (mask.mean, FRAMES, 0)


def test_no_more_are_kept_than_are_needed() -> None:
    stacks = LastStacks(Settings(koma=KomaParams(radius=2)))
    filled(stacks, [summed(k, pattern(0)) for k in range(40)])
    assert stacks.numbers == list(range(8, 40))
    assert [one.number for one in stacks.usable()] == stacks.numbers


@pytest.mark.parametrize("breaks", ["auto", "none"])
def test_a_new_pattern_parts_stacks_when_four_have_come(breaks: Any) -> None:
    stacks = LastStacks(Settings(koma=KomaParams(radius=4, breaks=breaks)))
    old, new = pattern(0), pattern(1)
    said = filled(stacks, [summed(k, old if k < 8 else new) for k in range(14)])
    if breaks == "none":
        assert said == [""] * 14 and stacks.numbers == list(range(14))
        return
    assert [k for k, one in enumerate(said) if one] == [11]
    assert said[11].startswith("corrections begin anew with s8: a new pattern")
    assert stacks.numbers == list(range(8, 14))


def test_one_odd_dose_parts_nothing() -> None:
    stacks = LastStacks(Settings())
    doses = [1.0] * 6 + [2.0] + [1.0] * 6
    assert not any(filled(stacks, [summed(k, pattern(0), dose) for k, dose in enumerate(doses)]))


def test_verdicts_on_earlier_stacks_change() -> None:
    stacks = LastStacks(Settings())
    edge = np.where(np.arange(SHAPE[1]) < 90, 0.6, 1.2) * pattern(0)
    filled(stacks, [summed(0, edge), summed(1, pattern(0))])
    assert [one.number for one in stacks.usable()] == [0, 1]
    filled(stacks, [summed(k, pattern(0)) for k in (2, 3, 4)], 2)
    assert [one.number for one in stacks.usable()] == [1, 2, 3, 4]

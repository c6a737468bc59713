"""The sum after a gain is the sum of gained frames; of few counts the raw sum tells the outliers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.gain.gain import Gain
from mrcz_dask.numerics.gain.sums import gained_exponent, gained_mask, gained_sum
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.errors import DtypeError
from mrcz_dask.values.params import OutlierParams

SHAPE = (160, 176)


def gain_of(seed: int, *, dark: bool = False, scale: float = 1.0, defects: int = 0) -> Gain:
    rng = np.random.default_rng(seed)
    image = rng.normal(1, 0.05, SHAPE) * scale
    image.flat[rng.choice(image.size, defects, replace=False)] = 0
    return Gain.of(image, dark=rng.uniform(0, 0.2, SHAPE) if dark else None)


@given(
    seed=st.integers(0, 99),
    dose=st.sampled_from([0.05, 1.0, 40.0]),
    dark=st.booleans(),
    scale=st.sampled_from([0.01, 1.0, 300.0]),
    kind=st.sampled_from(["uint8", "int16", "float32"]),
)
def test_the_sum_of_gained_frames(seed: int, dose: float, dark: bool, scale: float, kind: str) -> None:
    """To half a step, and the steps are a hundredth of a count before the gain."""
    stack = np.random.default_rng(seed).poisson(dose, (4, *SHAPE)).astype(kind)
    gain = gain_of(seed, dark=dark, scale=scale, defects=7)
    total = sum_stack(stack)
    found = gained_sum(total, gain)
    off = 0 if gain.dark is None else gain.dark.astype(np.float64)
    expected = ((stack.astype(np.float64) - off) * gain.image).sum(axis=0)
    step = 2.0**-found.exponent
    assert step <= gain.typical * 2.0**-5.4 or found.exponent == 1
    assert np.abs(found.total() - expected)[~gain.bad].max() <= step / 2 + 1e-9 * expected.max()
    assert (found.values[gain.bad] == 0).all()
    assert found.nonfinite is not None
    assert np.array_equal(found.nonfinite, gain.bad)
    assert found.is_counts == (scale == 1)
    assert not any("not finite" in text for text in outlier_mask(found).caveats)


def test_even_frames_can_have_the_steps_of_all() -> None:
    total, gain = sum_stack(np.ones((4, *SHAPE), np.uint8)), gain_of(1)
    found = gained_sum(total, gain, 9)
    assert found.exponent == 9
    assert gained_exponent(total, gain) == 6


def test_a_gain_of_ones_changes_no_mask() -> None:
    stack = np.random.default_rng(3).poisson(0.8, (50, *SHAPE)).astype(np.uint8)
    stack[:, 5, 6], stack[:, 7, 8] = 9, 0
    total = sum_stack(stack)
    mask = gained_mask(total, gained_sum(total, Gain.of(np.ones(SHAPE))), OutlierParams())
    assert mask.mask[5, 6] and mask.mask[7, 8]
    assert np.count_nonzero(mask.mask != outlier_mask(total).mask) <= 3


def test_a_weak_pixel_that_the_gain_mends_is_no_outlier() -> None:
    response = np.random.default_rng(4).normal(1, 0.03, SHAPE)
    response[:40:4, :40:4] = 0.3
    stack = np.random.default_rng(5).poisson(1.5 * response, (40, *SHAPE)).astype(np.uint8)
    total, gain = sum_stack(stack), Gain.of(1 / response)
    before, after = outlier_mask(total), gained_mask(total, gained_sum(total, gain), OutlierParams())
    assert before.mask[:40:4, :40:4].any()
    assert after.mask.sum() <= 5
    assert after.mean / 40 == pytest.approx(1.5, rel=0.005)


def test_of_few_counts_the_sum_before_the_gain_tells() -> None:
    stack = np.random.default_rng(6).poisson(0.01, (10, *SHAPE)).astype(np.uint8)
    stack[:, 9, 9] = 1
    total, gain = sum_stack(stack), gain_of(2, defects=3)
    mask = gained_mask(total, gained_sum(total, gain), OutlierParams())
    assert mask.status == "sparse"
    assert mask.mask[9, 9] and mask.mask[gain.bad].all()
    assert mask.mask.sum() <= 8
    assert mask.mean == pytest.approx(0.1, rel=0.1)


def test_a_gain_that_makes_no_sense_is_refused() -> None:
    total = sum_stack(np.full((2, *SHAPE), 2**30, np.int32))
    with pytest.raises(DtypeError, match="check the gain"):
        gained_sum(total, Gain.of(np.full(SHAPE, 1e12)), 6)

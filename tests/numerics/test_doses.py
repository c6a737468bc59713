"""The dose of single frames against a twin in NumPy, and what counts as blank."""

import numpy as np
import pytest

from mrcz_dask.numerics.doses import blank_frames, blank_note, is_blank, relative_dose


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f2", ">u2"])
@pytest.mark.parametrize(
    ("mean", "other"), [(10.0, False), (10.1, False), (11.0, True), (3.0, True), (0.02, True)]
)
def test_another_dose_is_significant_and_more_than_2_percent(dtype: str, mean: float, other: bool) -> None:
    rng = np.random.default_rng(0)
    frame = rng.poisson(mean, (70, 131)).astype(dtype)
    weight = rng.choice(np.array([0, 127, 128, 255], np.uint8), frame.shape)
    frame[weight < 128] = 200
    found = relative_dose(frame, weight, 10.0)
    expected = float(frame[weight >= 128].astype(float).mean() / 10)
    assert found == (pytest.approx(expected, rel=1e-12) if other else 1.0)


def test_a_significant_difference_below_2_percent_is_none_and_so_is_a_large_one_of_few_counts() -> None:
    rng = np.random.default_rng(1)
    weight = np.full((400, 400), 255, np.uint8)
    assert relative_dose(rng.poisson(1015, weight.shape), weight, 1000.0) == 1.0
    few = np.zeros((10, 10), np.uint8)
    few[0, :2] = 1
    assert relative_dose(few, weight[:10, :10], 0.01) == 1.0
    assert relative_dose(few, weight[:10, :10], 0.0) == 1.0


def test_what_is_blank() -> None:
    frame = np.full((5, 6), 3, np.uint8)
    assert is_blank(frame) and relative_dose(frame, frame, 3.0) is None
    frame[-1, -1] = 4
    assert not is_blank(frame) and not is_blank(np.full((5, 6), np.nan))
    means, errors = [1.0, 0.001, 1.1, 0.5, 0.0, 0.9], [0.01] * 6
    assert blank_frames([4], means, errors) == (1, 4)
    assert blank_frames([], means, [0.5] * 6) == ()
    assert blank_frames([0, 1], [0.0, 0.0], [0.0, 0.0]) == (0, 1)
    assert "3 of 9 frames are blank (1, 4-5)" in blank_note((1, 4, 5), 9)[0]

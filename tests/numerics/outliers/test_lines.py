"""Rows and columns that read too much or too little are found in the sum of one stack, and no others."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.values.params import OutlierParams

SIDE = 640


def total(seed: int = 0, dose: float = 6, name: str = "standard", **params: Any) -> NDArray[np.int32]:
    usual: dict[str, Any] = {"shape": (SIDE, SIDE), "frames": 2, "stacks": 1, "dose": dose / 2}
    stack = simulate_session(named(name, seed=seed, **usual | params)).stack(0)
    return stack.frames.sum(axis=0, dtype=np.int32)


def changed(image: NDArray[np.int32], index: Any, excess: float, seed: int = 0) -> NDArray[np.int32]:
    """Return the image with some pixels that read too much, or too little, by a share of what they count."""
    draws, image = np.random.default_rng(seed), image.copy()
    some = image[index]
    image[index] = some + draws.poisson(some * excess) if excess > 0 else draws.binomial(some, 1 + excess)
    return image


@pytest.mark.parametrize("excess", [0.15, -0.15])
@pytest.mark.parametrize(("axis", "index"), [(0, np.s_[:, 211]), (1, np.s_[400, :])])
def test_a_whole_line_of_one_stack_is_found(axis: int, index: Any, excess: float) -> None:
    mask = outlier_mask(changed(total(), index, excess))
    (line,) = mask.lines
    assert (line.axis, line.place, line.start, line.stop) == (axis, 211 if axis == 0 else 400, 0, SIDE)
    assert line.excess == pytest.approx(excess, abs=0.05)
    assert mask.mask[index].all() and (mask.weight[index] == 0).all() and not mask.weight255[index].any()
    assert (mask.hot if excess > 0 else mask.dead)[index].all()
    assert mask.summary()["lines"] == [list(line)]
    assert mask.mask.sum() < 2 * SIDE


def test_a_part_of_a_line_has_ends() -> None:
    mask = outlier_mask(changed(total(), np.s_[100, 200:500], 0.4))
    (line,) = mask.lines
    assert (line.axis, line.place) == (1, 100)
    assert abs(line.start - 200) < 20 and abs(line.stop - 500) < 20


def test_pairs_are_lines_and_wide_stripes_are_none() -> None:
    pair = outlier_mask(changed(total(), np.s_[:, 300:302], -0.3)).lines
    assert [line.place for line in pair] == [300, 301]
    assert not outlier_mask(changed(total(), np.s_[:, 300:310], -0.3)).lines


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("standard", {}),
        ("mature", {}),
        ("standard", {"dose": 400}),
        ("standard", {"carbon": (0,), "ice": (0,)}),
        ("standard", {"specimen": 0.15}),
        ("standard", {"pixel": 0.2, "cmos": 0.05}),
        ("no pattern", {"super_resolution": True, "dose": 30}),
    ],
)
def test_clean_stacks_have_none(name: str, params: dict[str, Any]) -> None:
    assert not any(outlier_mask(total(seed, name=name, **params)).lines for seed in range(3))


def test_known_defects_small_images_and_switched_off() -> None:
    image = changed(total(), np.s_[:, 211], 0.4)
    assert not outlier_mask(image, OutlierParams(lines=False)).lines
    assert not outlier_mask(image[:100]).lines
    bad = np.zeros(image.shape, bool)
    bad[:, 50], image[:, 50] = True, 0
    assert [line.place for line in outlier_mask(StackSum(image, 0, 1, bad)).lines] == [211]

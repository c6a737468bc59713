"""Outliers that only many stacks show, against the truth of simulated sessions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.outliers.pooled import pooled_outliers
from mrcz_dask.numerics.reference.structure import coarse_image
from mrcz_dask.numerics.simulate import named, simulate_session

SIDE, STACKS, BLOCK, REACH = 192, 40, 16, 12
Masks = NDArray[np.bool_]


class Night(NamedTuple):
    """A simulated session: sums, excess of hot pixels in units of the dose, and dead pixels."""

    sums: NDArray[np.int32]
    excess: NDArray[np.float32]
    dead: Masks
    dose: float


def night(dose: float, name: str = "standard", **params: Any) -> Night:
    usual: dict[str, Any] = {"hot_persistence": 0.985, "dead": 2e-4, "dtype": "uint16", "seed": 1}
    shaped = {"shape": (SIDE, SIDE), "frames": 2, "stacks": STACKS, "dose": dose / 2}
    simulated = simulate_session(named(name, **usual | shaped | params))
    stacks = [simulated.stack(i) for i in range(STACKS)]
    return Night(
        np.array([stack.frames.sum(axis=0, dtype=np.int32) for stack in stacks]),
        np.array([stack.truth.hot_excess / stack.truth.dose for stack in stacks]),
        stacks[0].truth.dead,
        dose,
    )


def pooled(sums: NDArray[Any], each: Callable[..., Any] = outlier_mask) -> tuple[Masks, Masks, Masks]:
    """Masks of each stack alone, by common evidence, and by that of the other stacks."""
    alone = [each(total) for total in sums]
    grids = np.array(
        [(1 + coarse_image(s, m.mask)) * m.mean for s, m in zip(sums, alone, strict=True)], np.float64
    )
    both, others = np.zeros((2, *sums.shape), bool)
    for start in range(0, len(sums), BLOCK):
        first, stop = max(0, start - BLOCK), min(len(sums), start + BLOCK)
        around = slice(first, stop + BLOCK)
        values, block = sums[around].astype(np.float32), slice(start - first, stop - first)
        found = pooled_outliers([values], grids[around], sums.shape[1:], block, 0.1)
        for k, one in enumerate(found, start):
            both[k].flat[np.concatenate([one.hot, one.dead])] = True
            others[k].flat[one.others] = True
    return np.array([one.mask for one in alone]), both, others


def evidence(made: Night) -> NDArray[np.float64]:
    """Standard deviations of each hot pixel over the stacks within REACH while it is hot without a break."""
    stacks = np.zeros(made.excess.shape)
    for sign in (1, -1):
        for i in range(STACKS):
            alive = made.excess[i] > 0
            for j in range(i, i + sign * (REACH + 1), sign):
                alive = alive & (0 <= j < STACKS) & (made.excess[j % STACKS] > 0)
                stacks[i] += alive
    return np.asarray(made.excess * np.sqrt(made.dose * np.maximum(stacks - 1, 0)))


@pytest.mark.parametrize(("dose", "recall"), [(2, 0.75), (6, 0.85), (60, 0.95)])
def test_pixels_that_stay_hot_are_found_at_any_dose(dose: float, recall: float) -> None:
    made = night(dose)
    alone, both, others = pooled(made.sums)
    truth, clear = (made.excess > 0) | made.dead, evidence(made) > 6
    assert both[clear].mean() >= 0.95 > alone[clear].mean()
    assert both[truth].mean() >= recall and both[truth].mean() > alone[truth].mean()
    assert truth[both].mean() >= 0.9 and truth[others].mean() >= 0.85
    born = (made.excess[3:] > 0) & (made.excess[2:-1] == 0) & (made.excess[1:-2] == 0)
    assert (both[2:-1] | both[1:-2])[born].mean() <= 0.1
    if dose < 10:
        assert not alone[:, made.dead].any() and both[:, made.dead].all()


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("mature", {}),
        ("standard", {"pixel": 0.25}),  # no gain was applied
        ("standard", {"tilts": 31, "specimen": 0.1}),
        ("mature", {"new_gain": (20,)}),
    ],
)
def test_pattern_and_specimen_are_no_outliers(name: str, params: dict[str, Any]) -> None:
    made = night(30, name, hot=(0, 0), dead=0, **params)
    assert pooled(made.sums)[1].mean() < 1e-5


@pytest.mark.parametrize("name", ["standard", "mature"])
@pytest.mark.parametrize("dose", [2, 6])
def test_noise_of_a_clean_session_is_no_outlier(name: str, dose: float) -> None:
    assert pooled(night(dose, name, hot=(0, 0), dead=0).sums)[1].mean() < 1e-5


def test_a_block_that_is_dead_in_some_stacks_is_found_whole() -> None:
    made = night(20, hot=(0, 0), dead=0)
    made.sums[10:20, 50:60, 70:80] = 0
    both = pooled(made.sums)[1]
    assert both[10:20, 50:60, 70:80].mean() > 0.99 and not both[:8, 50:60, 70:80].any()


@pytest.mark.parametrize("scale", [32, 100])
def test_scaled_counts_have_the_same_outliers(scale: int) -> None:
    made = night(6)
    counts, scaled = (pooled(made.sums * factor)[1] for factor in (1, scale))
    assert (counts != scaled).mean() < 0.1 * counts.mean()


def test_a_burst_of_one_stack_is_not_spread() -> None:
    made = night(6, hot=(0, 0), dead=0)
    made.sums[20, 50, 60] += 300
    _, both, others = pooled(made.sums)
    assert both[20, 50, 60] and both[:, 50, 60].sum() <= 2 and not others[20, 50, 60]


@pytest.mark.parametrize("stacks", [2, 3])
def test_few_stacks_and_narrow_images_will_do(stacks: int) -> None:
    made = night(60)
    for sums in (made.sums[:stacks], made.sums[:stacks, :5, :7]):
        assert pooled(sums)[1].mean() < 0.05

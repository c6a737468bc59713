"""Rectangles that read too much, too little or nothing are found with their edges, and no specimen is."""

from typing import Any

import numpy as np
import pytest

from mrcz_dask.numerics.outliers.blocks import BadBlock, blocks_of, passing_blocks
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.sums import StackSum
from mrcz_dask.values.params import OutlierParams
from tests.numerics.outliers.test_lines import changed, total

SIDE = 640


@pytest.mark.parametrize(
    ("index", "excess"),
    [
        (np.s_[131:195, 250:314], 0.25),
        (np.s_[256:384, 320:480], -0.15),
        (np.s_[SIDE - 160 :, :120], 0.2),
        (np.s_[300:420, SIDE - 64 :], -0.25),
    ],
)
def test_a_block_of_one_stack_is_found_with_its_edges(index: Any, excess: float) -> None:
    mask = outlier_mask(changed(total(), index, excess))
    (block,) = mask.blocks
    assert block.excess == pytest.approx(excess, abs=0.04)
    ends = [(s.start or 0, s.stop or SIDE) for s in index]
    assert np.abs(np.subtract([block[:2], block[2:4]], ends)).max() <= 4
    assert mask.summary()["blocks"] == [list(block)]
    assert mask.mask[index].mean() < 0.1  # the stacks around decide whether it is a pattern


@pytest.mark.parametrize(("dose", "left"), [(1, 0.0), (6, 0.0), (6, 0.05), (60, 0.05)])
def test_a_dead_corner_and_a_dead_square_are_masked(dose: float, left: float) -> None:
    image = total(dose=dose)
    for index in (np.s_[:32, :32], np.s_[400:416, 100:130]):
        image = changed(image, index, left - 1)
    mask = outlier_mask(image)
    assert mask.dead[:32, :32].mean() > 0.99 and mask.dead[400:416, 100:130].mean() > 0.97
    assert (mask.weight[mask.dead] < 0.5).all() and mask.dead.sum() < 1.1 * (32 * 32 + 16 * 30) + 30
    assert not outlier_mask(image, OutlierParams(lines=False)).blocks


def test_a_dead_corner_at_the_end_of_odd_rows_is_masked() -> None:
    image = total()[:637, :635]
    image[600:, 590:] = 0
    blocks, dead = blocks_of(image, 6.0, 6**0.5)
    wanted = np.flatnonzero(np.pad(np.ones((37, 45), bool), ((600, 0), (590, 0))))
    assert np.isin(wanted, dead).all() and dead.size < wanted.size + 30  # some beside it count little
    assert blocks[0][:4] == (600, 637, 590, 635)


def test_a_hot_corner_is_masked() -> None:
    mask = outlier_mask(changed(total(), np.s_[:32, :32], 2.0))
    assert mask.hot[:32, :32].mean() > 0.99 and (mask.weight[:32, :32] == 0).mean() > 0.99
    assert mask.mask.sum() < 32 * 32 + 2000


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("standard", {"dose": 400}),
        ("mature", {}),
        ("standard", {"carbon": (0,), "ice": (0,)}),
        ("hole edge", {"edge": 0.3, "dose": 60}),
        ("standard", {"specimen": 0.15, "dose": 60}),
    ],
)
def test_clean_stacks_have_none(name: str, params: dict[str, Any]) -> None:
    for seed in range(3):
        mask = outlier_mask(total(seed, name=name, **params))
        assert not mask.blocks and not mask.broken.size


def test_round_and_smooth_things_are_the_specimens() -> None:
    y, x = np.ogrid[:SIDE, :SIDE]
    image, draws = np.full((SIDE, SIDE), 20.0), np.random.default_rng(0)
    image[(y - 200) ** 2 + (x - 200) ** 2 < 40**2] *= 0.8
    image[(y - 400) ** 2 + (x - 150) ** 2 < 9**2] *= 0.02  # a bead of gold
    image[abs(y - 450) + abs(x - 450) < 60] *= 1.2
    image *= 1 - 0.2 * np.exp(-((np.maximum(abs(y - 150), abs(x - 450)) / 40.0) ** 4))
    blocks, dead = blocks_of(draws.poisson(image), 20.0, 20**0.5)
    assert not blocks and not dead.size


def test_known_defects_are_no_blocks() -> None:
    image, bad = changed(total(), np.s_[:32, :32], -1.0), np.zeros((SIDE, SIDE), bool)
    bad[:32, :32] = True
    mask = outlier_mask(StackSum(image, 0, 1, bad))
    assert not mask.blocks and not mask.broken.size
    assert blocks_of(image[:3], 6.0, 2.5)[0] == blocks_of(image - 50, -44.0, 2.5)[0] == ()


def test_a_block_that_many_stacks_have_is_a_pattern() -> None:
    block = BadBlock(0, 100, 0, 60, 0.2)
    near, other = block._replace(top=3, excess=0.15), block._replace(excess=-0.2)
    assert passing_blocks([block], [[], [], [], [near]]) == [block]
    assert passing_blocks([block], [[near]] * 4) == []
    assert passing_blocks([block], [[other], [block._replace(left=50, right=110)]]) == [block]

"""Stacks of one specimen are found from their pixels, and stacks of others are not taken for it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrcz_dask.numerics.reference.structure import coarse_image, grid
from mrcz_dask.numerics.session.specimens import FIRST, Specimens, scene_of
from mrcz_dask.numerics.simulate import named, simulate_session

SHAPE = (192, 192)


@cache
def scenes(name: str = "standard", **params: Any) -> list[str]:
    params = {"shape": SHAPE, "stacks": 30, "frames": 8, "dose": 3.0, "seed": 3} | params
    return [
        scene_of(coarse_image(one.frames.sum(axis=0, dtype=np.int64), one.truth.hot | one.truth.dead))
        for one in simulate_session(named(name, **params))
    ]


def linked(scenes: list[str], **options: Any) -> list[set[int]]:
    """Return the stacks that share a group with each stack, itself among them."""
    specimens = Specimens(grid(SHAPE))
    for scene in scenes:
        specimens.add(scene, **options)
    groups = specimens.groups
    return [{k for k, other in enumerate(groups) if other & one} for one in groups]


def series(order: list[int]) -> list[set[int]]:
    """Return which stacks of two tilt series, recorded in this order, should be found to be one group."""
    first = {place for place, k in enumerate(order) if k < 15}
    return [first if k < 15 else set(range(30)) - first for k in order]


@pytest.mark.parametrize(
    "order",
    [
        [*range(30)],
        [start + k for start in (0, 15) for k in (*range(0, 15, 2), *range(1, 15, 2))],
        [start + k for k in range(15) for start in (0, 15)],
    ],
    ids=["dose-symmetric", "one branch, then the other", "two series in turn"],
)
def test_tilt_series_are_found_in_any_order(order: list[int]) -> None:
    tilts = scenes("tilt series", tilts=15, specimen=0.15, aim_error=6.0)
    assert linked([tilts[k] for k in order]) == series(order)


@pytest.mark.parametrize("aim_error", [0.0, 6.0])
def test_an_area_that_is_taken_again_is_found(aim_error: float) -> None:
    areas = scenes(same_area=3, aim_error=aim_error, drift=0.0, specimen=0.1)
    assert linked(areas) == [{k - k % 3 + j for j in range(3)} for k in range(30)]


@pytest.mark.parametrize(
    "session",
    [
        {},
        {"name": "mature"},
        {"name": "tilt series", "tilts": 0},
        {"name": "evolving", "evolve": 0.05, "tau": 40.0},
        {"name": "hole edge", "edge": 0.15, "aim_error": 0.0},
        {"name": "hole edge", "edge": 0.3, "aim_error": 10.0},
        {"gradient": 0.2},
    ],
    ids=str,
)
def test_stacks_of_other_specimens_are_alone(session: dict[str, Any]) -> None:
    assert linked(scenes(**session)) == [{k} for k in range(30)]


def test_a_new_gain_is_no_specimen() -> None:
    """Until the stacks behind it are most of those around, some are alike: they are corrected by others."""
    shape = (512, 512)
    params = named("mature", shape=shape, stacks=32, frames=2, dose=20.0, new_gain=(16,), seed=3)
    specimens = Specimens(grid(shape))
    for one in simulate_session(params):
        total = one.frames.sum(axis=0, dtype=np.int64)
        specimens.add(scene_of(coarse_image(total, one.truth.hot | one.truth.dead)))
    alone = sum(group == {k} for k, group in enumerate(specimens.groups))
    assert alone >= 32 - 7


def test_what_is_told_is_not_looked_for() -> None:
    areas = scenes(same_area=3, aim_error=6.0, specimen=0.1)
    assert linked(areas, told=range(30)) == [{k} for k in range(30)]


@settings(max_examples=10, deadline=None)
@given(st.integers(FIRST, 29))
def test_later_stacks_change_no_group(stacks: int) -> None:
    tilts = scenes("tilt series", tilts=15, specimen=0.15, aim_error=6.0)
    early, late = Specimens(grid(SHAPE)), Specimens(grid(SHAPE))
    for k, scene in enumerate(tilts):
        late.add(scene)
        if k < stacks:
            early.add(scene)
    assert late.groups[:stacks] == early.groups


def test_without_structure_there_is_no_scene() -> None:
    assert scene_of(np.zeros((40, 40))) == scene_of(np.ones((12, 96))) == ""
    specimens = Specimens((40, 40))
    for _ in range(FIRST + 2):
        specimens.add("")
    assert specimens.groups == [frozenset({k}) for k in range(FIRST + 2)]

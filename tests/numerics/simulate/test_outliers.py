import itertools

import numpy as np
import pytest
from scipy.ndimage import label

from mrcz_dask.numerics.simulate import detector, named

PARAMS = named("standard", shape=(160, 192), stacks=12, hot=(0.002, 0.02), dead=0.001, dose=2.0)


def hot_maps(params: detector.SimulationParams, number: int) -> list[np.ndarray]:
    replay = detector.hot_population(params)
    return [detector.hot_excess(params, replay.at(i)) for i in range(number)]


def test_the_share_grows_from_first_to_last_exactly() -> None:
    counts = [int((image > 0).sum()) for image in hot_maps(PARAMS, 12)]
    assert (counts[0], counts[-1]) == (round(0.002 * 160 * 192), round(0.02 * 160 * 192))
    assert counts == [round((0.002 + 0.018 * i / 11) * 160 * 192) for i in range(12)]


def test_nine_of_ten_persist_with_their_excess() -> None:
    maps = hot_maps(PARAMS, 12)
    for before, after in itertools.pairwise(maps):
        both = (before > 0) & (after > 0)
        assert 0.88 < both.sum() / (before > 0).sum() < 0.93
        assert np.mean(before[both] == after[both]) > 0.98


def test_a_shrinking_population_keeps_only_its_share() -> None:
    shrinking = named("standard", shape=(160, 192), stacks=2, hot=(0.02, 0.005))
    before, after = (image > 0 for image in hot_maps(shrinking, 2))
    assert not (after & ~before).any()
    assert after.sum() == round(0.005 * 160 * 192)


def test_excess_is_log_normal() -> None:
    image = hot_maps(named("standard", shape=(384, 384), hot=(0.1, 0.1), dose=3.0), 1)[0]
    logs = np.log(image[image > 0])
    assert np.median(logs) == pytest.approx(np.log(2 * 3), abs=0.05)
    assert logs.std() == pytest.approx(1, abs=0.05)


def test_a_fifth_comes_in_pairs_of_neighbors() -> None:
    params = named("standard", shape=(256, 256), hot=(0.002, 0.002))
    pairs, singles = detector.hot_population(params).at(0)
    y, x = np.divmod(pairs.sites, 256)
    assert pairs.sites.size / (pairs.sites.size + singles.sites.size) == pytest.approx(0.2, abs=0.02)
    assert (np.abs(np.diff(y)) + np.abs(np.diff(x)) == 1).all()
    pixels = np.concatenate([pairs.sites.ravel(), singles.sites.ravel()])
    assert len(np.unique(pixels)) == len(pixels)


def test_dead_pixels_are_as_many_as_asked() -> None:
    assert detector.dead_pixels(PARAMS).sum() == round(0.001 * 160 * 192)
    assert detector.dead_pixels(named("standard", dead=0.0, shape=(64, 64))).sum() == 0


def test_super_resolution_outliers_are_two_by_two() -> None:
    params = named(
        "standard", shape=(64, 96), hot=(0.01, 0.01), hot_pairs=0.0, dead=0.01, super_resolution=True
    )
    hot = hot_maps(params, 1)[0] > 0
    assert hot.sum() == 4 * round(0.01 * 32 * 48)
    assert (hot.reshape(32, 2, 48, 2).sum(axis=(1, 3)) % 4 == 0).all()
    assert label(detector.dead_pixels(params))[1] <= round(0.01 * 32 * 48)

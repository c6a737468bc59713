"""Whose sums are compared, and how."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.assess.scoring import score_pairs
from mrcz_dask.assess.tasks import PairTask, pairs, spread_evenly
from mrcz_dask.correction.tasks import MemberRef
from mrcz_dask.numerics.doses import middle_doses
from mrcz_dask.session.store import SessionStore

LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)


@given(count=st.integers(0, 5000), sample=st.integers(1, 40))
def test_samples_are_evenly_spread(count, sample):
    taken = spread_evenly(count, sample)

    assert len(taken) == min(count, sample) == len(set(taken))
    assert all(0 <= k < count for k in taken)
    if len(taken) > 1:
        steps = np.diff(taken)
        assert steps.min() > 0 and steps.max() - steps.min() <= 1


@given(count=st.integers(0, 400), anchors=st.integers(1, 20))
def test_every_pair_comes_once_and_all_distances_are_there(count, anchors):
    found = [(i, j) for i, others in pairs(count, anchors) for j in others]

    assert len({frozenset(pair) for pair in found}) == len(found)
    assert all(i != j and 0 <= j < count for i, j in found)
    distances = {abs(i - j) for i, j in found}
    lags = [lag for lag in LAGS if lag < count]
    assert distances <= set(lags)
    if count > 1:
        assert {lag for lag in lags if 2 * lag <= count} <= distances
    assert len(found) <= anchors * len(lags)


@given(means=st.lists(st.floats(0.1, 100), min_size=2, max_size=9), data=st.data())
def test_the_dose_between_two_stacks_is_half_of_each_and_all_between(means, data):
    i, j = sorted(data.draw(st.permutations(range(len(means))))[:2])
    middles = middle_doses(means)

    between = (means[i] + means[j]) / 2 + sum(means[i + 1 : j])
    assert middles[j] - middles[i] == pytest.approx(between)
    assert middles[0] == pytest.approx(means[0] / 2)


def test_the_correlation_is_pearsons_over_the_good_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shared, store = rng.normal(0, 3, (40, 50)), _Store()
    for name in ("a", "b", "c"):
        values = (50 + shared + rng.normal(0, 5, (40, 50))).astype(np.int16)
        weight = np.where(rng.random((40, 50)) < 0.02, 0, 255).astype(np.uint8)
        values[weight == 0] = 400
        store.arrays[name] = {"sum": values, "weight": weight}
    refs = [MemberRef(name, name, name, 0, 50.0, 5) for name in "abc"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SessionStore, "load", lambda self, stem, name: store.arrays[stem][name])
        found = score_pairs(PairTask("a", (), "key", str(tmp_path), refs[0], tuple(refs[1:]), (1.0, 2.0)))

    for k, other in enumerate("bc"):
        one, two = store.arrays["a"], store.arrays[other]
        good = (one["weight"] > 0) & (two["weight"] > 0)
        assert found.raw[k] == pytest.approx(np.corrcoef(one["sum"].ravel(), two["sum"].ravel())[0, 1])
        assert found.filtered[k] == pytest.approx(np.corrcoef(one["sum"][good], two["sum"][good])[0, 1])
    assert (found.name, found.others, found.doses) == ("a", ("b", "c"), (1.0, 2.0))


class _Store:
    def __init__(self) -> None:
        self.arrays: dict[str, dict[str, np.ndarray]] = {}

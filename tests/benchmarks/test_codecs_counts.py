from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import poisson

import mrcz_dask
from benchmarks.codecs.counts import Counts, entropy, poisson_counts, poisson_entropy


@given(hnp.arrays(hnp.integer_dtypes(endianness="="), (2, 3, 5), elements=st.integers(-100, 100).map(abs)))
def test_entropy_is_that_of_the_histogram(stack: np.ndarray) -> None:
    _, found = np.unique(stack, return_counts=True)
    share = found / stack.size
    assert entropy(stack) == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-12)


@given(hnp.arrays(np.uint8, (2, 3, 4)), st.integers(0, 100))
def test_entropy_does_not_depend_on_order_or_offset(stack: np.ndarray, offset: int) -> None:
    there = entropy(stack)
    assert entropy(stack[:, ::-1].astype(np.int32) - offset) == pytest.approx(there, abs=1e-12)


def test_entropy_of_known_histograms() -> None:
    assert entropy(np.zeros((2, 4, 4), np.int16)) == 0
    assert entropy(np.arange(256, dtype=np.uint8).reshape(1, 16, 16)) == pytest.approx(8)
    assert entropy(np.array([[[-128, 127]]], np.int8)) == pytest.approx(1)


def test_no_entropy_where_there_are_no_counts() -> None:
    assert entropy(np.ones((1, 2, 2), np.float32)) is None
    assert entropy(np.array([[[0, 1 << 25]]], np.int32)) is None


@given(st.floats(0.01, 5000))
def test_poisson_entropy_is_scipys(dose: float) -> None:
    assert poisson_entropy(dose) == pytest.approx(float(poisson(dose).entropy()) / np.log(2), rel=1e-6)


def test_many_counts_reach_the_poisson_entropy() -> None:
    counts = Counts.poisson(1.0, (2, 512, 512), seed=1)
    assert counts.bits == pytest.approx(counts.poisson_bits, rel=5e-3)
    assert counts.limit(counts.bits) == pytest.approx(counts.bits * 2 * 512 * 512 / 8)
    assert counts.limit(None) is None


def test_counts_are_the_same_from_the_same_seed_and_never_wrap() -> None:
    assert np.array_equal(poisson_counts(2, (2, 8, 8), 3), poisson_counts(2, (2, 8, 8), 3))
    assert not np.array_equal(poisson_counts(2, (2, 8, 8), 3), poisson_counts(2, (2, 8, 8), 4))
    assert poisson_counts(2, (2, 8, 8), 3).dtype == np.int8
    many = poisson_counts(1000, (2, 8, 8), 3)
    assert many.dtype == np.uint16
    assert 900 < many.mean() < 1100


def test_a_stack_that_was_kept_is_the_same(tmp_path: Path) -> None:
    counts = Counts.poisson(1.0, (2, 16, 16), seed=1)
    kept = counts.kept_in(tmp_path / "counts.npy")
    assert np.array_equal(kept.stack, counts.stack)
    assert (kept.dose, kept.bits) == (counts.dose, counts.bits)


def test_a_users_stack_is_taken_as_stored(tmp_path: Path) -> None:
    stack = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    mrcz_dask.write(tmp_path / "a.mrcz", stack, pixels={"scale": 0.5, "offset": 0.0})
    found = Counts.of_file(tmp_path / "a.mrcz")
    assert np.array_equal(found.stack, stack)
    assert found.dose == pytest.approx(11.5)
    assert found.poisson_bits is None

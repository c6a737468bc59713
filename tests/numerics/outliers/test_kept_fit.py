"""What is kept of a histogram holds every pixel, in few bins, with the weight that the mask gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.outliers.kept_fit import MOST_BINS, kept_fit
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.outliers.weights import soft_weight
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.params import OutlierParams

PARAMS = OutlierParams()


def image(mean: float, seed: int = 0, hot: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = rng.poisson(mean, (96, 128)).astype(np.int32)
    made.flat[rng.choice(made.size, hot, replace=False)] += int(20 * np.sqrt(mean) + 40)
    return made


@given(st.floats(0.05, 1e5), st.integers(0, 5))
def test_no_pixel_is_lost_and_bins_are_few(mean: float, seed: int) -> None:
    mask = outlier_mask(image(mean, seed), PARAMS)
    kept = kept_fit(mask, PARAMS)
    assert kept.counts.sum() + kept.below + kept.above == 96 * 128
    assert kept.counts.size <= MOST_BINS and kept.counts.dtype == np.int64
    assert np.all(np.diff(kept.edges) > 0)
    assert {len(getattr(kept, name)) for name in ("z", "residual", "weight", "edges")} == {kept.counts.size}


def test_bins_are_those_of_the_image() -> None:
    values = image(60)
    kept = kept_fit(outlier_mask(values, PARAMS), PARAMS)
    edges = np.concatenate([[kept.edges[0] - 1], kept.edges]).astype(np.float64)
    assert np.array_equal(np.histogram(values, edges)[0], kept.counts)
    assert kept.above == np.count_nonzero(values > kept.edges[-1])


def test_wide_histograms_are_thinned_and_still_whole() -> None:
    kept = kept_fit(outlier_mask(image(3e4), PARAMS), PARAMS)
    assert MOST_BINS / 2 < kept.counts.size <= MOST_BINS
    assert kept.counts.sum() + kept.below + kept.above == 96 * 128


def test_weight_falls_where_the_mask_begins() -> None:
    mask = outlier_mask(image(200), PARAMS)
    kept = kept_fit(mask, PARAMS)
    assert np.array_equal(
        kept.weight,
        soft_weight(mask.fit.z, mask.t_dark, mask.t_hot, PARAMS),  # type: ignore[union-attr]
    )
    assert (kept.weight[kept.z > mask.t_hot] < 0.5).all()
    assert kept.hot_line is not None


@pytest.mark.parametrize(
    ("frames", "status"), [(image(0.3), "sparse"), (np.zeros((9, 9), np.int32), "degenerate")]
)
def test_without_a_fit_the_lowest_values_are_kept(frames: np.ndarray, status: str) -> None:
    mask = outlier_mask(frames, PARAMS)
    kept = kept_fit(mask, PARAMS)
    assert mask.status == status and np.isnan(kept.residual).all()
    assert kept.counts.sum() + kept.above == frames.size and kept.counts[0] == np.count_nonzero(frames == 0)
    assert kept.edges[0] == 0.5


def test_edges_of_floats_are_in_counts() -> None:
    rng = np.random.default_rng(1)
    frames = rng.normal(5, 0.1, (4, 64, 64)).astype(np.float32)
    kept = kept_fit(outlier_mask(sum_stack(frames), PARAMS), PARAMS)
    assert 18 < kept.edges[0] < 20 < kept.edges[-1] < 22

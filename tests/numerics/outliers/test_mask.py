from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage, special

from benchmarks.truth import hot_sigmas
from mrcz_dask.numerics.outliers.mask import OutlierMask, outlier_mask
from mrcz_dask.numerics.simulate import StackTruth, named, simulate_session
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.errors import DtypeError, OutlierError
from mrcz_dask.values.params import OutlierParams

MEGAPIXEL = (1024, 1024)


def counts(mean: float, shape: tuple[int, ...] = (256, 256), seed: int = 0) -> NDArray[np.int32]:
    return np.random.default_rng(seed).poisson(mean, shape).astype(np.int32)


def with_hot(mean: float, share: float, shape: tuple[int, int] = (512, 512)) -> NDArray[np.int32]:
    image = counts(mean, shape)
    image.reshape(-1)[:: round(1 / share)] += round(30 * math.sqrt(mean))
    return image


def same(one: OutlierMask, other: OutlierMask) -> bool:
    arrays = ("mask", "weight", "hot", "dead", "neighbourly")
    equal = all(np.array_equal(getattr(one, a), getattr(other, a)) for a in arrays)
    return equal and json.dumps(one.summary()) == json.dumps(other.summary())


@pytest.mark.parametrize("mean", [0.5, 1.0, 1.3, 2, 4, 9, 15, 25, 60, 200, 1000])
@pytest.mark.parametrize("scale", [None, 1.2345])
def test_clean_counts_lose_next_to_nothing(mean: float, scale: float | None) -> None:
    image = counts(mean, MEGAPIXEL, seed=round(mean * 10))
    found = outlier_mask(image if scale is None else image * np.float32(scale))
    assert np.count_nonzero(found.mask) < 1e-5 * image.size
    assert found.status == ("sparse" if mean < 1.2 else "ok") or scale is not None


@settings(max_examples=40, deadline=None, derandomize=True)  # a mask of noise differs by chance
@given(st.floats(0.5, 1000), st.integers(0, 2**32))
def test_clean_counts_of_any_mean_lose_next_to_nothing(mean: float, seed: int) -> None:
    # n pixels are masked where n / 10 or fewer are expected: 4 by chance in a few of 10 000 images
    assert np.count_nonzero(outlier_mask(counts(mean, seed=seed)).mask) <= 7


@pytest.mark.parametrize("name", ["standard", "mature"])
@pytest.mark.parametrize("dose", [1, 6, 60, 400])
def test_the_specimen_is_no_outlier(name: str, dose: float) -> None:
    clean: dict[str, Any] = {"hot": (0.0, 0.0), "dead": 0.0, "dtype": "uint16"}
    simulated = simulate_session(
        named(name, shape=(400, 400), frames=2, stacks=3, seed=4, dose=dose / 2, **clean)
    )
    masked = [np.count_nonzero(outlier_mask(stack.frames).mask) for stack in simulated]
    assert sum(masked) <= 1e-5 * 3 * 400**2


@pytest.mark.parametrize("mean", [60, 400])
def test_dark_particles_stay_and_what_is_broken_in_them_does_not(mean: int) -> None:
    rate, (y, x) = np.full((512, 512), float(mean)), np.ogrid[:512, :512]
    for k in range(36):
        rate[(y - 40 - 80 * (k // 6)) ** 2 + (x - 40 - 80 * (k % 6)) ** 2 < 36] *= 0.5
    image = np.random.default_rng(3).poisson(rate)
    broken = np.zeros(image.shape, bool)
    broken[40, 42] = broken[120, 120] = broken[300:308, 300:309] = True
    image[40, 42], image[120, 120], image[300:308, 300:309] = 0, 2 * mean, 0
    found = outlier_mask(image)
    assert found.mask[broken].all() and np.count_nonzero(found.mask & ~broken) <= 2
    assert (found.weight[~found.mask].min() > 0.5) and (found.weight[broken] < 0.5).all()


@pytest.mark.parametrize("dose", [0.05, 1.0, 10.0])
def test_a_clean_stack_loses_next_to_nothing(dose: float) -> None:
    stack = np.random.default_rng(7).poisson(dose, (12, 512, 512)).astype(np.uint8)
    assert np.count_nonzero(outlier_mask(stack).mask) <= 2


def scores(found: NDArray[np.bool_], truth: StackTruth) -> tuple[float, float]:
    precision = np.count_nonzero(found & truth.mask) / np.count_nonzero(found)
    return precision, float(found[hot_sigmas(truth) > 6].mean())


@pytest.mark.parametrize("name", ["standard", "evolving", "white", "mature"])
def test_simulated_outliers_are_found(name: str) -> None:
    stack = simulate_session(named(name, shape=(512, 512), stacks=8, hot=(0.004, 0.005), seed=2)).stack(5)
    precision, recall = scores(outlier_mask(stack.frames).mask, stack.truth)
    assert precision >= 0.85
    assert recall >= 0.98


@pytest.mark.parametrize("kind", ["carbon", "ice"])
def test_uneven_illumination_is_followed(kind: str) -> None:
    params = named("standard", shape=(384, 384), frames=60, stacks=1, hot=(0.005, 0.005), **{kind: (0,)})
    stack = simulate_session(params).stack(0)
    found = outlier_mask(stack.frames)
    precision, recall = scores(found.mask, stack.truth)
    assert found.illumination and found.sigma / math.sqrt(found.mu) < 1.1
    assert precision >= 0.85 and recall >= 0.98
    plain = outlier_mask(stack.frames, OutlierParams(illumination=False))
    assert scores(plain.mask, stack.truth)[1] < recall


@pytest.mark.parametrize("share", [5.8e-4, 5e-3])
@pytest.mark.parametrize("fit", ["probit", "l1"])
def test_the_papers_threshold_is_the_probit_of_the_good_share(share: float, fit: Any) -> None:
    found = outlier_mask(with_hot(200, share), OutlierParams(rule="paper", fit=fit))
    assert found.t_hot == pytest.approx(-special.ndtri(share), abs=0.2)


def test_the_probit_of_clean_counts_has_slope_one() -> None:
    found = outlier_mask(counts(200, MEGAPIXEL))
    assert math.sqrt(found.mu) / found.sigma == pytest.approx(1.003, abs=0.005)
    assert found.mu == pytest.approx(200, abs=0.4) and found.misfit < 0.003


@settings(max_examples=25, deadline=None)
@given(st.floats(0.3, 300), st.integers(0, 2**32), st.sampled_from([np.float32, np.float64, np.int64]))
def test_whole_numbers_of_any_type_give_the_same(mean: float, seed: int, dtype: type) -> None:
    image = counts(mean, (160, 150), seed)
    image[::37, 5] += 500
    assert same(outlier_mask(image), outlier_mask(image.astype(dtype)))


@settings(max_examples=20, deadline=None)
@given(st.integers(-30, 12), st.integers(0, 2**32))
def test_a_power_of_two_scales_what_is_found_in_floats(power: int, seed: int) -> None:
    image = (counts(40, seed=seed) + np.float32(0.3)).astype(np.float32)
    image[::50, ::50] *= 4
    one, other = outlier_mask(image), outlier_mask(np.ldexp(image, power))
    assert np.array_equal(one.mask, other.mask)
    assert other.mu == pytest.approx(one.mu * 2.0**power, rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.uint8, (6, 40, 30), elements=st.integers(0, 20)), st.permutations(range(6)))
def test_the_order_of_frames_changes_nothing(stack: NDArray[np.uint8], order: list[int]) -> None:
    assert same(outlier_mask(stack), outlier_mask(stack[order]))
    assert same(outlier_mask(stack), outlier_mask(sum_stack(list(stack))))


def test_turning_the_image_turns_the_mask() -> None:
    image = with_hot(60, 1e-3)
    assert np.array_equal(outlier_mask(image).mask.T, outlier_mask(image.T).mask)


def test_kinds_of_outliers_add_up() -> None:
    image = with_hot(100, 1e-3)
    image[7, 9:12] = 0
    image[100, 100] = 1
    found = outlier_mask(image)
    assert np.array_equal(found.mask, found.weight < 0.5)
    assert np.array_equal(found.mask, found.hot ^ found.dead)
    assert found.dead[7, 10] and found.neighbourly[7, 10] and found.dead[100, 100]
    assert found.hot[0, 0] and not found.neighbourly[0, 0]
    assert found.t_dark < 0 < found.t_hot
    assert found.mean == image[~found.mask].mean()
    assert found.summary()["n_dead"] == np.count_nonzero(found.dead) and found.usable


def test_a_live_pixel_that_may_count_nothing_is_not_dead() -> None:
    image = counts(8, (512, 512))
    image[3, 3] = 0
    assert outlier_mask(image).t_dark == -math.inf


def test_sparse_counts_are_cut_at_a_count() -> None:
    image = counts(0.4, (512, 512))
    image[5, 5], image[9, 9] = 40, 13
    found = outlier_mask(image)
    assert found.status == "sparse" and found.hot[5, 5] and found.hot[9, 9]
    assert np.count_nonzero(found.mask) == 2
    assert found.mu == pytest.approx(0.4, rel=0.02)
    assert set(np.unique(found.weight)) == {0.0, 1.0}


def test_the_fit_is_there_for_a_plot() -> None:
    found = outlier_mask(with_hot(100, 5e-3))
    fit = found.fit
    assert fit is not None and fit.hot_line is not None
    assert fit.edges.size == fit.counts.size == fit.z.size == fit.q.size == fit.r.size
    assert np.allclose((fit.z - fit.q)[fit.counts > 20], fit.r[fit.counts > 20], atol=1e-5)
    slope, intercept = fit.hot_line
    assert -intercept / slope == pytest.approx(-special.ndtri(5e-3), abs=0.2)


def test_the_dark_line_is_seen_from_the_center() -> None:
    image = counts(400, (512, 512))
    image.reshape(-1)[::1000] = 10
    fit = outlier_mask(image).fit
    assert fit is not None and fit.dark_line is not None
    slope, intercept = fit.dark_line
    assert slope > 0 and -intercept / slope == pytest.approx(special.ndtri(1e-3), abs=0.2)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 64, 64), np.uint8),
        np.full((64, 64), 7, np.int16),
        np.full((4, 64, 64), 255, np.uint8),
        np.full((64, 64), 1.5, np.float32),
        np.ones((1, 1), np.int8),
    ],
)
def test_without_a_histogram_nothing_is_masked(image: NDArray[Any]) -> None:
    found = outlier_mask(image)
    assert found.status == "degenerate" and not found.usable and len(found.caveats) == 1
    assert not found.mask.any() and (found.weight == 1).all() and found.fit is None
    assert found.mean == image.mean(dtype=np.float64) * (len(image) if image.ndim == 3 else 1)


ODD = [[31, 31, 207, 31], [31, 116, 31, 31], [31, 31, 31, 219], [31] * 4, [31, 31, 73, 31]]  # no width fits


@settings(deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)))
@example(np.array(ODD, np.uint8))
def test_tiny_images_do_not_fail(image: NDArray[np.uint8]) -> None:
    found = outlier_mask(image)
    assert found.mask.shape == found.weight.shape == image.shape
    assert np.isfinite(found.weight).all()


def test_too_many_outliers_are_implausible() -> None:
    image = counts(30) * (np.arange(256) < 100)
    found = outlier_mask(image)
    assert found.status == "implausible" and not found.mask.any() and "39" in found.caveats[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_is_masked_alone(bad: float) -> None:
    image = with_hot(50, 1e-3).astype(np.float32)
    clean = outlier_mask(image)
    image[17, 31] = bad
    found = outlier_mask(image)
    assert found.mask[17, 31] and found.weight[17, 31] == 0
    assert not found.hot[17, 31] and not found.dead[17, 31]
    assert np.count_nonzero(found.mask ^ clean.mask) == 1
    assert "not finite" in found.caveats[-1] and np.isfinite(found.mean)


def test_without_a_finite_pixel_there_is_no_mask() -> None:
    with pytest.raises(OutlierError, match="finite"):
        outlier_mask(np.full((8, 8), np.nan, np.float32))
    with pytest.raises(DtypeError):
        outlier_mask(np.ones((8, 8), np.complex64))


def test_negative_values_take_the_linear_axis() -> None:
    image = np.random.default_rng(3).normal(0, 1, (300, 300)).astype(np.float32)
    image[::30, ::30] = 40
    found = outlier_mask(image)
    assert found.hot[::30, ::30].all() and np.count_nonzero(found.mask) < 120
    assert (found.mu, found.sigma) == pytest.approx((0, 1), abs=0.02)


@pytest.mark.parametrize("value", [2**31 - 1, 2**40, 2**60])
def test_huge_values_are_just_outliers(value: int) -> None:
    image = counts(30).astype(np.int64)
    image[10, 10] = value
    found = outlier_mask(image)
    assert found.hot[10, 10] and np.count_nonzero(found.mask) <= 2
    assert found.mu == pytest.approx(30, abs=0.3)


def test_an_example_session_is_masked_where_it_is_broken(session_folder: Any) -> None:
    mrcz = pytest.importorskip("mrcz")
    listed = (session_folder / "defects_K2.txt").read_text().split("BadPixels")[1].split("\n")[0].split()
    x, y = np.array(listed, int).reshape(-1, 2).T
    stack = np.asarray(mrcz.readMRC(str(session_folder / "FoilHole_648290_Data_3101.mrc"))[0])
    found = outlier_mask(stack)
    assert found.dead[y, x].all()
    assert 1e-3 < found.mask.mean() < 5e-3


@pytest.mark.parametrize("dose", [0.5, 6, 30])
@pytest.mark.parametrize("scale", [3, 32])
def test_scaled_counts_have_the_mask_of_counts(dose: float, scale: int) -> None:
    params = named("standard", shape=(256, 256), frames=2, stacks=1, dose=dose / 2, hot=(0.005, 0.005))
    counts = simulate_session(params).stack(0).frames.sum(axis=0, dtype=np.int32)
    plain, scaled = outlier_mask(counts), outlier_mask(counts * scale)
    assert plain.mask.any() and np.array_equal(plain.mask, scaled.mask)
    assert scaled.status == plain.status
    assert (plain.kind, scaled.kind, scaled.fano) == ("counts", "scaled counts", scale)
    assert (scaled.mu / scale, scaled.sigma / scale) == pytest.approx((plain.mu, plain.sigma), rel=0.01)


@pytest.mark.parametrize("dose", [2, 6, 30])
@pytest.mark.parametrize("kind", ["blobs", "integrating", "2 x 2"])
def test_values_that_are_no_counts_of_single_pixels(kind: str, dose: float) -> None:
    """Electrons as blobs of 3 x 3 pixels that sum to 100, an integrating camera, doubled pixels."""
    draws = np.random.default_rng(1)
    found, clean = [], []
    for hot in ((0.001, 0.005), (0.0, 0.0)):
        simulated = named(
            "standard", shape=(512, 512), frames=2, stacks=1, seed=2, dose=dose / 2, hot=hot, dead=0.0
        )
        stack = simulate_session(simulated).stack(0)
        excess = stack.truth.hot_excess / stack.truth.dose
        good = draws.poisson(stack.truth.expected_sum / (1 + excess))
        blob = np.array([[4, 11, 4], [11, 40, 11], [4, 11, 4]])
        image = 100 * draws.poisson(stack.truth.expected_sum * excess / (1 + excess))
        if kind == "blobs":
            image = image + ndimage.convolve(good, blob, mode="wrap")
        elif kind == "integrating":
            charge = ndimage.convolve(
                draws.standard_gamma(np.maximum(2.0 * good, 1e-9)) / 2, blob / 1.0, mode="wrap"
            )
            image = np.rint(image + charge + draws.normal(0, 70, charge.shape)).astype(np.int64)
        else:
            image = np.kron(image // 100 + good, np.ones((2, 2), np.int64))
        whole = outlier_mask(image)
        assert whole.kind == whole.summary()["kind"] == ("counts" if kind == "2 x 2" else "blobs")
        mask = whole.mask[:: image.shape[0] // 512, :: image.shape[0] // 512]
        found.append((mask, excess * math.sqrt(dose)))
        clean.append(mask.mean())
    mask, sigmas = found[0]
    assert mask[sigmas > 6].mean() > {2: 0.7, 6: 0.9, 30: 0.97}[dose]
    assert (sigmas > 0)[mask].mean() > 0.85
    assert clean[1] < 1e-5

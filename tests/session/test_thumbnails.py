"""Thumbnails: means of blocks, the same for any way of writing, and never the reason why a stack fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.correction.run import Outcome
from mrcz_dask.numerics.reference.correction import Correction
from mrcz_dask.numerics.reference.parts import MeanImage
from mrcz_dask.session import thumbnails as module
from mrcz_dask.session.store import SessionStore
from mrcz_dask.session.thumbnails import PATCH, SIDE, corner, in_grays, keep_thumbnails, patch, thumbnails
from mrcz_dask.values.errors import SpaceError
from tests.nights import run_koma

Koma = Callable[..., Any]
sides = st.integers(1, 700)


def correction(shape: tuple[int, int], seed: int = 0, form: Any = "subtract") -> Correction:
    rng = np.random.default_rng(seed)
    weight = np.where(rng.random(shape) < 0.01, 0, 255).astype(np.uint8)
    pattern = rng.integers(-9, 10, shape).astype(np.int16)
    return Correction(form, pattern, 2.0**-6, weight, np.full(int((weight < 255).sum()), 1.5, np.float32))


@given(sides, sides)
def test_they_are_small_and_show_the_whole_stack(ny: int, nx: int) -> None:
    mean = MeanImage(np.full((ny, nx), 30, np.int32), 1 / 10)
    before, after, taken = thumbnails(mean, correction((ny, nx)))
    assert before.shape == after.shape and max(before.shape) <= SIDE
    block = -(-max(ny, nx) // SIDE)
    assert before.shape == (max(1, ny // block), max(1, nx // block))
    assert np.allclose(before, 3) and taken.shape == before.shape


@pytest.mark.parametrize("form", ["subtract", "divide"])
def test_blocks_of_few_rows_are_means_of_all_their_pixels(form: str) -> None:
    values = np.random.default_rng(1).poisson(50, (2 * SIDE, 300)).astype(np.int32)
    made = correction(values.shape, form=form)
    before, after, _ = thumbnails(MeanImage(values, 0.1), made)
    image = values.astype(np.float32) * np.float32(0.1)
    for found, whole in ((before, image), (after, made.ready().apply(image))):
        assert np.allclose(found, whole.reshape(SIDE, 2, 150, 2).mean(axis=(1, 3)), rtol=1e-5)


def test_of_high_blocks_two_rows_are_looked_at() -> None:
    values = np.zeros((20 * SIDE, 20), np.int32)
    values[::10] = 7
    before, *_ = thumbnails(MeanImage(values), correction(values.shape))
    assert np.all(before == 7)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_grays_span_what_is_after_the_correction(low: float, high: float) -> None:
    after = np.linspace(low, high, 64, dtype=np.float32).reshape(8, 8)
    images, (black, white) = in_grays(after - 5, after)
    assert images.dtype == np.uint8 and images.shape == (2, 8, 8)
    assert black <= white
    if white > black:
        assert images[1].min() == 0 and images[1].max() == 255


@pytest.fixture(scope="module")
def plain(simulated_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run as it is without options."""
    return run_koma(simulated_night, tmp_path_factory.mktemp("plain") / "out")


@pytest.mark.parametrize(
    "write",
    [{}, {"write": "recompressed"}, {"write": "recompressed", "codec": "keep"}, {"write": "references"}],
)
def test_every_way_of_writing_keeps_the_same_ones(
    write: dict[str, Any], night: Path, tmp_path: Path, koma: Koma, plain: Outcome
) -> None:
    koma(night, tmp_path / "out", **write)
    for stack in plain.plan.stacks:
        expected = SessionStore(plain.plan.folder / "session.zarr").thumbnails(stack.stem)
        found = SessionStore(tmp_path / "out" / "session.zarr").thumbnails(stack.stem)
        assert expected is not None and found is not None
        assert np.array_equal(found[0], expected[0]) and found[1:] == expected[1:]
        assert found[0].shape == (3, 64, 80) and found[1] < found[2]


def test_a_pattern_is_gone_from_the_second_one(night: Path, tmp_path: Path) -> None:
    stripes = np.tile(np.where(np.arange(SIDE) % 8 < 4, 33, 27), (SIDE, 1)).astype(np.int32)
    pattern = np.where(np.arange(SIDE) % 8 < 4, 3, -3).astype(np.int16)
    clean = np.full(stripes.shape, 255, np.uint8)
    made = Correction("subtract", np.tile(pattern, (SIDE, 1)), 0.1, clean, np.zeros(0, np.float32))
    before, after, taken = thumbnails(MeanImage(stripes, 0.1), made)
    assert before.std() > 0.2 and after.std() < 1e-3 and np.allclose(taken, before - after, atol=1e-6)


def test_a_stack_is_done_without_them_too(
    night: Path, tmp_path: Path, koma: Koma, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SpaceError("no space left")

    monkeypatch.setattr(SessionStore, "put_thumbnails", full)
    assert koma(night, tmp_path / "out").complete


def test_they_are_read_as_they_were_kept(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "session.zarr")
    store.create()
    assert store.thumbnails("a") is None
    keep_thumbnails(store, "a", MeanImage(np.full((9, 9), 3, np.int32)), correction((9, 9)))
    found = store.thumbnails("a")
    assert found is not None and found[0].shape == (3, 9, 9)
    assert module.SIDE == 192


@given(sides, sides, st.integers(0, 9))
def test_a_patch_is_a_piece_of_the_image(ny: int, nx: int, seed: int) -> None:
    values = np.random.default_rng(seed).poisson(30, (ny, nx)).astype(np.int32)
    made = correction((ny, nx), seed)
    images, weight, (y, x) = patch(MeanImage(values, 0.1), made)
    size = (min(PATCH, ny), min(PATCH, nx))
    assert images.shape == (2, *size) and weight.shape == size
    place = slice(y, y + size[0]), slice(x, x + size[1])
    before = values.astype(np.float32) * np.float32(0.1)
    assert np.array_equal(images[0], before[place]) and np.array_equal(weight, made.weight[place])
    assert np.array_equal(images[1], made.ready().apply(before)[place])


def test_it_is_where_most_outliers_are() -> None:
    weight = np.full((500, 700), 255, np.uint8)
    weight[10, 10] = weight[480, 20] = 0
    weight[300:310, 400:410:3] = 0
    y, x = corner(weight)
    assert y <= 300 and y + PATCH >= 310 and x <= 400 and x + PATCH >= 410


def test_it_is_kept_with_the_thumbnails(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "session.zarr")
    store.create()
    mean, made = MeanImage(np.full((120, 130), 3, np.int32)), correction((120, 130))
    keep_thumbnails(store, "a", mean, made)
    found, expected = store.patch("a"), patch(mean, made)
    assert found is not None and found[2] == expected[2]
    assert all(np.array_equal(a, b) for a, b in zip(found[:2], expected[:2], strict=True))

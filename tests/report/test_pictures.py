"""Histogram and patch of single stacks, against the store's sums and the correction."""

import numpy as np
import pytest
from scipy import special

from mrcz_dask.report.data import SessionData
from mrcz_dask.report.figures import chosen, figures
from mrcz_dask.report.pictures import histogram, patch, picture
from mrcz_dask.session.store import SessionStore

from .conftest import session_data


def test_the_first_and_the_worst_are_chosen(data: SessionData) -> None:
    (_, first), (_, last) = chosen(data)
    assert first is data.stacks[0]
    assert last.mask is not None and last.mask.misfit == max(m.misfit or 0 for _, m in data.masks)
    keys = [one.key for one in figures(data)]
    assert keys[-4:] == ["histogram.first", "patch.first", "histogram.worst", "patch.worst"]
    assert chosen(session_data(3)) == []


def test_a_histogram_is_that_of_the_sum(data: SessionData, out) -> None:  # type: ignore[no-untyped-def]
    one = data.stacks[0]
    found = histogram(one, data.samples[1], "first")
    total = SessionStore(out / "session.zarr").load(one.stem, "sum")
    edges = np.array(found.columns["edge"])
    counts = np.histogram(total, np.concatenate([[edges[0] - 1], edges]))[0]
    assert counts.tolist() == found.columns["pixels"]
    assert sum(found.columns["pixels"]) + found.notes["below"] + found.notes["above"] == total.size


def test_the_model_is_the_normal_curve_of_z(data: SessionData) -> None:
    found = histogram(data.stacks[0], data.samples[1], "first")
    z, model = (np.array(found.columns[name], float) for name in ("z", "model"))
    share = special.ndtr(z[-1]) - special.ndtr(2 * z[0] - z[1])
    assert model.sum() == pytest.approx(share * (128 * 144), rel=1e-6)
    pixels = np.array(found.columns["pixels"], float)
    bulk = np.abs(z) < 2
    assert np.abs(model[bulk] - pixels[bulk]).sum() < 0.1 * pixels[bulk].sum()


def test_a_patch_is_a_piece_of_the_stack(data: SessionData, out) -> None:  # type: ignore[no-untyped-def]
    one, look = data.stacks[0], data.samples[1]
    found = patch(one, look, "first")
    store = SessionStore(out / "session.zarr")
    y, x, weight, before = (np.array(found.columns[n]) for n in ("row", "column", "weight", "before"))
    assert np.array_equal(store.load(one.stem, "weight")[y, x], weight)
    mean = store.load(one.stem, "sum")[y, x] / one.mask.shape[0]  # type: ignore[union-attr]
    assert np.allclose(before, mean, rtol=1e-6)


def test_hot_pixels_are_gone_afterwards(data: SessionData) -> None:
    found = patch(data.stacks[0], data.samples[1], "first")
    before, after, weight = (np.array(found.columns[name]) for name in ("before", "after", "weight"))
    out = weight < 128
    assert out.any() and before[out].mean() > 3 * before[~out].mean()
    assert after[out].mean() < 1.5 * after[~out].mean()


def test_the_first_picture_shows_the_pattern_that_was_taken_off(data: SessionData, out) -> None:  # type: ignore[no-untyped-def]
    found = picture(data)
    assert found is not None and next(figures(data)).key == "picture"
    one = next(s for s in data.stacks if s.name in found.caption)
    assert one.usable
    before, after, percent = (np.array(found.columns[k]) for k in ("before", "after", "pattern_percent"))
    total = SessionStore(out / "session.zarr").load(one.stem, "sum") / one.mask.shape[0]  # type: ignore[union-attr]
    blocks = total[:128, :144].reshape(64, 2, 72, 2).mean(axis=(1, 3)).ravel()
    seen = np.abs(blocks - before) < 0.02
    assert seen.mean() > 0.9
    good = seen & (np.abs(before - after) < 0.5)
    assert np.corrcoef(before[good] - after[good], percent[good])[0, 1] > 0.95

from __future__ import annotations

import numpy as np
import pytest

from mrcz_dask.numerics.outliers.illumination import FLAT_BITS, SIDE, light_evenly, local_brightness

SHAPE = (170, 203)


def ramp(counts: float) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return counts * (1 + y / SHAPE[0] + x / SHAPE[1])


def test_an_even_image_stays() -> None:
    image = np.full(SHAPE, 50, np.int16)
    assert np.array_equal(light_evenly(image, None, 50, 400), image.astype(np.int64) << FLAT_BITS)


def test_a_ramp_becomes_even_and_poisson() -> None:
    image = np.random.default_rng(0).poisson(ramp(100))
    flat = light_evenly(image, None, 150, 1e4) * 2.0**-FLAT_BITS
    assert flat[SIDE:-SIDE, SIDE:-SIDE].mean() == pytest.approx(150, abs=0.5)
    assert flat[SIDE:-SIDE, SIDE:-SIDE].var() == pytest.approx(150, rel=0.05)


def test_blocks_are_means_of_finite_pixels() -> None:
    image = np.rint(ramp(1000)).astype(np.int32)
    bad = np.zeros(SHAPE, bool)
    bad[:SIDE, :SIDE] = True
    bad[40, 40] = True
    image[bad] = 0
    means, rows, columns = local_brightness(image, bad, 1500, 1e6)
    assert means.shape == (rows.size, columns.size) == (6, 7)
    assert rows[-1] == (160 + 169) / 2
    assert means[0, 0] == pytest.approx(1500)
    assert means[1, 1] == pytest.approx(np.delete(image[32:64, 32:64].ravel(), 8 * 32 + 8).mean())


def test_hot_and_empty_areas_stay_bounded() -> None:
    image = np.full((256, 256), 40, np.int64)
    image[0, 128], image[:, :64] = 2**50, 0
    flat = light_evenly(image, None, 40, 320)
    assert flat[0, 128] > 2**50
    assert np.abs(flat[1:] - (40 << FLAT_BITS)).max() < 40 << FLAT_BITS

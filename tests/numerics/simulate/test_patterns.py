import numpy as np
import pytest

from mrcz_dask.numerics.simulate import detector, named, simulate_session
from mrcz_dask.numerics.simulate.streams import Effect, stream

SHAPE = (160, 192)


@pytest.mark.parametrize("kind", [detector.etching, detector.columns_and_rows, detector.pixel_gain])
def test_patterns_have_mean_0_and_std_1(kind: detector.PatternDraw) -> None:
    field = kind(SHAPE, stream(1, Effect.ETCH))
    assert field.shape == SHAPE
    assert field.dtype == np.float32
    assert abs(field.mean()) < 1e-5
    assert field.std() == pytest.approx(1, abs=1e-5)


def test_columns_end_at_the_middle_row() -> None:
    field = detector.columns_and_rows(SHAPE, stream(1, Effect.CMOS))
    upper, lower = field[:80] - field[:80, :1], field[80:] - field[80:, :1]
    assert np.allclose(upper, upper[0], atol=1e-5)
    assert np.allclose(lower, lower[0], atol=1e-5)
    assert not np.allclose(upper[0], lower[0], atol=0.1)


def test_blocks_of_columns_stand_together() -> None:
    wide = detector.columns_and_rows((16, 3200), stream(1, Effect.CMOS))[0]
    blocks = wide.reshape(-1, 32).mean(axis=1)
    assert blocks.var() / wide.var() > 0.25


def test_etching_is_smooth_from_pixel_to_pixel() -> None:
    field = detector.etching(SHAPE, stream(1, Effect.ETCH))
    assert np.mean(field[:, 1:] * field[:, :-1]) > 0.9


def test_gains_have_the_stds_asked_for() -> None:
    params = named("standard", shape=SHAPE, additive=0.2)
    etching = detector.draw(params.etch, detector.etching, params, Effect.ETCH)
    assert (etching.mean(), etching.std()) == pytest.approx((0, 0.03), abs=1e-5)
    assert detector.fixed_gain(params).std() == pytest.approx(np.hypot(0.015, 0.01), rel=0.02)
    assert simulate_session(params).additive.std() == pytest.approx(0.2, abs=1e-5)


def test_evolving_pattern_forgets_with_the_dose() -> None:
    params = named("evolving", shape=SHAPE, frames=40, tau=80.0)
    replay = detector.evolving(params)
    states = [replay.at(i) for i in range(24)]
    images = np.array([detector.standardized(state) for state in states if state is not None])
    lag = [float(np.mean(images[k:] * images[: len(images) - k])) for k in range(4)]
    assert lag == pytest.approx([np.exp(-k / 2) for k in range(4)], abs=0.1)

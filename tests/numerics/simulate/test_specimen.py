import numpy as np
import pytest
from scipy.ndimage import fourier_shift

from mrcz_dask.numerics.simulate import named, specimen
from mrcz_dask.numerics.simulate.streams import Effect, stream

PARAMS = named("standard", shape=(128, 160), frames=40, carbon=(1,), ice=(2,), stacks=4)


def test_the_specimen_has_the_std_asked_for() -> None:
    stds = [specimen.Specimen(PARAMS, i).moved(0, 0).std() for i in range(4)]
    assert np.mean(stds) == pytest.approx(0.04, rel=0.03)


def test_drift_is_fast_at_first() -> None:
    path = specimen.drift_path(PARAMS, 0)
    speed = np.hypot(*np.diff(path, axis=0).T)
    expected = 0.4 * (0.5 + 2 * np.exp(-8 * np.arange(39) / 40))
    assert path.shape == (40, 2)
    assert not path[0].any()
    assert np.allclose(speed, expected)


def test_a_shift_agrees_with_fourier() -> None:
    image = specimen.particles((128, 160), stream(1, Effect.SPECIMEN))
    for dy, dx in ((0.3, -2.6), (5.0, 1.0), (-7.45, 40.2)):
        exact = np.fft.ifft2(fourier_shift(np.fft.fft2(image), (dy, dx))).real
        assert np.abs(specimen.shifted(image, dy, dx) - exact).max() < 0.02


def test_a_whole_shift_is_a_roll() -> None:
    image = specimen.particles((64, 48), stream(1, Effect.SPECIMEN))
    assert np.array_equal(specimen.shifted(image, 3, -2), np.roll(image, (3, -2), (0, 1)))


def test_the_gradient_moves_with_the_specimen() -> None:
    body = specimen.Specimen(PARAMS, 0)
    still, moved = body.moved(0, 0), body.moved(4, 0)
    assert np.allclose(moved[40:80, 40:80], still[36:76, 40:80], atol=1e-5)


def test_illumination_is_even_but_for_carbon_and_ice() -> None:
    normal, carbon, ice = (specimen.illumination(PARAMS, i) for i in range(3))
    assert np.array_equal(normal, np.ones((128, 160), np.float32))
    assert 0.749 < carbon.min() < 0.76 < 0.99 < carbon.max() <= 1
    assert 0.749 < ice.min() < 0.8 < 0.95 < ice.max() <= 1
    assert carbon.std() > 0.05
    assert np.abs(np.diff(ice)).max() < np.abs(np.diff(carbon)).max()

"""Frames whose power, lattices, contrast and dose are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mrcz_dask.live import Roi
from tests.live.recipes import Run, module

Image = NDArray[np.float64]


def noise(shape: tuple[int, int], dose: float = 20, seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).poisson(dose, shape).astype(np.uint16)


def waves(shape: tuple[int, int], period: float, *angles: float) -> Image:
    """Sum of plane waves; angles in degrees from the x axis towards y."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    turns = [np.cos(np.radians(a)) * x + np.sin(np.radians(a)) * y for a in angles]
    return np.sum([np.cos(2 * np.pi * t / period) for t in turns], axis=0)


def ring_of(shape: tuple[int, int], period: float, seed: int = 0, width: float = 0.02) -> Image:
    """Texture of one spacing in all directions, variance 1."""
    draws = np.fft.fft2(np.random.default_rng(seed).standard_normal(shape))
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1]))
    made = np.fft.ifft2(draws * (np.abs(radius * period - 1) < width)).real
    return made / made.std()


def profile(frame: NDArray, pixel_size: float | None = None, **values: object) -> tuple[Image, Image]:
    found = Run("radial_profile", **{"scale": "linear", **values})(frame, pixel_size=pixel_size)
    assert found is not None
    return found["power"]


@pytest.mark.parametrize("tile", [128, 256, 512])
@pytest.mark.parametrize("period", [4.0, 6.5, 10.0])
def test_a_wave_and_a_ring_peak_at_their_frequency(tile: int, period: float) -> None:
    wide = 0.75 / tile / 1.7
    for signal, spread in ((waves((600, 520), period, 33.0), 0), (ring_of((600, 520), period), 0.02)):
        frame = np.random.default_rng(0).poisson(100 + 20 * signal / signal.std())
        places, values = profile(frame, 1.7, tile=tile)
        outside = places > 3 / tile / 1.7
        peak = places[outside][values[outside].argmax()]
        assert peak == pytest.approx(1 / (period * 1.7), abs=wide + spread / (period * 1.7))
        assert values.max() > 20 * np.median(values)


def test_frequencies_without_a_pixel_size_end_at_half() -> None:
    places, values = profile(noise((300, 600)))
    assert places[0] == 0 and places[-1] == 0.5 and len(places) == len(values) == 151


@pytest.mark.parametrize("dose", [0.02, 1, 300])
def test_counts_have_their_variance_at_all_frequencies(dose: float) -> None:
    _, values = profile(noise((512, 512), dose), tile=128)
    np.testing.assert_allclose(values[8:], dose, rtol=0.25)
    assert values[8:].mean() == pytest.approx(dose, rel=0.06)


@settings(max_examples=20)
@given(st.integers(128, 256), st.integers(128, 256), st.integers(1, 3), st.booleans())
def test_turning_and_mirroring_the_frame_changes_nothing(ny: int, nx: int, turns: int, mirror: bool) -> None:
    frame = noise((ny, nx)) + 10 * waves((ny, nx), 7, 20)
    turned = np.rot90(frame, turns)
    _, one = profile(frame, tile=128)
    _, other = profile(turned[::-1] if mirror else turned, tile=128)
    np.testing.assert_allclose(one, other, rtol=2e-3)


@given(st.sampled_from([2, 4, 10]))
def test_power_goes_with_the_square_of_the_counts(factor: int) -> None:
    frame = noise((128, 160), 5).astype(np.float32)
    np.testing.assert_allclose(profile(frame * factor)[1], factor**2 * profile(frame)[1], rtol=1e-3)
    log = profile(frame, scale="log10")[1]
    np.testing.assert_allclose(log, np.log10(profile(frame)[1]))


def test_a_ring_that_appears_is_seen_when_it_appears() -> None:
    shape, begins = (300, 280), 6
    run = Run("phase_change", place=12.0)
    frames = [noise(shape, 50, k) + (k >= begins) * 4 * ring_of(shape, 8.0, k) for k in range(10)]
    ratios = np.array([one["ratio"] for one in run.over(frames, pixel_size=1.5)])
    assert (np.abs(ratios[:begins]) < 0.15).all() and (ratios[begins:] > 1).all()
    elsewhere = Run("phase_change", place=20.0).over(frames, pixel_size=1.5)
    assert all(abs(one["ratio"]) < 0.3 for one in elsewhere)


@pytest.mark.parametrize("angle", [12.5, 77.5, 147.5])
def test_spots_of_a_lattice_are_seen_around_the_ring(angle: float) -> None:
    frame = noise((300, 300), 50) + 3 * waves((300, 300), 8.0, angle)
    found = Run("phase_change", place=8.0)(frame)
    assert found is not None
    places, around = found["around"]
    assert places[around.argmax()] == pytest.approx(angle, abs=5)


def diffraction(ring: float, center: tuple[float, float], angle: float | None = None) -> NDArray[np.int64]:
    """A halo, a ring of radius 60 over it, so many times as strong, and a pair of spots on the ring."""
    y, x = np.mgrid[:256, :256] - np.array(center)[:, None, None]
    radius = np.hypot(y, x)
    halo = 200 * np.exp(-radius / 40)
    mean = halo * (1 + ring * (np.abs(radius - 60) < 3))
    if angle is not None:
        a, b = 60 * np.sin(np.radians(angle)), 60 * np.cos(np.radians(angle))
        mean += sum(3000 * np.exp(-((y - s * a) ** 2 + (x - s * b) ** 2) / 6) for s in (-1, 1))
    return np.random.default_rng(3).poisson(mean)


@pytest.mark.parametrize("ring", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("center", ["middle", "mass"])
def test_the_ratio_in_diffraction_frames_is_right(ring: float, center: str) -> None:
    where = (127.5, 127.5) if center == "middle" else (123.0, 131.0)
    values = {"frames": "diffraction", "place": 60.0, "center": center}
    found = Run("phase_change", **values)(diffraction(ring, where))
    assert found is not None and found["ratio"] == pytest.approx(ring, abs=0.05 + 0.1 * ring)


def test_spots_in_diffraction_frames_are_seen_at_their_angle() -> None:
    found = Run("phase_change", frames="diffraction", place=60.0)(diffraction(0, (127.5, 127.5), 41.0))
    assert found is not None and found["around"][0][found["around"][1].argmax()] == 42.5
    assert found["ratio"] > 0.5


@pytest.mark.parametrize("place", [1.0, 500.0])
def test_a_ring_outside_of_the_diffractogram_is_refused(place: float) -> None:
    with pytest.raises(ValueError, match=r"ring at .* must be inside"):
        Run("phase_change", place=place)(noise((100, 100)))


def turned(angle: Image, truth: float, symmetry: int) -> Image:
    """Degrees from the true angle, the short way round."""
    turn = 360 / symmetry
    return np.abs((angle - truth + turn / 2) % turn - turn / 2)


@pytest.mark.parametrize("symmetry", [2, 4, 6])
@pytest.mark.parametrize("period", [4.0, 7.3, 11.0])
def test_two_crystals_have_their_angles(symmetry: int, period: float) -> None:
    """Away from the boundary to a degree; in what is no crystal there is no angle."""
    shape, truths = (448, 640), (8.0, 33.0)
    spots = [180 / (symmetry // 2) * k for k in range(symmetry // 2)]
    left, right = (waves(shape, period, *(t + s for s in spots)) for t in truths)
    column = np.arange(shape[1])
    signal = np.where(column < 224, left, np.where(column < 448, right, 0))
    frame = np.random.default_rng(0).poisson(40 + 8 * signal)
    found = Run("crystallite_map", symmetry=symmetry)(frame)
    assert found is not None and found["angle"].shape == found["strength"].shape == (13, 19)
    assert turned(found["angle"][:, :6], truths[0], symmetry).max() < 1
    assert turned(found["angle"][:, 7:13], truths[1], symmetry).max() < 1
    assert found["strength"][:, :6].min() > 0.8 > 0.5 > found["strength"][:, 15:].mean()
    assert np.isnan(found["angle"][:, 15:]).mean() > 0.9


@settings(max_examples=15)
@given(st.floats(0, 60, exclude_max=True), st.integers(1, 3))
def test_a_turned_frame_has_a_turned_lattice(angle: float, turns: int) -> None:
    frame = np.random.default_rng(1).poisson(50 + 8 * waves((128, 128), 7.0, angle, angle + 60, angle + 120))
    for k in (0, turns):
        found = Run("crystallite_map")(np.rot90(frame, k))
        assert found is not None and turned(found["angle"], angle - 90 * k, 6).max() < 1.5
        assert (found["angle"] >= 0).all() and (found["angle"] <= 60).all()


def test_a_band_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="longest above shortest"):
        Run("crystallite_map", shortest=9.0, longest=9.0)(noise((100, 100)))


def contrast(frame: NDArray, **values: object) -> dict:
    found = Run("local_contrast", **values)(frame)
    assert found is not None
    return found


def test_local_contrast_is_deviation_over_mean() -> None:
    draws = np.random.default_rng(0)
    frame = 50 + np.where(np.arange(400) < 200, 2, 10) * draws.standard_normal((300, 400))
    found = contrast(frame.astype(np.float32), window=31, side=128)
    assert found["contrast"].shape == (75, 100)
    assert found["contrast"][:, :40].mean() == pytest.approx(0.04, rel=0.02)
    assert found["contrast"][:, 60:].mean() == pytest.approx(0.2, rel=0.02)
    checks = 1000 + 50 * (np.indices((64, 64)).sum(axis=0) % 2 * 2 - 1)
    assert contrast(checks)["median"] == pytest.approx(0.05, rel=0.01)


def test_shot_noise_can_be_taken_off() -> None:
    specimen = np.maximum(100 * (1 + 0.2 * np.random.default_rng(0).standard_normal((256, 256))), 0)
    frame = np.random.default_rng(1).poisson(specimen)
    assert contrast(frame, window=31)["median"] == pytest.approx(np.hypot(0.2, 0.1), rel=0.02)
    assert contrast(frame, window=31, shot_noise="take off")["median"] == pytest.approx(0.2, rel=0.03)
    assert contrast(noise((256, 256)), shot_noise="take off")["median"] < 0.05


@given(st.floats(0.1, 50), st.integers(0, 3))
def test_contrast_knows_no_unit_of_counts_and_turns_with_the_frame(factor: float, turns: int) -> None:
    frame = noise((65, 65)).astype(np.float64)
    plain = contrast(frame)["contrast"]
    np.testing.assert_allclose(contrast(frame * factor)["contrast"], plain, rtol=1e-3)
    np.testing.assert_allclose(
        contrast(np.rot90(frame, turns))["contrast"], np.rot90(plain, turns), rtol=1e-3
    )


def test_large_counts_keep_their_contrast() -> None:
    frame = 60000 + noise((200, 200), 100)
    assert contrast(frame)["median"] == pytest.approx(10 / 60100, rel=0.05)


def test_nothing_is_said_of_frames_without_counts() -> None:
    assert Run("local_contrast")(np.zeros((50, 50))) is None
    assert Run("local_contrast")(np.full((50, 50), -1.0)) is None


def test_dose_adds_up() -> None:
    run = Run("mean_dose", counts_per_electron=2.0)
    frame = np.full((40, 50), 3, np.uint8)
    found = run.over([frame, frame, frame], pixel_size=0.5)[-1]
    assert found == {"mean": 3.0, "rate": 1.5, "accumulated": 4.5, "dose": 18.0}
    unknown = run(frame)
    assert unknown is not None and unknown["accumulated"] == 6 and np.isnan(unknown["dose"])


def test_dose_of_frames_that_were_skipped_is_between_their_neighbors() -> None:
    run = Run("mean_dose")
    one, three = np.full((9, 9), 1), np.full((9, 9), 3)
    run(one, number=4)
    assert run(three, number=7)["accumulated"] == 1 + 2 + 2 + 3  # type: ignore[index]


def test_dose_begins_anew_with_a_stack_or_not_and_with_a_region() -> None:
    frame = np.full((40, 50), 2, np.uint16)
    for begin, expected in (("each stack", 2), ("once", 4)):
        run = Run("mean_dose", begin=begin)
        run(frame, stack="a")
        assert run(frame, stack="b")["accumulated"] == expected  # type: ignore[index]
        assert run(frame, stack="b", roi=Roi(5, 45, 0, 50))["accumulated"] == 2  # type: ignore[index]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=9))
def test_accumulated_is_the_sum_of_the_means(means: list[int]) -> None:
    frames = [np.full((7, 5), value, np.uint16) for value in means]
    assert Run("mean_dose").over(frames)[-1]["accumulated"] == pytest.approx(sum(means))


@pytest.mark.parametrize("dose", [0.001, 0.01, 1, 200])
def test_cutting_hot_pixels_takes_nothing_from_counts(dose: float) -> None:
    frame = noise((500, 500), dose)
    mean_of = module("mean_dose").mean_of
    assert mean_of(frame, cut=True) == pytest.approx(frame.mean(), rel=1e-3)
    hot = frame.copy()
    hot[10, 10:20] = 65535
    assert mean_of(hot, cut=False) > frame.mean() + 2
    if dose > 0.001:  # else more than 999 of 1000 pixels are 0 and nothing is known of the others
        assert mean_of(hot, cut=True) == pytest.approx(frame.mean(), rel=0.05)


@pytest.mark.parametrize("side", [300, 512, 700])
@pytest.mark.parametrize("recipe", ["phase_change", "radial_profile"])
def test_a_crystal_counts_alike_wherever_it_is(recipe: str, side: int) -> None:
    grain, size = 3 * waves((96, 96), 8.0, 30), side - 96
    found = []
    for y, x in [
        (size // 2, size // 2),
        (0, 0),
        (size, 0),
        (0, size // 2),
        (size // 4, size),
        (size // 3, 9),
    ]:
        frame = noise((side, side), 50).astype(float)
        frame[y : y + 96, x : x + 96] += grain
        if recipe == "phase_change":
            found.append(Run(recipe, place=8.0)(frame)["ratio"])  # type: ignore[index]
        else:
            places, values = profile(frame)
            found.append((values[np.abs(places - 1 / 8) < 0.03] - 50).sum())
    assert min(found) > 0.7 * found[0] and max(found) < 1.4 * found[0]

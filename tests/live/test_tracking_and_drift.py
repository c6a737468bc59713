"""Movies of particles that go known ways, and of a specimen that drifts a known way."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift, gaussian_filter

from tests.live.recipes import Run

Points = NDArray[np.float64]
SHAPE = (300, 320)
WAYS = np.array([[2.0, 1.0], [-1.0, 2.5], [0.0, -3.0], [1.5, 1.5], [-2.0, -2.0], [0.5, 0.0]])
STARTS = np.array([[60.0, 60], [220, 60], [150, 250], [60, 180], [240, 240], [150, 130]])


def frame_with(at: Points, *, sign: int = -1, seed: int = 0, level: float = 60) -> NDArray[np.uint16]:
    """Counts with particles of 11 pixels."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mean = np.full(SHAPE, float(level))
    for a, b in at:
        mean += sign * 0.5 * level * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * 3.0**2))
    return np.random.default_rng(seed).poisson(mean).astype(np.uint16)


def truth(k: int) -> Points:
    return STARTS + k * WAYS


def identities(run: Run, at: Points) -> list[int]:
    """The track of the particle that is found within a pixel of each place."""
    known = run.state["known"][run.state["known"][:, 4] == 0]
    away = np.hypot(*(known[:, None, :2] - at).transpose(2, 0, 1))
    assert (away.min(axis=0) < 1).all()
    return known[away.argmin(axis=0), 2].astype(int).tolist()


@pytest.mark.parametrize(("shade", "sign"), [("dark", -1), ("bright", 1)])
def test_particles_are_counted_followed_and_timed(shade: str, sign: int) -> None:
    run = Run("particle_tracking", shade=shade)
    names, speeds = [], []
    for k in range(12):
        found = run(frame_with(truth(k), sign=sign, seed=k))
        assert found is not None and (found["particles"], found["tracks"]) == (6, 6)
        names.append(identities(run, truth(k)))
        speeds.append(found["speed"])
    assert all(one == names[0] for one in names) and len(set(names[0])) == 6
    assert np.isnan(speeds[0])
    assert np.mean(speeds[1:]) == pytest.approx(np.hypot(*WAYS.T).mean(), rel=0.05)
    other = Run("particle_tracking", shade="bright" if shade == "dark" else "dark")
    assert other(frame_with(truth(0), sign=sign))["particles"] == 0  # type: ignore[index]


def test_places_are_right_to_a_fifth_of_a_pixel() -> None:
    errors = []
    for k in range(6):
        run = Run("particle_tracking")
        at = truth(k) + 0.37 * k
        run(frame_with(at, seed=k))
        known = run.state["known"][:, :2]
        away = known[:, None] - at
        nearest = np.hypot(*away.transpose(2, 0, 1)).argmin(axis=0)
        errors.append(away[nearest, np.arange(len(at))])
    assert np.sqrt(np.mean(np.square(errors))) < 0.2


def test_speed_counts_the_frames_that_were_skipped() -> None:
    run = Run("particle_tracking", search=8.0)
    for k in (0, 2, 4):
        found = run(frame_with(truth(k), seed=k), number=k)
    assert found is not None and found["tracks"] == 6
    assert found["speed"] == pytest.approx(np.hypot(*WAYS.T).mean(), rel=0.05)


def test_a_particle_that_comes_back_is_the_same_if_it_was_not_long_away() -> None:
    for away, tracks in ((3, 6), (4, 7)):
        run = Run("particle_tracking", memory=3)
        run(frame_with(STARTS))
        for k in range(away):
            assert run(frame_with(STARTS[1:], seed=k))["particles"] == 5  # type: ignore[index]
        assert run(frame_with(STARTS))["tracks"] == tracks  # type: ignore[index]


def test_trails_are_where_particles_went_and_fade() -> None:
    run = Run("particle_tracking", trail=5)
    for k in range(4):
        trails = run(frame_with(truth(k), seed=k))["trails"]  # type: ignore[index]
    assert trails.shape == (150, 160)
    for k, value in ((0, 0.8**2), (3, 1.0)):
        for y, x in (truth(k) // 2).astype(int):
            assert trails[y - 1 : y + 2, x - 1 : x + 2].max() >= np.float32(value)
    assert (trails > 0).sum() < 100


def test_noise_alone_has_no_particles() -> None:
    run = Run("particle_tracking")
    counts = [run(frame_with(np.empty((0, 2)), seed=k))["particles"] for k in range(10)]  # type: ignore[index]
    assert sum(counts) == 0


def test_crowded_particles_are_linked_without_an_error() -> None:
    """Nearer to each other than they may go: what is the same then is a guess, but it is made."""
    grid = np.stack(np.meshgrid(np.arange(40, 260, 20.0), np.arange(40, 280, 20.0), indexing="ij"), -1)
    run = Run("particle_tracking", search=45.0, contrast=1.5)
    for k in range(3):
        found = run(frame_with(grid.reshape(-1, 2) + 0.5 * k, seed=k))
        assert found is not None and found["particles"] >= 132


def specimen(n: int = 512, seed: int = 0) -> NDArray[np.complex128]:
    made = gaussian_filter(np.random.default_rng(seed).standard_normal((n, n)), 3, mode="wrap")
    return np.fft.fft2(made / made.std())


def drifting(
    ways: Points, *, dose: float = 20, contrast: float = 0.2, pattern: float = 0.0
) -> Iterator[NDArray[np.uint16]]:
    """Counts of a piece of a specimen that has gone `ways`, with a fixed pattern of the detector."""
    waves, draws = specimen(), np.random.default_rng(1)
    gain = 1 + pattern * draws.standard_normal((300, 280))
    for way in ways:
        piece = np.fft.ifft2(fourier_shift(waves, way)).real[100:400, 110:390]
        yield draws.poisson(np.maximum(dose * (1 + contrast * piece), 0) * gain).astype(np.uint16)


def steps_and_ways(frames: int = 10, most: float = 3) -> tuple[Points, Points]:
    steps = np.random.default_rng(2).uniform(-most, most, (frames, 2))
    steps[0] = 0
    return steps, np.cumsum(steps, axis=0)


def steps_of(results: list[dict]) -> Points:
    return np.array([[one["dy"], one["dx"]] for one in results])


@pytest.mark.parametrize(
    ("dose", "pattern", "weights", "limit"),
    [
        (20, 0.0, "amplitude", 0.1),
        (20, 0.03, "amplitude", 0.1),
        (1, 0.0, "amplitude", 0.4),
        (1000, 0.0, "phase", 0.5),
    ],
)
def test_known_drift_is_found(dose: float, pattern: float, weights: str, limit: float) -> None:
    steps, ways = steps_and_ways()
    results = Run("drift", weights=weights).over(drifting(ways, dose=dose, pattern=pattern))
    errors = steps_of(results) - steps
    assert np.sqrt(np.mean(errors**2)) < limit
    total = [results[-1]["total_dy"], results[-1]["total_dx"]]
    np.testing.assert_allclose(total, steps_of(results).sum(axis=0), atol=1e-6)
    np.testing.assert_allclose(total, ways[-1], atol=10 * limit)


def test_blocks_find_the_drift_of_whole_pixels() -> None:
    steps, ways = steps_and_ways()
    results = Run("drift", side=128).over(drifting(ways, dose=200))
    assert np.sqrt(np.mean((steps_of(results) - steps) ** 2)) < 0.2


def test_drift_begins_anew_with_another_stack() -> None:
    _, ways = steps_and_ways(4)
    first, *others = list(drifting(ways, dose=200))
    for begin, still in (("each stack", True), ("once", False)):
        run = Run("drift", begin=begin)
        run(first, stack="a")
        found = run(others[0], stack="b")
        assert found is not None and (found["dy"] == found["total_dy"] == 0) is still


def test_drift_says_its_error_or_nothing() -> None:
    """Of frames with enough counts the error is as large as what is wrong; of pure noise nothing is shown."""
    steps, ways = steps_and_ways(12)
    found = Run("drift").over(drifting(ways, dose=200))[1:]
    wrong = [[one["dy"] - y, one["dx"] - x] for one, (y, x) in zip(found, steps[1:], strict=True)]
    assert found[-1]["error"] < 0.5 and np.sqrt(np.mean(np.square(wrong))) < 3 * found[-1]["error"] + 0.05
    noise = [np.random.default_rng(k).poisson(1, (160, 144)) for k in range(6)]
    last = Run("drift").over(noise)[-1]
    assert last["error"] > 2 and np.isnan([last["dy"], last["dx"], last["total_dy"]]).all()


@settings(max_examples=10)
@given(st.tuples(st.integers(-6, 6), st.integers(-6, 6)))
def test_there_and_back_is_nowhere(way: tuple[int, int]) -> None:
    here, there = drifting(np.array([(0, 0), way], float), dose=500)
    results = Run("drift").over([here, there, here])
    assert results[1]["dy"] == pytest.approx(way[0], abs=0.1)
    assert results[1]["dx"] == pytest.approx(way[1], abs=0.1)
    assert abs(results[2]["total_dy"]) < 0.11 and abs(results[2]["total_dx"]) < 0.11


def test_tracks_and_drift_agree_on_particles_that_all_go_one_way() -> None:
    way = np.array([1.5, -2.0])
    frames = [frame_with(STARTS + k * way, seed=k, level=200) for k in range(5)]
    tracked, drifted = Run("particle_tracking").over(frames), Run("drift").over(frames)
    for one in tracked[1:]:
        assert one["speed"] == pytest.approx(2.5, abs=0.15)
    assert drifted[-1]["total_dy"] == pytest.approx(4 * 1.5, abs=0.6)
    assert drifted[-1]["total_dx"] == pytest.approx(4 * -2.0, abs=0.6)

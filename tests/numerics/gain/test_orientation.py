from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.numerics.gain.estimate import PatternSum, SessionPattern
from mrcz_dask.numerics.gain.orientation import (
    ALL,
    COLUMNS,
    IDENTITY,
    ROWS,
    TRANSPOSE,
    Orientation,
    as_others_read,
    decide,
    rotated_flipped,
    score_orientations,
    warp_flags,
)
from mrcz_dask.numerics.outliers.mask import outlier_mask
from mrcz_dask.numerics.simulate import SimulationParams, named, simulate_session
from mrcz_dask.numerics.sums import sum_stack
from mrcz_dask.values.errors import ParameterError, SessionError

SMALL = np.arange(6).reshape(2, 3)
ORIENTATIONS = st.sampled_from(ALL)


def test_the_eight_are_all_there_are() -> None:
    assert len({(o.apply(SMALL).shape, *o.apply(SMALL).ravel().tolist()) for o in ALL}) == 8


def test_the_table_of_composition() -> None:
    """Applying one after the other is applying what `then` says, for all 64 pairs."""
    for one, other in product(ALL, ALL):
        assert np.array_equal(one.then(other).apply(SMALL), other.apply(one.apply(SMALL)))


@given(ORIENTATIONS, ORIENTATIONS, ORIENTATIONS)
def test_they_are_a_group(a: Orientation, b: Orientation, c: Orientation) -> None:
    assert a.then(b).then(c) == a.then(b.then(c))
    assert a.then(a.inverse) == IDENTITY == a.inverse.then(a)
    assert a.then(IDENTITY) == a == IDENTITY.then(a)
    assert a.shape(SMALL.shape) == a.apply(SMALL).shape


def test_the_named_ones() -> None:
    assert np.array_equal(ROWS.apply(SMALL), SMALL[::-1])
    assert np.array_equal(COLUMNS.apply(SMALL), SMALL[:, ::-1])
    assert np.array_equal(TRANSPOSE.apply(SMALL), SMALL.T)


def relion(image: np.ndarray, rotate: int, flip: int) -> np.ndarray:
    """Its words: a pixel (x, y) of ny rows goes to row x, column ny - 1 - y; flip 1 is Y, 2 is X."""
    for _ in range(rotate):
        turned = np.empty(image.shape[::-1], image.dtype)
        for y, x in np.ndindex(image.shape):
            turned[x, image.shape[0] - 1 - y] = image[y, x]
        image = turned
    return (image, image[::-1], image[:, ::-1])[flip]


def motioncor(image: np.ndarray, rotate: int, flip: int) -> np.ndarray:
    """Its words: about the center, old x = x cos + y sin, old y = -x sin + y cos, y upwards."""
    cos, sin = (1, 0, -1, 0)[rotate], (0, 1, 0, -1)[rotate]
    turned = np.empty(image.shape[:: -1 if rotate % 2 else 1], image.dtype)
    ny, nx = turned.shape
    for row, column in np.ndindex(ny, nx):
        x, y = column - (nx - 1) / 2, row - (ny - 1) / 2
        old = -x * sin + y * cos + (image.shape[0] - 1) / 2, x * cos + y * sin + (image.shape[1] - 1) / 2
        turned[row, column] = image[int(old[0]), int(old[1])]
    return (turned, turned[::-1], turned[:, ::-1])[flip]


def warp(image: np.ndarray, flip_x: bool, flip_y: bool, transpose: bool) -> np.ndarray:
    image = image[:, ::-1] if flip_x else image
    image = image[::-1] if flip_y else image
    return image.T if transpose else image


@pytest.mark.parametrize("flip", range(3))
@pytest.mark.parametrize("rotate", range(4))
def test_rotate_and_flip_are_those_of_relion_and_motioncor(rotate: int, flip: int) -> None:
    ours = rotated_flipped(rotate, flip).apply(SMALL)
    assert np.array_equal(ours, relion(SMALL, rotate, flip))
    assert np.array_equal(ours, motioncor(SMALL, rotate, flip))


@pytest.mark.parametrize("orientation", ALL, ids=str)
def test_flags_of_other_programs_come_to_the_same(orientation: Orientation) -> None:
    ours, flags = orientation.apply(SMALL), warp_flags(orientation)
    assert np.array_equal(relion(SMALL, orientation.turns, int(orientation.flip)), ours)
    assert np.array_equal(warp(SMALL, flags.flip_x, flags.flip_y, flags.transpose), ours)
    assert flags.orientation == orientation


@pytest.mark.parametrize("frames_tiff", [False, True])
@pytest.mark.parametrize("gain_tiff", [False, True])
@pytest.mark.parametrize("orientation", ALL, ids=str)
def test_programs_that_reverse_the_rows_of_tiff(
    orientation: Orientation, gain_tiff: bool, frames_tiff: bool
) -> None:
    """The gain as they hold it, turned as told, lies on the frames as they hold them."""
    held = SMALL[::-1] if gain_tiff else SMALL
    frames = orientation.apply(SMALL)
    told = as_others_read(orientation, gain_tiff=gain_tiff, frames_tiff=frames_tiff)
    assert np.array_equal(told.apply(held), frames[::-1] if frames_tiff else frames)


def test_other_numbers_are_refused() -> None:
    with pytest.raises(ParameterError, match="0-3"):
        Orientation(4)
    with pytest.raises(ParameterError, match="flip 3"):
        rotated_flipped(0, 3)


SHAPES = [(80, 80), (96, 72)]


def simulated(params: SimulationParams) -> tuple[SessionPattern, np.ndarray]:
    """The pattern of a session, and the gain that undoes the camera's."""
    session = simulate_session(params)
    found = PatternSum(params.shape)
    for stack in session:
        total = sum_stack(stack.frames)
        mask = outlier_mask(total)
        found.add(total, mask.mask, mask.mean)
    truth = np.mean([session.pattern(i) for i in range(len(session))], axis=0)
    return found.pattern(), (1 / truth).astype(np.float32)


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def session(request: pytest.FixtureRequest) -> tuple[SessionPattern, np.ndarray]:
    return simulated(named("standard", shape=request.param, stacks=5, frames=20, seed=3))


@pytest.mark.parametrize("sense", ["multiply", "divide"])
@pytest.mark.parametrize("orientation", ALL, ids=str)
def test_all_16_cases_are_found(
    session: tuple[SessionPattern, np.ndarray], orientation: Orientation, sense: str
) -> None:
    pattern, gain = session
    reference = orientation.inverse.apply(gain if sense == "multiply" else 1000 / gain)
    scores = score_orientations(pattern.response, pattern.good, reference)
    best = decide(scores)
    assert (best.orientation, best.sense) == (orientation, sense)
    square = gain.shape[0] == gain.shape[1]
    assert sum(s.fits for s in scores) == (16 if square else 8)
    assert best.z == max(s.z for s in scores if s.fits)
    assert str(best) in str(scores[0])


@pytest.mark.parametrize("factor", [2, -2])
def test_a_gain_of_half_or_twice_the_size_is_found(
    session: tuple[SessionPattern, np.ndarray], factor: int
) -> None:
    pattern, gain = session
    if factor > 0:
        reference = np.kron(gain, np.ones((2, 2), np.float32))
    else:  # frames in super-resolution
        pattern, reference = _doubled(pattern), gain
    turned = Orientation(1, True)
    best = decide(score_orientations(pattern.response, pattern.good, turned.inverse.apply(reference)))
    assert best.orientation == turned


def _doubled(pattern: SessionPattern) -> SessionPattern:
    response, good = (np.kron(a, np.ones((2, 2))) for a in (pattern.response, pattern.good))
    return SessionPattern(response, good.astype(bool), pattern.counts / 4, pattern.stacks, pattern.dose)


@pytest.mark.parametrize("seed", range(3))
def test_a_session_without_pattern_is_refused_with_the_scores(seed: int) -> None:
    pattern, _ = simulated(named("no pattern", shape=(80, 80), stacks=5, frames=20, seed=seed))
    gain = 1 / simulate_session(named("mature", shape=(80, 80), seed=seed + 50)).pattern(0)
    scores = score_orientations(pattern.response, pattern.good, gain)
    with pytest.raises(SessionError, match=r"rotate 2 flip 1 divide: -?\d") as found:
        decide(scores)
    assert str(found.value).count("rotate") >= 16


def test_the_gain_of_another_camera_is_refused(session: tuple[SessionPattern, np.ndarray]) -> None:
    pattern, gain = session
    other = 1 / simulate_session(named("mature", shape=gain.shape, seed=77)).pattern(0)
    with pytest.raises(SessionError, match="give the gain of this camera"):
        decide(score_orientations(pattern.response, pattern.good, other))


def test_a_gain_that_looks_the_same_turned_is_refused(session: tuple[SessionPattern, np.ndarray]) -> None:
    pattern, gain = session
    mirrored = gain * gain[::-1]
    with pytest.raises(SessionError, match="cannot be told"):
        decide(score_orientations(pattern.response, pattern.good, mirrored))


def test_a_gain_that_fits_nowhere_is_refused(session: tuple[SessionPattern, np.ndarray]) -> None:
    pattern, _ = session
    with pytest.raises(SessionError, match="no orientation"):
        decide(score_orientations(pattern.response, pattern.good, np.ones((30, 31))))


def test_a_constant_gain_scores_nothing(session: tuple[SessionPattern, np.ndarray]) -> None:
    pattern, gain = session
    scores = score_orientations(pattern.response, pattern.good, np.ones_like(gain))
    assert all(abs(s.z) < 6 for s in scores if s.fits)
    with pytest.raises(SessionError):
        decide(scores)

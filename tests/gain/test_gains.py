from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.formats.defects import write_defects
from mrcz_dask.formats.gains import write_reference
from mrcz_dask.formats.sources import read
from mrcz_dask.gain.applied import stack_gamma
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.gain.prepared import PreparedGain, prepare_gain
from mrcz_dask.numerics.gain.gain import K2
from mrcz_dask.numerics.gain.orientation import Orientation
from mrcz_dask.numerics.simulate import SimulationParams, named, simulate_session
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.errors import FormatError, ParameterError, SessionError

SHAPE = (80, 96)
PARAMS = SimulationParams(stacks=6, frames=16, shape=SHAPE, seed=4, dead=2e-3, hot=(0.0, 0.0))
TURNED = Orientation(1, True)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_session(tmp_path_factory.mktemp("gains") / "session", PARAMS)


@pytest.fixture(scope="module")
def gain() -> np.ndarray:
    """What undoes the camera's pattern, in the frames' orientation."""
    session = simulate_session(PARAMS)
    return (1 / session.pattern(0)).astype(np.float32)


def saved(path: Path, image: np.ndarray) -> str:
    write_reference(path, image)
    return str(path)


def prepared(
    options: GainOptions, stacks: Sequence[Path] = (), shape: tuple[int, int] = SHAPE
) -> PreparedGain:
    found = prepare_gain(options, shape, "bottom", stacks)
    assert found is not None
    return found


def test_nothing_asked_is_nothing() -> None:
    assert prepare_gain(GainOptions(), SHAPE, "bottom", ()) is None


def test_given_orientation_needs_no_stack(gain: np.ndarray, tmp_path: Path) -> None:
    path = saved(tmp_path / "g.mrc", TURNED.inverse.apply(gain))
    found = prepared(GainOptions(path, rotate=1, flip=1))
    assert np.array_equal(found.gain.image, gain)
    assert found.gain.dark is None and not found.gain.bad.any() and found.params.subpixels == 1
    about: dict[str, Any] = found.about["gain"]
    assert (about["name"], about["sense"], about["size"]) == ("g.mrc", "multiply", "as the frames")
    assert about["orientation"] == {"turns": 1, "flip_rows": True, "said_by": "options"}
    lines = list(found.lines())
    said = "same size as the frames, multiplied, --gain-rotate 1 --gain-flip 1 (as the options say)"
    assert lines[0] == f"gain: g.mrc, {said}"
    assert lines[1] == "for relion     --gain_rot 1 --gain_flip 1"
    assert lines[2] == "for motioncor  -RotGain 1 -FlipGain 1"
    assert not found.caveats


@pytest.mark.parametrize("divide", [False, True])
def test_auto_finds_orientation_and_sense(
    stacks: tuple[Path, ...], gain: np.ndarray, tmp_path: Path, divide: bool
) -> None:
    path = saved(tmp_path / "g.mrc", TURNED.inverse.apply(1000 / gain if divide else gain))
    found = prepared(GainOptions(path, auto=True), stacks)
    about = found.about["gain"]
    assert about["sense"] == ("divide" if divide else "multiply")
    assert (about["orientation"]["turns"], about["orientation"]["flip_rows"]) == (1, True)
    assert about["orientation"]["said_by"] == "stacks"
    assert found.gain.image / found.gain.image.mean() == pytest.approx(gain / gain.mean(), rel=1e-5)
    assert found.gain.image.mean() == pytest.approx(1, abs=0.01)


def test_the_example_session(session_folder: Path) -> None:
    """Its gain is turned and then flipped; its list of defects has rows in the order of the file."""
    session = discover(session_folder)
    options = GainOptions(
        str(session_folder / "CountRef_gain.mrc"), auto=True, defects=str(session_folder / "defects_K2.txt")
    )
    found = prepared(options, [s.path for s in session.stacks], (480, 464))
    about = found.about
    assert (about["gain"]["orientation"]["turns"], about["gain"]["orientation"]["flip_rows"]) == (1, True)
    assert about["gain"]["sense"] == "multiply"
    assert about["defects"]["orientation"] == {"turns": 0, "flip_rows": True, "said_by": "stacks"}
    assert any("defects_K2.txt" in text for text in found.caveats)
    counts = read(session.stacks[0].path, 0)
    assert not counts[found.gain.bad].any()


def test_a_session_without_pattern_is_refused(tmp_path: Path, gain: np.ndarray) -> None:
    stacks = write_session(tmp_path / "s", named("no pattern", stacks=6, frames=8, shape=SHAPE, seed=8))
    with pytest.raises(SessionError, match=r"g\.mrc on 6 stacks.*Scores"):
        prepared(GainOptions(saved(tmp_path / "g.mrc", gain), auto=True), stacks)


def test_a_gain_that_does_not_fit_names_both_shapes(tmp_path: Path, gain: np.ndarray) -> None:
    path = saved(tmp_path / "g.mrc", gain.T)
    with pytest.raises(
        ParameterError, match=r"g\.mrc: the gain is 96 x 80, .* 80 x 96 .*--gain-rotate 1 or 3"
    ):
        prepared(GainOptions(path))
    with pytest.raises(ParameterError, match=r"dark is 96 x 80.*90 degrees: --gain-rotate 1 or 3"):
        prepared(GainOptions(dark=path))
    small = saved(tmp_path / "small.mrc", gain[:-1])
    with pytest.raises(ParameterError, match=r"79 x 96.*; give the one of this camera$"):
        prepared(GainOptions(small))


def test_a_gain_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "g.mrc").write_bytes(b"x" * 5000)
    with pytest.raises(FormatError, match=r"g\.mrc"):
        prepared(GainOptions(str(tmp_path / "g.mrc")))
    with pytest.raises(FileNotFoundError):
        prepared(GainOptions(str(tmp_path / "none.mrc")))


def test_dark_goes_with_the_gain_and_zeros_are_defects(tmp_path: Path, gain: np.ndarray) -> None:
    holed = gain.copy()
    holed[3, 4] = 0
    dark = np.random.default_rng(0).uniform(0, 1, SHAPE).astype(np.float32)
    options = GainOptions(
        saved(tmp_path / "g.mrc", TURNED.inverse.apply(holed)),
        rotate=1,
        flip=1,
        dark=saved(tmp_path / "d.mrc", TURNED.inverse.apply(dark)),
    )
    found = prepared(options)
    frame = np.full(SHAPE, 7, np.uint8)
    expected = (frame - dark) * np.where(holed > 0, gain, 1)
    assert np.array_equal(found.gain.apply(frame), expected.astype(np.float32))
    assert np.argwhere(found.gain.bad).tolist() == [[3, 4]]
    assert found.about["defects_in_all"] == 1


def test_super_resolution_frames_count_for_the_dose_rate(tmp_path: Path, gain: np.ndarray) -> None:
    path = saved(tmp_path / "g.mrc", gain)
    found = prepared(GainOptions(path, gamma="auto"), shape=(160, 192))
    assert found.about["gain"]["size"] == "repeated 2 x 2"
    assert found.params.subpixels == 4
    assert stack_gamma(found.params, 0.25, 0.5) == K2.at(4 * 0.25 / 0.5)
    small = prepared(GainOptions(path), shape=(40, 48))
    assert (small.params.subpixels, small.about["gain"]["size"]) == (1, "harmonic mean of 2 x 2")


def test_gamma_by_dose_rate(tmp_path: Path, gain: np.ndarray) -> None:
    path = saved(tmp_path / "g.mrc", gain)
    found = prepared(GainOptions(path, gamma="auto"))
    assert stack_gamma(found.params, 1.0, 0.5) == K2.at(2.0)
    with pytest.raises(ParameterError, match="--frame-time"):
        stack_gamma(found.params, 1.0, None)
    given = prepared(GainOptions(path, gamma="auto", frame_time=0.25))
    assert stack_gamma(given.params, 1.0, 0.5) == K2.at(4.0)
    assert stack_gamma(prepared(GainOptions(path)).params, 1.0, None) == 1


def test_the_digest_is_of_what_decides_about_pixels(tmp_path: Path, gain: np.ndarray) -> None:
    one, other = saved(tmp_path / "one.mrc", gain), saved(tmp_path / "other.mrc", gain[::-1])
    plain = prepared(GainOptions(one)).params
    assert prepared(GainOptions(other, flip=1)).params == plain
    different = [GainOptions(other), GainOptions(one, gamma="1.1"), GainOptions(one, divide=True)]
    assert len({plain, *(prepared(options).params for options in different)}) == 4


def test_an_odd_unit_is_told(tmp_path: Path, gain: np.ndarray) -> None:
    found = prepared(GainOptions(saved(tmp_path / "g.mrc", 100 * gain)))
    assert any("the median of the gain is" in text for text in found.caveats)


@pytest.mark.parametrize("turned", [Orientation(), Orientation(2), Orientation(0, True)], ids=str)
def test_defects_are_put_where_the_stacks_have_them(
    stacks: tuple[Path, ...], tmp_path: Path, turned: Orientation
) -> None:
    dead = simulate_session(PARAMS).dead
    path = tmp_path / "d.txt"
    write_defects(path, turned.inverse.apply(dead), "boxes", "bottom")
    found = prepared(GainOptions(defects=str(path)), stacks)
    assert np.array_equal(found.gain.bad, dead)
    assert bool(found.caveats) == (turned != Orientation())
    assert (found.gain.image == 1).all()


def test_defects_that_nobody_sees_stay_as_listed(stacks: tuple[Path, ...], tmp_path: Path) -> None:
    listed = np.zeros(SHAPE, bool)
    listed[10, 10:30] = True
    path = tmp_path / "d.mrc"
    write_defects(path, listed, "map", "bottom")
    found = prepared(GainOptions(defects=str(path)), stacks)
    assert np.array_equal(found.gain.bad, listed)
    assert "is it of this camera" in found.caveats[0]
    assert not prepared(GainOptions(defects=str(path))).caveats


@pytest.mark.parametrize("listed", ["0 0 96 80\n", "CameraSizeX 96\nCameraSizeY 80\nUsableArea 50 0 79 95\n"])
def test_defects_over_most_of_the_frame_are_an_error_of_their_list(tmp_path: Path, listed: str) -> None:
    (tmp_path / "d.txt").write_text(listed)
    with pytest.raises(ParameterError, match=r"d\.txt: \d+% of the frame.*Give .* this camera$"):
        prepared(GainOptions(defects=str(tmp_path / "d.txt")))


def test_lines_of_a_list_that_are_passed_over_are_told(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("CameraSizeX 96\nCameraSizeY 80\nBadPixels 3 4\nHotPixels 5 6\n")
    (told,) = prepared(GainOptions(defects=str(tmp_path / "d.txt"))).caveats
    assert "line 4 begins with 'HotPixels'" in told

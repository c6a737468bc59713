"""A gain or dark that makes frames worse is not applied without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.formats.gains import write_reference
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.gain.prepared import PreparedGain, prepare_gain
from mrcz_dask.values.errors import ParameterError

SHAPE = (64, 80)
RNG = np.random.default_rng(0)
RESPONSE = 1 + 0.06 * RNG.standard_normal(SHAPE)
DARK = np.rint(8 + 1.5 * RNG.standard_normal(SHAPE)).clip(0)
GAIN = 1 / RESPONSE


def session(
    folder: Path, dose: float, *, dark: float = 0, already: bool = False, kind: Any = "u2"
) -> list[Path]:
    """Seven stacks of 8 frames; `already`: the gain is in them."""
    draws, paths = np.random.default_rng(1), []
    for k in range(7):
        frames = draws.poisson(dose * RESPONSE, (8, *SHAPE)) + dark * DARK
        paths.append(folder / f"s{k}.mrc")
        write(paths[-1], (frames * GAIN if already else frames).astype(kind), codec="none", durable=False)
    return paths


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return session(tmp_path_factory.mktemp("raw"), 1.0)


@pytest.fixture(scope="module")
def with_dark(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return session(tmp_path_factory.mktemp("dark"), 4.0, dark=1)


def saved(folder: Path, image: np.ndarray, name: str = "g.mrc") -> str:
    write_reference(folder / name, np.ascontiguousarray(image, np.float32))
    return str(folder / name)


def prepared(stacks: list[Path], **options: Any) -> PreparedGain:
    found = prepare_gain(GainOptions(**options), SHAPE, "bottom", stacks)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("image", "options", "fits"),
    [
        (GAIN[::-1], {}, "--gain-rotate 0 --gain-flip 1 "),
        (GAIN[::-1, ::-1], {}, "--gain-rotate 2 --gain-flip 0 "),
        (GAIN, {"flip": 2}, "--gain-rotate 0 --gain-flip 0 "),
        (GAIN.T, {"rotate": 1}, "--gain-rotate 3 --gain-flip 1 "),
        (RESPONSE, {}, "--gain-rotate 0 --gain-flip 0 --gain-divide "),
        (7 * RESPONSE[:, ::-1], {"flip": 1}, "--gain-rotate 2 --gain-flip 1 --gain-divide "),
        (GAIN, {"divide": True}, "--gain-rotate 0 --gain-flip 0 and no --gain-divide "),
    ],
)
def test_the_options_that_fit_are_named_and_fit(
    raw: list[Path], tmp_path: Path, image: np.ndarray, options: dict[str, Any], fits: str
) -> None:
    path = saved(tmp_path, image)
    (told,) = [text for text in prepared(raw, gain=path, **options).caveats if "median" not in text]
    assert "g.mrc: compared with 5 stacks" in told and f"give {fits}(" in told
    words = fits.split()
    right = {"rotate": int(words[1]), "flip": int(words[3]), "divide": words[4:] == ["--gain-divide"]}
    assert not prepared(raw, gain=path, **right).caveats


@pytest.mark.parametrize(
    ("image", "options"),
    [(GAIN, {}), (GAIN[::-1], {"flip": 1}), (RESPONSE, {"divide": True}), (GAIN[:, ::-1], {"auto": True})],
)
def test_a_right_gain_is_silent(
    raw: list[Path], tmp_path: Path, image: np.ndarray, options: dict[str, Any]
) -> None:
    assert not prepared(raw, gain=saved(tmp_path, image), **options).caveats


@pytest.mark.parametrize("options", [{}, {"divide": True}, {"rotate": 2}])
def test_a_gain_that_is_in_the_frames_already_is_an_error(tmp_path: Path, options: dict[str, Any]) -> None:
    stacks, path = session(tmp_path, 1.0, already=True, kind="f4"), saved(tmp_path, GAIN)
    with pytest.raises(ParameterError, match=r"g\.mrc.*in every orientation.*already.*--gain-force"):
        prepared(stacks, gain=path, **options)
    forced = prepared(stacks, gain=path, force=True, **options)
    assert "in every orientation" in forced.caveats[0] and forced.about["forced"] is True


def test_the_gain_of_another_camera_and_a_wrong_power_are_errors(raw: list[Path], tmp_path: Path) -> None:
    other = saved(tmp_path, 1 + 0.06 * RNG.standard_normal(SHAPE), "other.mrc")
    with pytest.raises(ParameterError, match=r"other\.mrc.*another camera"):
        prepared(raw, gain=other)
    right = saved(tmp_path, GAIN)
    with pytest.raises(ParameterError, match="in every orientation"):
        prepared(raw, gain=right, gamma="4")
    assert not prepared(raw, gain=right, gamma="0.8").caveats


def test_a_gain_that_is_too_strong_is_told(tmp_path: Path) -> None:
    stacks = session(tmp_path, 10.0)
    for image, options in ((GAIN**2, {}), (GAIN, {"gamma": "2"}), (RESPONSE**2, {"divide": True})):
        (told,) = prepared(stacks, gain=saved(tmp_path, image), **options).caveats
        assert "too strong" in told
    assert not prepared(stacks, gain=saved(tmp_path, GAIN)).caveats


def test_what_cannot_be_decided_is_a_caveat(raw: list[Path], tmp_path: Path) -> None:
    (told,) = prepared(raw, gain=saved(tmp_path, np.ones(SHAPE))).caveats
    assert "compared with 7 stacks" in told and "cannot be judged" in told
    (tmp_path / "few").mkdir()
    few = session(tmp_path / "few", 0.01)
    for image in (GAIN, GAIN[::-1]):
        assert "cannot be judged" in prepared(few, gain=saved(tmp_path, image)).caveats[0]


def test_stacks_that_cannot_be_looked_at_are_told(tmp_path: Path) -> None:
    path = tmp_path / "s.mrc"
    path.write_bytes(b"no stack")
    (told,) = prepared([path], gain=saved(tmp_path, GAIN)).caveats
    assert "not compared" in told


def test_a_dark_is_compared_and_taken_off_before_the_gain_is(with_dark: list[Path], tmp_path: Path) -> None:
    gain = saved(tmp_path, GAIN)
    assert not prepared(with_dark, gain=gain, dark=saved(tmp_path, DARK, "d.mrc")).caveats
    (told,) = prepared(with_dark, dark=saved(tmp_path, DARK[:, ::-1], "d.mrc")).caveats
    assert "d.mrc" in told and "--gain-rotate 2 --gain-flip 1" in told
    assert not prepared(with_dark, dark=str(tmp_path / "d.mrc"), flip=2).caveats
    (told,) = prepared(with_dark, gain=gain, dark=str(tmp_path / "d.mrc")).caveats
    assert "the way round that g.mrc has" in told


@pytest.mark.parametrize(
    ("image", "why"), [(8 * DARK, "not their sum"), (DARK.T.reshape(SHAPE), "every orientation")]
)
def test_a_wrong_dark_is_an_error(with_dark: list[Path], tmp_path: Path, image: np.ndarray, why: str) -> None:
    dark = saved(tmp_path, image, "d.mrc")
    with pytest.raises(ParameterError, match=rf"d\.mrc.*{why}.*--gain-force"):
        prepared(with_dark, dark=dark)
    assert why in prepared(with_dark, dark=dark, force=True).caveats[0]

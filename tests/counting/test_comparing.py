"""Gain and dark that do not fit raw frames are not used for counting without a word."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import mrcz_dask
from mrcz_dask.cli.app import app
from mrcz_dask.counting import FindParams, calibrate, count_plan
from mrcz_dask.counting.simulation import write_raw
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.numerics.counting.coincidence import LossCurve
from mrcz_dask.numerics.counting.params import RawParams
from mrcz_dask.numerics.counting.simulate import RawStack
from mrcz_dask.values.errors import ParameterError

PARAMS = RawParams(shape=(96, 112), frames=400, occupancy=0.02, gain_spread=0.1, seed=5)
TRUTH = RawStack(PARAMS)
GAIN = np.where(TRUTH.gain > 0, 1 / np.where(TRUTH.gain > 0, TRUTH.gain, 1), 0).astype(np.float32)
DARK = TRUTH.offset.astype(np.float32)
FIND = FindParams(charge=10, width=0.12, sample=32)
OTHER = (1 + 0.1 * np.random.default_rng(1).standard_normal(GAIN.shape)).astype(np.float32)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "loss_curve", lambda *a: LossCurve(0.0, (-0.03, -3.0, 0.0, 0.0), 0.1))
    monkeypatch.setattr(calibrate, "_position_map", lambda *a: None)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "raw", PARAMS, dark_frames=16)[0]


def asked(folder: Path, images: dict[str, Any], **options: Any) -> GainOptions:
    for name, image in images.items():
        mrcz_dask.write(folder / f"{name}.mrc", np.ascontiguousarray(image, np.float32), codec="none")
    return GainOptions(**({name: str(folder / f"{name}.mrc") for name in images} | options))


def warnings(raw: Path, folder: Path, images: dict[str, Any], **options: Any) -> list[str]:
    """Look at a detector with references; return the warnings about them."""
    plan = count_plan([raw], folder / "out", FIND, gain=asked(folder, images, **options))
    made = calibrate.calibrate(plan.stacks, FIND, plan.inputs, plan.references, SerialClient())
    return list(made.about.get("caveats", []))


@pytest.mark.parametrize("images", [{"gain": GAIN}, {"gain": GAIN, "dark": DARK}, {"dark": DARK}])
def test_right_references_are_silent(raw: Path, tmp_path: Path, images: dict[str, Any]) -> None:
    assert not warnings(raw, tmp_path, images)


def test_a_right_gain_with_a_stack_of_dark_frames_is_silent(raw: Path, tmp_path: Path) -> None:
    assert not warnings(raw, tmp_path, {"gain": GAIN}, dark=str(raw.parent / "dark.mrcz"))


@pytest.mark.parametrize(
    ("images", "fits"),
    [
        ({"gain": GAIN[::-1]}, "gain.mrc.*--gain-rotate 0 --gain-flip 1 "),
        ({"gain": 1 / np.maximum(GAIN, 0.1)}, "gain.mrc.*--gain-rotate 0 --gain-flip 0 --gain-divide"),
        ({"gain": GAIN[::-1, ::-1], "dark": DARK[::-1, ::-1]}, "dark.mrc.*--gain-rotate 2 --gain-flip 0 "),
        ({"dark": DARK[:, ::-1]}, "dark.mrc.*--gain-rotate 2 --gain-flip 1 "),
        ({"gain": np.ones_like(GAIN)}, "gain.mrc.*cannot be judged"),
    ],
)
def test_what_is_turned_is_told_with_the_options_that_fit(
    raw: Path, tmp_path: Path, images: dict[str, Any], fits: str
) -> None:
    told = warnings(raw, tmp_path, images)
    assert any(re.search(fits, one) for one in told), told


@pytest.mark.parametrize(
    "images", [{"gain": OTHER}, {"gain": OTHER, "dark": DARK}, {"dark": 90 + 100 * (OTHER - 1)}]
)
def test_what_is_worse_in_every_orientation_is_an_error(
    raw: Path, tmp_path: Path, images: dict[str, Any]
) -> None:
    with pytest.raises(ParameterError, match=r"in every orientation.*--gain-force"):
        warnings(raw, tmp_path, images)
    (told,) = warnings(raw, tmp_path, images, force=True)
    assert "in every orientation" in told


def test_the_command_says_it_before_it_counts(raw: Path, tmp_path: Path) -> None:
    gain, out = asked(tmp_path, {"gain": OTHER}).gain or "", tmp_path / "out"
    few = ["--workers", "0", "--sample", "32", "--charge", "10", "--width", ".12"]
    shown = CliRunner().invoke(app, ["count", str(raw), "-o", str(out), "--gain", gain, *few])
    assert isinstance(shown.exception, ParameterError) and "in every orientation" in str(shown.exception)
    assert not {one.suffix for one in out.iterdir()} & {".mrcz", ".zarr"}

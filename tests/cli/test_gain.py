import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.formats.gains import read_reference, write_reference
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.numerics.gain.gain import K2
from mrcz_dask.numerics.gain.orientation import Orientation
from mrcz_dask.numerics.simulate import SimulationParams, named, simulate_session
from mrcz_dask.session.simulation import write_session

SHAPE = (72, 88)
PARAMS = SimulationParams(stacks=7, frames=16, shape=SHAPE, seed=5)
TURNED = Orientation(3, False)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session, and its gain turned beside it."""
    folder = tmp_path_factory.mktemp("gain")
    write_session(folder / "session", PARAMS)
    gain = (1 / simulate_session(PARAMS).pattern(0)).astype(np.float32)
    write_reference(folder / "gain.mrc", TURNED.inverse.apply(gain))
    return folder


def test_orient_prints_scores_and_flags(night: Path, tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("gain", "orient", night / "session", "--gain", night / "gain.mrc", "-o", tmp_path / "t.mrc")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0].split() == ["rotate", "flip", "sense", "sigma", "correlation"]
    assert lines[1].split()[:3] == ["3", "0", "multiply"]
    assert sum("does not fit" in line for line in lines) == 8
    assert lines[17:] == [
        "--gain-rotate 3 --gain-flip 0",
        "relion     --gain_rot 3 --gain_flip 0",
        "motioncor  -RotGain 3 -FlipGain 0",
        "warp       --gain_flip_x --gain_transpose",
    ]
    turned = read_reference(tmp_path / "t.mrc").image
    assert np.array_equal(turned, TURNED.apply(read_reference(night / "gain.mrc").image))
    said = json.loads(mrcz("gain", "orient", night / "session", "--gain", tmp_path / "t.mrc", "--json").out)
    assert said["orientation"]["turns"] == 0 and said["sense"] == "multiply" and len(said["scores"]) == 16


def test_orient_of_a_flat_field(night: Path, tmp_path: Path, mrcz: Any) -> None:
    write_reference(tmp_path / "flat.mrc", 500 / read_reference(night / "gain.mrc").image)
    shown = mrcz("gain", "orient", night / "session", "--gain", tmp_path / "flat.mrc")
    assert "--gain-rotate 3 --gain-flip 0 --gain-divide" in shown.out
    assert "-InvGain 1" in shown.out and "note: Warp multiplies" in shown.out


def test_orient_refuses_with_the_scores(night: Path, tmp_path: Path, mrcz: Any) -> None:
    noise = np.random.default_rng(0).normal(1, 0.02, SHAPE).astype(np.float32)
    write_reference(tmp_path / "other.mrc", noise)
    shown = mrcz("gain", "orient", night / "session", "--gain", tmp_path / "other.mrc")
    assert shown.code == 1
    assert "cannot be told" in shown.err and "sigma" in shown.out and "relion" not in shown.out


def test_estimate_finds_the_gain(night: Path, tmp_path: Path, mrcz: Any) -> None:
    out = tmp_path / "estimate.mrc"
    shown = mrcz("gain", "estimate", night / "session", "-o", out)
    assert shown.code == 0 and "of 7 stacks" in shown.out
    found, truth = read_reference(out).image, TURNED.apply(read_reference(night / "gain.mrc").image)
    good = found > 0
    assert good.mean() > 0.98
    assert np.corrcoef(found[good], truth[good])[0, 1] > 0.25
    again = mrcz("gain", "estimate", night / "session", "-o", out)
    assert again.code == 2 and "--overwrite" in again.err
    said = json.loads(
        mrcz("gain", "estimate", night / "session", "-o", out, "--overwrite", "--stacks", 3, "--json").out
    )
    assert said["stacks"] == 3
    assert said["counting_error"] == pytest.approx(said["counts_per_pixel"] ** -0.5, rel=1e-3)


def test_fit_gamma_prints_what_koma_takes(tmp_path: Path, mrcz: Any) -> None:
    etching = simulate_session(named("no pattern", shape=(256, 256), etch=0.03, seed=6)).pattern(0)
    write_reference(tmp_path / "gain.mrc", 1 / etching)
    rng, times, paths = np.random.default_rng(1), [], []
    for rate in (0.3, 0.8, 2.5, 8.0):
        counts = rng.poisson(60 * etching ** K2.at(rate), (3, 256, 256)).astype(np.uint8)
        paths.append(tmp_path / f"{rate}.mrcz")
        write(paths[-1], counts, codec="zstd:1")
        times += ["--frame-time", 60 / rate]
    plot = tmp_path / "gamma.png"
    command = ["gain", "fit-gamma", *paths, "--gain", tmp_path / "gain.mrc"]
    shown = mrcz(*command, *times, "--plot", plot)
    assert shown.code == 0
    numbers = [float(x) for x in shown.out.splitlines()[-1].removeprefix("--gain-gamma ").split(",")]
    assert len(numbers) == 6
    assert plot.read_bytes().startswith(b"\x89PNG")
    said = json.loads(mrcz(*command, *times, "--json").out)
    assert [row["gamma"] for row in said["flats"]] == pytest.approx(
        [K2.at(r) for r in (0.3, 0.8, 2.5, 8)], abs=0.05
    )
    few = mrcz("gain", "fit-gamma", paths[0], "--gain", tmp_path / "gain.mrc", "--frame-time", 1)
    assert few.code == 3 and "fewer than four" in few.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["estimate", "session", "-o", "out.dat"], ".mrc"),
        (["estimate", "session", "-o", "out.mrc", "--stacks", 0], "--stacks"),
        (["fit-gamma", "x.mrcz", "--gain", "g.mrc", "--frame-time", -1], "--frame-time"),
        (["fit-gamma", "x.mrcz", "--gain", "g.mrc", "--gain-flip", 7], "--gain-flip"),
    ],
)
def test_wrong_usage(
    night: Path, tmp_path: Path, mrcz: Any, arguments: list[object], complaint: str, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "session").symlink_to(night / "session")
    shown = mrcz("gain", *arguments)
    assert shown.code == 2 and complaint in shown.err

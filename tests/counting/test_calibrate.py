from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import mrcz_dask
from mrcz_dask.counting import Calibration, FindParams, calibrate
from mrcz_dask.counting.calibration import NAME
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.numerics.counting.coincidence import LossCurve
from mrcz_dask.values.errors import DamagedError, FormatError, OutputExistsError, ParameterError, SessionError
from tests.electrons import count


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A curve takes seconds to be simulated; that of the numerics has tests of its own."""
    monkeypatch.setattr(calibrate, "loss_curve", lambda *a: LossCurve(0.0, (-0.03, -3.0, 0.0, 0.0), 0.1))
    monkeypatch.setattr(calibrate, "true_spectrum", lambda found, *a: found)


def truth(raw_stacks: list[Path], name: str) -> Any:
    return zarr.open_group(raw_stacks[0].parent / "truth.zarr", mode="r")[name][:]  # type: ignore[index]


def test_dark_noise_and_charge_come_from_the_frames(raw_stacks: list[Path], tmp_path: Path) -> None:
    found = count(*raw_stacks, output=tmp_path).calibration
    assert found.detector.unit == pytest.approx(4.0, rel=0.03)
    assert np.median(np.abs(found.dark - truth(raw_stacks, "offset"))) < 0.7
    assert found.params.charge == pytest.approx(10, rel=0.1)
    assert found.about["sample"] == [
        {"name": "raw_000.mrcz", "frames": 40},
        {"name": "raw_001.mrcz", "frames": 40},
    ]
    again = Calibration.load(tmp_path / NAME)
    assert again.digest == found.digest and np.array_equal(again.used, found.used)


def test_bands_of_rows_give_what_all_rows_give(
    raw_stacks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = count(*raw_stacks, output=tmp_path / "whole").calibration
    monkeypatch.setattr(calibrate, "BAND_PIXELS", 1)
    cut = count(*raw_stacks, output=tmp_path / "cut").calibration
    assert np.abs(cut.dark - whole.dark).max() < 2 and np.median(np.abs(cut.dark - whole.dark)) < 0.05
    assert cut.detector.unit == pytest.approx(whole.detector.unit, rel=0.01)


def test_a_stack_of_dark_frames_gives_dark_and_noise(raw_stacks: list[Path], tmp_path: Path) -> None:
    dark = raw_stacks[0].parent / "dark.mrcz"
    found = count(raw_stacks[0], output=tmp_path, gain=GainOptions(dark=str(dark))).calibration
    assert found.about["noise_from"] == "dark frames" and found.about["dark"]["name"] == "dark.mrcz"
    assert np.allclose(found.dark, mrcz_dask.read(dark).mean(axis=0), atol=1e-3)


def test_a_dark_image_gain_and_defects_are_taken(raw_stacks: list[Path], tmp_path: Path) -> None:
    dark = truth(raw_stacks, "offset").astype(np.float32)
    gain = np.full(dark.shape, 2.0, np.float32)
    gain[3, 4] = 0
    for name, image in (("dark", dark), ("gain", gain)):
        mrcz_dask.write(tmp_path / f"{name}.mrc", image, codec="none")
    (tmp_path / "defects.txt").write_text("10 20 2 3\n")
    options = GainOptions(
        **{k: str(tmp_path / f"{k}.mrc") for k in ("dark", "gain")}, defects=str(tmp_path / "defects.txt")
    )
    found = count(raw_stacks[0], output=tmp_path / "out", gain=options).calibration
    assert np.array_equal(found.dark, dark) and found.gain[0, 0] == 0.5
    assert not found.used[3, 4] and (~found.used).sum() >= 7
    assert found.detector.unit == pytest.approx(8.0, rel=0.05)
    assert {"gain", "dark", "defects"} <= found.about.keys()


def test_what_is_there_is_kept_and_what_differs_is_refused(raw_stacks: list[Path], tmp_path: Path) -> None:
    first = count(raw_stacks[0], output=tmp_path)
    again = count(*raw_stacks, output=tmp_path)
    assert again.calibration.digest == first.calibration.digest and len(again.results) == 2
    with pytest.raises(OutputExistsError, match=r"sigma 4\.1 -> 5"):
        count(raw_stacks[0], output=tmp_path, find=FindParams(sigma=5.0))
    with pytest.raises(OutputExistsError, match="dark"):
        count(raw_stacks[0], output=tmp_path, gain=GainOptions(dark=str(raw_stacks[0].parent / "dark.mrcz")))


def test_a_given_charge_is_not_looked_for(raw_stacks: list[Path], tmp_path: Path) -> None:
    found = count(raw_stacks[0], output=tmp_path, find=FindParams(charge=9.0, width=0.1)).calibration
    assert (found.params.charge, found.params.width, found.about["charge_from"]) == (9.0, 0.1, "given")


def test_too_few_frames_and_counted_ones_are_named(raw_stacks: list[Path], tmp_path: Path) -> None:
    mrcz_dask.write(tmp_path / "few.mrcz", mrcz_dask.read(raw_stacks[0], slice(0, 5)))
    with pytest.raises(SessionError, match="5 raw frames"):
        count(tmp_path / "few.mrcz", output=tmp_path / "out")
    mrcz_dask.write(tmp_path / "flat.mrcz", np.zeros((40, 32, 32), np.uint8))
    with pytest.raises((SessionError, ParameterError)):
        count(tmp_path / "flat.mrcz", output=tmp_path / "out2")


def test_a_stack_that_cannot_be_read_is_left_out_of_the_sample(
    raw_stacks: list[Path], tmp_path: Path
) -> None:
    data = bytearray(raw_stacks[0].read_bytes())
    data[4000:-4000] = bytes(len(data) - 8000)
    (tmp_path / "broken.mrcz").write_bytes(data)
    outcome = count(tmp_path / "broken.mrcz", raw_stacks[1], output=tmp_path / "out")
    assert outcome.calibration.about["sample"] == [{"name": "raw_001.mrcz", "frames": 40}]
    assert [one.name for one in outcome.failures] == ["broken.mrcz"]


def test_calibrations_that_are_none_or_were_changed(calibration: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected a Zarr group"):
        Calibration.load(tmp_path / "nothing")
    found = Calibration.load(calibration)
    found.save(tmp_path / "a.zarr")
    zarr.open_array(tmp_path / "a.zarr", path="dark", mode="r+")[0, 0] = 1.0
    with pytest.raises(DamagedError, match="digest"):
        Calibration.load(tmp_path / "a.zarr")

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import mrcz_dask
from mrcz_dask.cli.app import app
from mrcz_dask.counting import (
    CountOutcome,
    EventList,
    FractionParams,
    count_plan,
    events_to_stack,
    tasks,
)
from mrcz_dask.counting import run as run_module
from mrcz_dask.counting.simulation import PIXEL_SIZE
from mrcz_dask.counting.store import event_problems
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.numerics.counting.detector import Detector
from mrcz_dask.numerics.counting.params import RawParams
from mrcz_dask.numerics.counting.simulate import RawStack
from mrcz_dask.values import messages as told
from mrcz_dask.values.errors import OutputExistsError, ParameterError, SessionError, SpaceError
from tests.electrons import count
from tests.rights import as_somebody_else, nobody_may_write

DOUBLE = FractionParams(2, 7)


def counted(stacks: list[Path], out: Path, calibration: Path, **options: Any) -> CountOutcome:
    return count(*stacks, output=out, calibration=calibration, **{"fractions": DOUBLE} | options)


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.mrcz"))}


def last(path: Path, step: str) -> dict[str, Any]:
    found: dict[str, Any] = next(s for s in mrcz_dask.read_footer(path)["provenance"] if s["name"] == step)
    return found


def test_counted_stacks_and_what_they_say(raw_stacks: list[Path], calibration: Path, tmp_path: Path) -> None:
    outcome = counted(raw_stacks, tmp_path, calibration, events=True)
    assert outcome.complete and len(outcome.results) == 2
    for one, path in zip(outcome.results, sorted(tmp_path.glob("*.mrcz")), strict=True):
        stack = mrcz_dask.read(path)
        assert stack.shape == (5, 192, 224) and stack.dtype == np.uint8 and stack.sum() == one.events
        assert verify_file(path).status == "sound"
        footer = mrcz_dask.read_footer(path)
        assert footer["pixels"]["unit"] == "e-"
        assert footer["pixels"]["dose_per_frame"] == pytest.approx(stack.mean())
        assert mrcz_dask.read_header(path)["pixel_size"][0] == pytest.approx(PIXEL_SIZE / 2)
        step = last(path, "count")
        assert step["inputs"][0]["name"] == path.name and len(step["inputs"][0]["frames_digest"]) == 32
        loss = step["results"]["coincidence"]
        assert 0.008 < loss["counted"] < loss["true"] < 0.011 and loss["factor"] > 1
        fractions = last(path, "fractions")["results"]
        assert fractions["corrected_dose_per_frame"] == pytest.approx(
            fractions["dose_per_frame"] * loss["factor"]
        )
    assert not [path for path in tmp_path.iterdir() if path.name.endswith((".counting", ".part"))]


def test_the_event_list_gives_every_counted_stack_bit_for_bit(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    counted(raw_stacks[:1], tmp_path / "a", calibration, events=True)
    store = tmp_path / "a" / "raw_000.events.zarr"
    for k, params in enumerate((DOUBLE, FractionParams(4, 40), FractionParams(1, 1))):
        again = events_to_stack(store, tmp_path / f"again{k}", params)
        counted(raw_stacks[:1], tmp_path / f"own{k}", calibration, fractions=params)
        assert again.read_bytes() == (tmp_path / f"own{k}" / "raw_000.mrcz").read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        events_to_stack(store, tmp_path / "again0", DOUBLE)
    assert len(EventList(store)) == 40


@pytest.mark.parametrize("name", ["frame/c/0", "zarr.json", "first/zarr.json"])
def test_a_broken_event_list_is_made_again(
    name: str, raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    counted(raw_stacks[:1], tmp_path, calibration, events=True)
    before = outputs(tmp_path)
    file = tmp_path / "raw_000.events.zarr" / name
    file.write_bytes(file.read_bytes()[:-9])
    counted(raw_stacks[:1], tmp_path, calibration, events=True)
    assert event_problems(tmp_path / "raw_000.events.zarr") == [] and outputs(tmp_path) == before


@pytest.mark.parametrize("each", [1, 3, 7, 40])
def test_the_size_of_a_batch_changes_nothing(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    counted(raw_stacks[:1], tmp_path / "usual", calibration)
    monkeypatch.setattr(run_module, "batch_frames", lambda shape: each)
    counted(raw_stacks[:1], tmp_path / "other", calibration)
    assert outputs(tmp_path / "usual") == outputs(tmp_path / "other")


def test_outputs_that_are_there_are_kept_or_refused(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    first = counted(raw_stacks, tmp_path, calibration, events=True)
    before = outputs(tmp_path)
    again = counted(raw_stacks, tmp_path, calibration, events=True)
    assert [one.kept for one in again.results] == [True, True]
    assert [one.events for one in again.results] == [one.events for one in first.results]
    refused = counted(raw_stacks, tmp_path, calibration, fractions=FractionParams(2, 8))
    assert not refused.results and "fraction 7 -> 8" in refused.failures[0].reason
    assert "--overwrite" in refused.failures[0].reason and outputs(tmp_path) == before
    replaced = counted(raw_stacks, tmp_path, calibration, fractions=FractionParams(2, 8), overwrite=True)
    assert replaced.complete and outputs(tmp_path) != before


def test_a_finished_run_is_kept_where_nobody_can_write(raw_stacks: list[Path], calibration: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # all may enter it
        place = Path(name)
        stacks = [Path(shutil.copy(path, place)) for path in raw_stacks]
        detector = Path(shutil.copytree(calibration, place / calibration.name))
        assert counted(stacks, place / "out", detector, events=True).complete
        before = outputs(place / "out")
        with nobody_may_write(place), as_somebody_else():
            again = counted(stacks, place / "out", detector, events=True)
            assert [one.kept for one in again.results] == [True, True] and again.complete
            assert outputs(place / "out") == before
        (place / "out" / f"{stacks[0].stem}.mrcz").unlink()
        with (
            nobody_may_write(place),
            as_somebody_else(),
            pytest.raises(SpaceError, match="cannot be written"),
        ):
            counted(stacks, place / "out", detector, events=True)


def test_a_changed_input_and_a_damaged_output_are_refused(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw.mrcz"
    raw.write_bytes(raw_stacks[0].read_bytes())
    out = tmp_path / "out"
    counted([raw], out, calibration)
    os.utime(raw, ns=(1, raw.stat().st_mtime_ns + 10**12))
    assert "changed since" in counted([raw], out, calibration).failures[0].reason
    target = out / "raw.mrcz"
    target.write_bytes(target.read_bytes()[:-40])
    assert "no sound output" in counted([raw], out, calibration).failures[0].reason


def test_one_bad_stack_does_not_stop_the_others(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    data = bytearray(raw_stacks[0].read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    (tmp_path / "broken.mrcz").write_bytes(data)
    (tmp_path / "none.mrcz").write_bytes(b"nothing")
    stacks = [tmp_path / "broken.mrcz", tmp_path / "none.mrcz", raw_stacks[1]]
    heard: list[told.Event] = []
    outcome = counted(stacks, tmp_path / "out", calibration, listen=heard.append)
    assert [one.name for one in outcome.results] == ["raw_001.mrcz"] and not outcome.complete
    assert outcome.failures[0].name == "broken.mrcz" and "frame" in outcome.failures[0].reason
    assert "none.mrcz" in outcome.plan.bad[0].reason
    assert [one.name for one in heard if isinstance(one, told.StackFailed)] == ["broken.mrcz"]
    assert sorted(outputs(tmp_path / "out")) == ["raw_001.mrcz"]


def test_frames_of_another_size_fail_alone(raw_stacks: list[Path], calibration: Path, tmp_path: Path) -> None:
    mrcz_dask.write(tmp_path / "odd.mrcz", np.zeros((3, 20, 24), np.uint16))
    outcome = counted([*raw_stacks, tmp_path / "odd.mrcz"], tmp_path / "out", calibration)
    assert len(outcome.results) == 2 and "(20, 24)" in outcome.failures[0].reason


def test_a_plan_writes_nothing_and_prints_itself(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    plan = count_plan(raw_stacks, tmp_path / "out", DOUBLE and None, DOUBLE, calibration=calibration)
    assert "2 stacks, 80 raw frames of 96 x 112" in str(plan) and "192 x 224" in str(plan)
    assert plan.to_dict()["calibration"] == str(calibration) and not (tmp_path / "out").exists()
    with pytest.raises(SessionError, match="overwrite inputs"):
        count_plan(raw_stacks, raw_stacks[0].parent)
    with pytest.raises(SessionError, match="is not there"):
        count_plan([tmp_path / "no" / "such.mrcz"], tmp_path / "out")
    with pytest.raises(ParameterError, match="upsampling is 3"):
        FractionParams(3)


def test_memory_does_not_depend_on_the_number_of_frames() -> None:
    assert tasks.estimate_memory((3838, 3710), 1).of(1) < 2_500_000_000
    assert tasks.batch_frames((3838, 3710)) == 4 and tasks.batch_frames((64, 64)) == 64


def test_the_time_goes_with_the_counted_stack(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path
) -> None:
    frames = mrcz_dask.read(raw_stacks[0], slice(0, 4))
    named, dated = tmp_path / "shot_20261014_190633.mrcz", tmp_path / "plain.mrcz"
    for path in (named, dated):
        mrcz_dask.write(path, frames)
    os.utime(dated, (1.7e9, 1.7e9))
    outcome = counted([named, dated, raw_stacks[0]], tmp_path / "out", calibration)
    assert outcome.complete
    meta = {p.name: mrcz_dask.read_footer(p)["meta"] for p in sorted((tmp_path / "out").glob("*.mrcz"))}
    assert meta["shot_20261014_190633.mrcz"]["acquisition_time"] == "2026-10-14T19:06:33"
    assert meta["raw_000.mrcz"]["acquisition_time"] == "2026-10-14T18:30:00"
    assert "acquisition_time" not in meta["plain.mrcz"]
    assert (tmp_path / "out" / "plain.mrcz").stat().st_mtime == 1.7e9


@pytest.mark.parametrize("wrong", ["blank", "offset", "lower", "turned", "nan"])
def test_frames_that_do_not_fit_the_dark_are_not_counted(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path, wrong: str
) -> None:
    frames = mrcz_dask.read(raw_stacks[0]).astype(np.float32)
    match wrong:
        case "blank":
            frames[5] = 0
        case "offset":
            frames += 12  # three read noises
        case "lower":
            frames -= 12
        case "turned":
            frames = frames[:, ::-1]
        case "nan":
            frames[5] = np.nan
    other = tmp_path / "other.mrcz"
    mrcz_dask.write(other, frames)
    outcome = counted([other, raw_stacks[1]], tmp_path / "out", calibration)
    assert [one.name for one in outcome.failures] == ["other.mrcz"]
    frame = 5 if wrong in ("blank", "nan") else 0
    assert f"other.mrcz, frame {frame}: its background lies" in outcome.failures[0].reason
    assert list(outputs(tmp_path / "out")) == [raw_stacks[1].name]


@pytest.mark.parametrize("occupancy", [0.001, 0.03, 0.1, 0.25])
@pytest.mark.parametrize("noise", [0.6, 4.0, 30.0])
def test_the_background_of_sound_frames_fits(occupancy: float, noise: float) -> None:
    stack = RawStack(RawParams((96, 112), 2, occupancy, read_noise=noise, charge=10.0))
    detector = Detector(stack.offset, stack.noise, None, stack.gain <= 0)
    for k in range(2):
        tasks.check_background(stack.frame(k).values, detector, "a")


def test_manifest_lists_counted_stacks_and_lost_ones_are_noticed(
    raw_stacks: list[Path], calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted(raw_stacks, tmp_path, calibration, events=True)
    listed = (tmp_path / "MANIFEST").read_text()
    for line in listed.splitlines()[1:]:  # after the checksum of the lines
        digest, name = line.split("  ", 1)
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    assert all(f"  {path.stem}.mrcz\n" in listed for path in raw_stacks) and ".zarr/" in listed
    invoke = CliRunner().invoke
    assert invoke(app, ["verify", str(tmp_path)]).exit_code == 0
    (tmp_path / f"{raw_stacks[0].stem}.mrcz").unlink()
    for command in ("verify", "status"):
        shown = invoke(app, [command, str(tmp_path)])
        assert shown.exit_code == 3 and f"{raw_stacks[0].stem}.mrcz is gone" in shown.output
    (tmp_path / "MANIFEST").unlink()
    counted(raw_stacks, tmp_path, calibration, events=True)
    assert (tmp_path / "MANIFEST").read_text() == listed
    assert invoke(app, ["status", str(tmp_path)]).exit_code == 0

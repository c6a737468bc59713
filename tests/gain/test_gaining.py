"""A run with gain, dark and defects: as if the frames had come corrected, and nothing lost of the counts."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.api.reproduce import reproduce
from mrcz_dask.correction.footer import last_steps
from mrcz_dask.correction.opening import open_stack, recipe_problem
from mrcz_dask.correction.tasks import member_ref
from mrcz_dask.formats.defects import write_defects
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import read, read_footer
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.numerics.gain.gain import K2
from mrcz_dask.numerics.simulate import SimulatedSession
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import OutputExistsError, ParameterError, ReferenceNotFoundError
from tests.nights import NIGHT, Koma

HOLES = [(3, 4), (40, 60)]


@pytest.fixture
def applied(tmp_path: Path) -> dict[str, str]:
    """A gain with zeros, and a dark: files."""
    rng = np.random.default_rng(1)
    gain = rng.normal(1, 0.02, NIGHT.shape).astype(np.float32)
    for hole in HOLES:
        gain[hole] = 0
    dark = rng.uniform(0, 0.1, NIGHT.shape).astype(np.float32)
    for name, image in (("gain", gain), ("dark", dark)):
        write(tmp_path / f"{name}.mrc", image)
    return {name: str(tmp_path / f"{name}.mrc") for name in ("gain", "dark")}


def steps_of(path: Path) -> dict[str, dict[str, Any]]:
    return last_steps(read_footer(path) or {})


def test_as_if_the_frames_had_come_corrected(
    night: Path, tmp_path: Path, applied: dict[str, str], koma: Koma
) -> None:
    """The same to the rounding of sums and patterns, but for pixels whose mask hangs by a thread."""
    before = Path(shutil.copytree(night, tmp_path / "corrected"))
    gain, dark = read(applied["gain"], 0), read(applied["dark"], 0)
    for path in sorted(night.glob("*.mrcz")):
        frames = (read(path).astype(np.float32) - dark) * gain
        frames[:, gain == 0] = np.nan
        write(before / path.name, frames)
    assert koma(night, tmp_path / "a", gain=GainOptions(**applied), dtype="float32").complete
    assert koma(before, tmp_path / "b", dtype="float32").complete
    for path in sorted((tmp_path / "a").glob("*.mrcz")):
        ours, theirs = read(path), read(tmp_path / "b" / path.name)
        assert np.isfinite(ours).all()
        assert np.mean(np.abs(ours - theirs) > 0.05) < 0.005


def test_the_recipe_gives_the_normalized_pixels(
    night: Path, tmp_path: Path, applied: dict[str, str], koma: Koma
) -> None:
    gain = GainOptions(**applied, gamma="1.2")
    koma(night, tmp_path / "n", gain=gain, dtype="float32")
    koma(night, tmp_path / "r", gain=gain, write="recompressed")
    for path in sorted((tmp_path / "r").glob("*.mrcz")):
        assert np.array_equal(read(path), read(night / path.name))
        assert np.array_equal(open_stack(path, corrected=True).compute(), read(tmp_path / "n" / path.name))
        assert recipe_problem(path) is None
    shutil.rmtree(next(p for p in (tmp_path / "r" / "session.zarr" / "gains").iterdir() if p.is_dir()))
    with pytest.raises(ReferenceNotFoundError, match="gain"):
        open_stack(path, corrected=True)


@pytest.mark.parametrize("write", ["normalized", "recompressed", "references"])
def test_it_is_written_down_and_can_be_done_again(
    night: Path, tmp_path: Path, applied: dict[str, str], koma: Koma, write: str
) -> None:
    out = tmp_path / "out"
    assert koma(night, out, gain=GainOptions(**applied, gamma="0.9"), write=write).complete
    path = sorted(p for p in out.glob("*.mrc*") if p.suffix in (".mrc", ".mrcz"))[-1]
    names = [step["name"] for step in (read_footer(path) or {})["provenance"]]
    assert names[-4:] == ["gain", "outliers", "koma", "write"]
    step = steps_of(path)["gain"]
    assert step["results"]["gain"]["name"] == "gain.mrc"
    assert step["results"]["gamma"] == 0.9
    assert step["skipped"] == ["defects: none given"]
    if write != "references":
        assert reproduce(path, night).same
        shutil.rmtree(out / "session.zarr")
        with pytest.raises(ReferenceNotFoundError, match="session store of its run"):
            reproduce(path, night)


def test_defects_are_masked_in_every_stack(night: Path, tmp_path: Path, koma: Koma) -> None:
    listed = np.zeros(NIGHT.shape, bool)
    listed[10, 20:70] = listed[30:34, 5:9] = True
    write_defects(tmp_path / "defects.mrc", listed, "map", "bottom")
    options = GainOptions(defects=str(tmp_path / "defects.mrc"))
    outcome = koma(night, tmp_path / "out", gain=options, dtype="float32")
    store = SessionStore(tmp_path / "out" / "session.zarr")
    for result in outcome.results:
        stem = Path(result.output).stem
        assert (store.load(stem, "weight")[listed] == 0).all()
        assert (store.load(stem, "weight_even")[listed] == 0).all()
        pixels = read(tmp_path / "out" / result.output)
        assert pixels[:, listed].mean() == pytest.approx(pixels.mean(), rel=0.1)


def test_what_was_done_with_another_gain_is_not_replaced_unasked(
    night: Path, tmp_path: Path, applied: dict[str, str], koma: Koma
) -> None:
    out = tmp_path / "out"
    koma(night, out, gain=GainOptions(applied["gain"]))
    again = koma(night, out, gain=GainOptions(applied["gain"]))
    assert all(result.kept for result in again.results)
    for other in (GainOptions(), GainOptions(applied["gain"], gamma="1.1"), GainOptions(**applied)):
        with pytest.raises(OutputExistsError, match=r"parameters changed: (gain|gamma)"):
            koma(night, out, gain=other)
    replaced = koma(night, out, gain=GainOptions(**applied), overwrite=True)
    assert not any(result.kept for result in replaced.results)


def test_gamma_follows_the_dose_rate(
    night: Path, tmp_path: Path, applied: dict[str, str], koma: Koma
) -> None:
    gain = GainOptions(applied["gain"], gamma="auto")
    for entry in discover(night).stacks:
        text = entry.mdoc.read_text() if entry.mdoc else "[FrameSet = 0]\n"
        target = entry.mdoc or entry.path.with_name(f"{entry.path.name}.mdoc")
        target.write_text("\n".join(one for one in text.splitlines() if "ExposureTime" not in one) + "\n")
    with pytest.raises(ParameterError, match="--frame-time"):
        koma(night, tmp_path / "out", gain=gain)
    for k, entry in enumerate(discover(night).stacks):
        assert entry.mdoc is not None
        entry.mdoc.write_text(entry.mdoc.read_text() + f"ExposureTime = {1 + k}\n")
    outcome = koma(night, tmp_path / "out", gain=gain)
    assert outcome.complete
    store = SessionStore(tmp_path / "out" / "session.zarr")
    for k, entry in enumerate(outcome.plan.stacks):
        record = store.record(entry.stem)
        assert record is not None
        dose = float(np.median(read(entry.path).sum(axis=0))) / NIGHT.frames
        assert record.gamma == pytest.approx(K2.at(dose * NIGHT.frames / (1 + k)), rel=0.05)
    assert reproduce(tmp_path / "out" / outcome.results[2].output, night).same
    assert koma(night, tmp_path / "given", gain=replace(gain, frame_time=0.5)).complete


def test_another_exposure_of_a_neighbor_is_another_member(
    night: Path, tmp_path: Path, applied: dict[str, str], koma: Koma
) -> None:
    koma(night, tmp_path / "out", gain=GainOptions(applied["gain"]))
    store = SessionStore(tmp_path / "out" / "session.zarr")
    record = store.record(discover(night).stacks[0].stem)
    assert record is not None
    assert member_ref(record) != member_ref(replace(record, mean=record.mean * 1.01))


def test_the_gain_of_the_session_takes_its_pattern_off(night: Path, tmp_path: Path, koma: Koma) -> None:
    """With the true gain the noise of the frames that come to KOMA correlates less."""
    pattern = SimulatedSession(NIGHT).pattern(0)
    write(tmp_path / "g.mrc", np.asarray(1 / pattern, np.float32))
    with_gain = koma(night, tmp_path / "a", gain=GainOptions(str(tmp_path / "g.mrc")))
    without = koma(night, tmp_path / "b")
    raw = [np.mean([r.noise["filtered"] for r in one.results]) for one in (with_gain, without)]
    assert abs(raw[0]) < abs(raw[1])


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_gamma_follows_the_dose_rate_without_the_dark(tmp_path: Path, koma: Koma, kind: Any) -> None:
    draws, shape = np.random.default_rng(0), (48, 64)
    response = 1 + 0.06 * draws.standard_normal(shape)
    dark = draws.integers(1, 4, shape).astype(np.float32)
    write(tmp_path / "gain.mrc", (1 / response).astype(np.float32))
    write(tmp_path / "dark.mrc", dark)
    (tmp_path / "s").mkdir()
    for k in range(5):
        frames = draws.poisson(7.0 * response, (6, *shape)) + dark
        write(tmp_path / "s" / f"s{k}.mrc", frames.astype(kind))
    gain = GainOptions(
        str(tmp_path / "gain.mrc"), dark=str(tmp_path / "dark.mrc"), gamma="auto", frame_time=1.0
    )
    outcome = koma(tmp_path / "s", tmp_path / "out", gain=gain)
    assert outcome.complete and outcome.plan.gain is not None and not outcome.plan.gain.caveats
    for result in outcome.results:
        applied = steps_of(tmp_path / "out" / result.output)["gain"]["results"]["gamma"]
        assert applied == pytest.approx(K2.at(7.0), abs=0.005)
        assert abs(applied - K2.at(9.0)) > 0.05

"""RELION on our outputs: what it reads is what we wrote, and it aligns movies better for it."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

import mrcz_dask
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.export.refined import export_refined_gain
from mrcz_dask.export.run import export
from mrcz_dask.export.texts import Optics
from mrcz_dask.formats.text.star import read_star
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.numerics.simulate import SimulatedSession, SimulationParams, named
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.params import InputParams, KomaParams, Settings, WriteParams
from tests.inputs import write_eer

pytestmark = [pytest.mark.downstream, pytest.mark.usefixtures("relion")]

STATS = re.compile(r"avg=\s*(\S+) stddev=\s*(\S+) minval=\s*(\S+) maxval=\s*([^\s;]+)")


def relion(*command: object, cwd: Path | None = None) -> str:
    """Run one of RELION's programs and return what it prints."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900, cwd=cwd)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    return done.stdout


def koma(session: Path, out: Path, **write: Any) -> None:
    form: Any = "divide" if write.get("dtype") == "counts" else "subtract"
    settings = Settings(koma=KomaParams(radius=12, form=form), write=WriteParams(**write))
    assert carry_out(make_plan(session, out, settings), SerialClient()).complete


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small session, corrected and exported for RELION."""
    folder = tmp_path_factory.mktemp("small")
    params = named("standard", shape=(256, 320), frames=8, stacks=6, seed=2, dose=2, hot=(0.002, 0.004))
    write_session(folder / "night", params)
    koma(folder / "night", folder / "out")
    export(folder / "out", folder / "relion", "relion", Optics(pixel_size=1.05))
    return folder


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "uint16", "float32", "four bits"])
def test_statistics(tmp_path: Path, kind: str) -> None:
    """Every type of pixels that we write plain reaches RELION with its values."""
    frames = np.random.default_rng(1).poisson(3, (3, 64, 80))
    stack = (frames - (0.25 if kind == "float32" else 0)).astype("uint8" if kind == "four bits" else kind)
    mrcz_dask.write(tmp_path / "a.mrcs", stack, pixel_size=1.5, four_bit=kind == "four bits", footer=False)
    found = STATS.findall(relion("relion_image_handler", "--i", tmp_path / "a.mrcs", "--stats"))
    assert len(found) == 3
    for said, frame in zip(found, stack, strict=True):
        expected = (frame.mean(), frame.std(ddof=1), frame.min(), frame.max())
        assert np.allclose([float(one) for one in said], expected, rtol=1e-4, atol=1e-4)


def test_corrected_movies_have_our_statistics(exported: Path) -> None:
    movie = sorted((exported / "relion" / "movies").glob("*.mrcs"))[0]
    frames = mrcz_dask.read(exported / "out" / f"{movie.stem}.mrcz")
    found = STATS.findall(relion("relion_image_handler", "--i", movie, "--stats"))
    assert len(found) == len(frames)
    for said, frame in zip(found, frames, strict=True):
        assert np.allclose(float(said[0]), frame.mean(), rtol=1e-4)
        assert np.allclose(float(said[3]), frame.max(), rtol=1e-4)


def test_its_tiff_has_our_pixels(exported: Path, tmp_path: Path) -> None:
    """Counts become TIFF without loss; rows are in the other order there."""
    stack = mrcz_dask.read(next((exported / "night").glob("*.mrcz"))).astype(np.int8)
    mrcz_dask.write(tmp_path / "a.mrcs", stack, footer=False)
    relion("relion_convert_to_tiff", "--i", "a.mrcs", "--o", "tiff/", cwd=tmp_path)
    found = tifffile.imread(next((tmp_path / "tiff").rglob("*.tif*")))
    assert np.array_equal(found[:, ::-1], stack)


def test_we_read_what_it_writes(exported: Path, tmp_path: Path) -> None:
    """Its TIFF of counts and its MRC of floats, and a session of both."""
    stack = mrcz_dask.read(next((exported / "night").glob("*.mrcz"))).astype(np.int8)
    mrcz_dask.write(tmp_path / "a.mrcs", stack, footer=False)
    relion("relion_convert_to_tiff", "--i", "a.mrcs", "--o", "tiff/", cwd=tmp_path)
    relion("relion_image_handler", "--i", "a.mrcs", "--o", "b.mrcs", "--multiply_constant", 2, cwd=tmp_path)
    tiff = next((tmp_path / "tiff").rglob("*.tif*"))
    assert np.array_equal(mrcz_dask.read(tiff)[:, ::-1], stack)
    assert np.array_equal(mrcz_dask.read(tmp_path / "b.mrcs"), 2 * stack.astype(np.float32))
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for k, path in enumerate(sorted((exported / "night").glob("*.mrcz"))):
        mrcz_dask.write(mixed / f"{k}.mrcs", mrcz_dask.read(path).astype(np.int8), footer=False)
    relion("relion_convert_to_tiff", "--i", "0.mrcs", "--o", "./", cwd=mixed)
    (mixed / "0.mrcs").unlink()
    koma(mixed, tmp_path / "out", dtype="float32")
    assert len(list((tmp_path / "out").glob("*.mrcz"))) == 6


def test_its_gain_is_applied_by_us(exported: Path, tmp_path: Path) -> None:
    """The gain that it estimates from raw movies, in koma --gain: the frames' pattern is off before KOMA."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in (exported / "night").glob("*.mrcz"):
        mrcz_dask.write(raw / f"{path.stem}.mrcs", mrcz_dask.read(path).astype(np.float32), footer=False)
    table = (exported / "relion" / "movies.star").read_text().replace("movies/", f"{raw}/")
    (tmp_path / "raw.star").write_text(table)
    relion("relion_estimate_gain", "--i", tmp_path / "raw.star", "--o", tmp_path / "gain.mrc")
    settings = Settings(koma=KomaParams(radius=12), write=WriteParams(dtype="float32"))
    options = GainOptions(str(tmp_path / "gain.mrc"))
    plan = make_plan(exported / "night", tmp_path / "out", settings, gain=options)
    outcome = carry_out(plan, SerialClient())
    assert outcome.complete
    with mrcfile.open(tmp_path / "gain.mrc") as file:
        gain = np.array(file.data)
    result = outcome.results[0]
    frames = mrcz_dask.read(exported / "night" / result.name) * gain
    ours = mrcz_dask.read(tmp_path / "out" / result.output)
    assert np.corrcoef(frames.sum(axis=0).ravel(), ours.sum(axis=0).ravel())[0, 1] > 0.5


def test_its_gain_is_the_pattern(exported: Path, tmp_path: Path) -> None:
    """RELION's estimate from our uncorrected movies is 1 / pattern; from the corrected ones it is flat."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in (exported / "night").glob("*.mrcz"):
        mrcz_dask.write(raw / f"{path.stem}.mrcs", mrcz_dask.read(path).astype(np.float32), footer=False)
    spread = {}
    for name, movies in (("raw", raw), ("corrected", exported / "relion" / "movies")):
        table = (exported / "relion" / "movies.star").read_text().replace("movies/", f"{movies}/")
        (tmp_path / f"{name}.star").write_text(table)
        relion("relion_estimate_gain", "--i", tmp_path / f"{name}.star", "--o", tmp_path / f"{name}.mrc")
        with mrcfile.open(tmp_path / f"{name}.mrc") as file:
            gain = np.array(file.data)
        spread[name] = np.std(gain[np.abs(gain - 1) < 0.5])
    counting = 1 / np.sqrt(6 * 8 * 2)
    assert spread["corrected"] < spread["raw"]
    assert spread["corrected"] < 1.1 * counting


def test_its_tables_are_ours(exported: Path) -> None:
    project = exported / "relion"
    relion(
        "relion_run_motioncorr", "--i", "movies.star", "--o", "MotionCorr/job001/", "--use_own",
        "--bfactor", 150, "--j", 2, cwd=project,
    )  # fmt: skip
    tables = read_star((project / "MotionCorr/job001/corrected_micrographs.star").read_text())
    ours = read_star((project / "movies.star").read_text())
    assert len(tables["micrographs"]["rlnMicrographName"]) == 6
    size = tables["optics"]["rlnMicrographOriginalPixelSize"]
    assert [float(one) for one in size] == [1.05]
    for movie, meta in zip(
        ours["movies"]["rlnMicrographMovieName"], tables["micrographs"]["rlnMicrographMetadata"], strict=True
    ):
        found = read_star((project / meta).read_text())
        assert found["general"]["rlnMicrographMovieName"] == [movie]
        assert len(found["global_shift"]["rlnMicrographFrameNumber"]) == 8


# Sessions whose shifts are compared with the truth: a detector that has changed since its gain was taken, as
# all have, and easier ones.
SHAPE, FRAMES, STACKS = (1024, 1024), 40, 26
HARD = {"dose": 0.5, "specimen": 0.03, "pixel": 0.03, "cmos": 0.03}
PICKED = (4, 12, 20)


def shifts(project: Path, stem: str) -> NDArray[np.float64]:
    """Return the shifts (x, y) of each frame, pixels."""
    table = read_star(next(project.rglob(f"{stem}.star")).read_text())["global_shift"]
    names = ("rlnMicrographShiftX", "rlnMicrographShiftY")
    return np.array([[float(one) for one in table[name]] for name in names]).T


def errors_of(project: Path, movies: dict[str, NDArray[np.float32]], truth: zarr.Group) -> float:
    """Align movies and return the rms error of the shifts of all frames, pixels."""
    project.mkdir()
    for stem, movie in movies.items():
        mrcz_dask.write(project / f"{stem}.mrcs", movie, pixel_size=1.0, footer=False, durable=False)
    options = ("--use_own", "--bfactor", 150, "--angpix", 1, "--voltage", 300, "--j", 2)
    relion("relion_run_motioncorr", "--i", "*.mrcs", "--o", "MC/", *options, cwd=project)
    return error_of_shifts(project, truth, movies)


def error_of_shifts(project: Path, truth: zarr.Group, stems: Iterable[str]) -> float:
    """Return the rms error of the shifts of all frames that RELION found, pixels."""
    squares = []
    for stem in stems:
        drift = np.asarray(truth[f"{stem}/drift"])[:, ::-1]  # type: ignore[index]
        found = shifts(project, stem)
        difference = (found - found.mean(axis=0)) + (drift - drift.mean(axis=0))
        squares.append(np.mean(np.sum(difference**2, axis=1) / 2))
    return float(np.sqrt(np.mean(squares)))


def compared(folder: Path, params: SimulationParams) -> dict[str, float]:
    """Return the errors of raw movies, of movies with the gain reference, and of ours."""
    write_session(folder / "night", params)
    koma(folder / "night", folder / "out", dtype="float32")
    koma(folder / "night", folder / "whole", dtype="counts")
    entries = [discover(folder / "night").stacks[k] for k in PICKED]
    truth = zarr.open_group(folder / "night" / "truth.zarr", mode="r")
    raw = {e.stem: mrcz_dask.read(e.path).astype(np.float32) for e in entries}
    gain = flat_field(params)
    ours, counts = (
        {e.stem: mrcz_dask.read(folder / out / f"{e.stem}.mrcz") for e in entries} for out in ("out", "whole")
    )
    koma(plain_session(folder), folder / "references", write="references")
    export_refined_gain(
        folder / "references", folder / "plain", folder / "refined", "relion", Optics(pixel_size=1.0)
    )
    relion("sh", "run.sh", cwd=folder / "refined")
    return {
        "refined": error_of_shifts(folder / "refined" / "MotionCorr", truth, raw),
        "raw": errors_of(folder / "raw", raw, truth),
        "gain": errors_of(folder / "gain", {k: v * gain for k, v in raw.items()}, truth),
        "koma": errors_of(folder / "koma", ours, truth),
        "counts": errors_of(folder / "counts", counts, truth),
    }


def plain_session(folder: Path) -> Path:
    """Write the night as plain MRC, which RELION reads as it is, and return the folder."""
    plain = folder / "plain"
    plain.mkdir()
    for path in (folder / "night").glob("*.mrcz"):
        mrcz_dask.write(plain / f"{path.stem}.mrcs", mrcz_dask.read(path).astype(np.int16), footer=False)
        shutil.copy(path.with_name(f"{path.name}.mdoc"), plain / f"{path.stem}.mrcs.mdoc")
    return plain


def flat_field(params: SimulationParams) -> NDArray[np.float32]:
    """Return the gain reference that was taken before the session: of the detector as it was then."""
    before = SimulatedSession(params).pattern(0)
    return np.asarray(1 / before, np.float32)


def test_shifts(tmp_path: Path) -> None:
    """Three sessions whose detector has changed since its gain was taken: raw, with that gain, and ours."""
    found = []
    for seed in (1, 2, 3):
        params = named("evolving", shape=SHAPE, frames=FRAMES, stacks=STACKS, seed=seed, **HARD)
        found.append(compared(tmp_path / str(seed), params))
        print(seed, {name: round(value, 3) for name, value in found[-1].items()})
        shutil.rmtree(tmp_path / str(seed))
    mean = {name: np.mean([one[name] for one in found]) for name in found[0]}
    assert mean["koma"] <= 0.7 * mean["raw"]
    assert mean["koma"] <= 0.9 * mean["gain"]
    assert mean["counts"] <= 1.1 * mean["koma"]
    assert mean["raw"] - mean["refined"] >= 0.9 * (mean["raw"] - mean["koma"])
    assert all(one["koma"] <= one["raw"] for one in found)


def test_an_easy_session_is_not_made_worse(tmp_path: Path) -> None:
    params = named(
        "no pattern", shape=SHAPE, frames=FRAMES, stacks=STACKS, seed=4, dose=1.0, hot=(0, 0), dead=0
    )
    found = compared(tmp_path, params)
    assert found["koma"] <= 1.02 * found["raw"] and found["refined"] <= 1.02 * found["raw"]


def test_events_and_a_refined_gain(tmp_path: Path) -> None:
    """RELION divides EER by our gain: what a detector with an uneven response recorded becomes flat."""
    edge, blocks = 4096, (8, 512, 8, 512)  # RELION 3.1 takes no other frames of EER
    y, x = np.mgrid[:edge, :edge] / edge
    response = np.float32(1 + 0.3 * np.sin(6 * x) * np.cos(4 * y + 1))
    rng, inputs = np.random.default_rng(1), InputParams(eer_frames=2)
    (tmp_path / "eer").mkdir()
    for k in range(3):
        raw = rng.random((6, edge, edge), np.float32) < 0.05 * response
        write_eer(tmp_path / "eer" / f"s{k}.eer", raw)
    mrcz_dask.write(tmp_path / "gain.mrc", (1 / response)[None], codec="none", footer=False)
    plan = mrcz_dask.open_session(tmp_path / "eer", inputs=inputs).koma(radius=1, gain=tmp_path / "gain.mrc")
    plan.run(tmp_path / "refs", ClientOptions(0), report=False)
    export_refined_gain(
        tmp_path / "refs", tmp_path / "eer", tmp_path / "out", "relion", Optics(pixel_size=1.0)
    )
    relion("sh", "run.sh", cwd=tmp_path / "out")
    for path in (path for path in (tmp_path / "out").rglob("s?.mrc") if not path.is_symlink()):
        with mrcfile.open(path, permissive=True) as file:
            means = np.asarray(file.data, np.float64).reshape(blocks).mean(axis=(1, 3))
        assert means.std() / means.mean() < 0.04 < response.reshape(blocks).mean(axis=(1, 3)).std() / 3

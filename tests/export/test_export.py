"""What the next program takes, read back."""

import shutil
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile

import mrcz_dask
from mrcz_dask.convert.recompress import recompress
from mrcz_dask.correction.run import Outcome
from mrcz_dask.export.movies import movies_of
from mrcz_dask.export.run import export
from mrcz_dask.export.texts import TEXTS, Optics
from mrcz_dask.formats.defects import read_defects
from mrcz_dask.formats.text.star import read_star
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.choices import Program
from mrcz_dask.values.errors import MrczDaskError, OutputExistsError, ParameterError, SessionError
from tests.nights import run_koma

OPTICS = Optics(pixel_size=1.05)


def plain(path: Path) -> np.ndarray[Any, Any]:
    """Pixels of an MRC file, as mrcfile reads them."""
    with mrcfile.open(path) as file:
        return np.array(file.data)


@pytest.fixture(scope="module", params=["normalized", "recompressed"])
def corrected_night(
    request: pytest.FixtureRequest, simulated_night: Path, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    return run_koma(simulated_night, tmp_path_factory.mktemp("export") / "koma", write=request.param)


@pytest.mark.parametrize("program", TEXTS)
def test_one_mask_in_every_form_and_movies_that_everybody_reads(
    corrected_night: Outcome, tmp_path: Path, program: Program
) -> None:
    outcome, folder = corrected_night, corrected_night.plan.folder
    done = export(folder, tmp_path / "out", program, OPTICS)
    assert len(done.movies) == 5
    store = SessionStore(folder / "session.zarr")
    for result in outcome.results:
        stem = Path(result.output).stem
        mask = store.mask(stem)
        assert mask.sum() == result.hot + result.dead
        place = tmp_path / "out" / "defects"
        for name in (f"{stem}.mrc", f"{stem}.txt", f"{stem}_serialem.txt"):
            assert np.array_equal(read_defects(place / name, mask.shape).as_frames("bottom"), mask)
        assert np.array_equal(plain(place / f"{stem}.mrc"), mask.astype(np.int8))
        movie = plain(tmp_path / "out" / "movies" / f"{stem}.mrcs")
        corrected = outcome.plan.settings.write.write == "recompressed"
        expected = mrcz_dask.open_stack(folder / result.output, corrected=corrected).compute()
        if program == "motioncor" and corrected:
            counts = mrcz_dask.read(folder / result.output)
            assert np.array_equal(movie, counts)
            dark = plain(tmp_path / "out" / "dark" / f"{stem}.mrc")
            good = ~mask & (store.load(stem, "weight") == 255)
            assert np.allclose((counts - dark)[:, good], expected[:, good], atol=1e-6)
        else:
            assert movie.dtype == np.float32 and np.array_equal(movie, expected)
    common = read_defects(tmp_path / "out" / "defects_common.txt", mask.shape).as_frames("bottom")
    gain = plain(tmp_path / "out" / "gain_ones_zero_at_defects.mrc")
    assert np.array_equal(gain == 0, common) and set(np.unique(gain)) <= {0, 1}
    assert (plain(tmp_path / "out" / "gain_ones.mrc") == 1).all()
    told = (tmp_path / "out" / "README.md").read_text()
    assert "Apply no gain" in told or "Apply no other gain" in told
    if program == "motioncor":
        assert " -FmDose " in told
        assert (" -InMrc movies/ -InSuffix .mrcs -OutMrc aligned/movies/ -Serial 1 " in told) != corrected


def test_tables_are_in_order_of_acquisition(night: Path, tmp_path: Path, koma: Any) -> None:
    outcome = koma(night)
    export(night / "koma", tmp_path / "out", "relion", OPTICS)
    tables = read_star((tmp_path / "out" / "movies.star").read_text())
    assert tables["movies"]["rlnMicrographMovieName"] == [
        f"movies/{Path(r.output).stem}.mrcs" for r in outcome.results
    ]
    assert tables["optics"]["rlnMicrographOriginalPixelSize"] == ["1.050000"]
    stem = Path(outcome.results[0].output).stem
    hot = read_star((tmp_path / "out" / "hot_pixels" / f"{stem}.star").read_text())["hot_pixels"]
    mask = SessionStore(night / "koma" / "session.zarr").mask(stem)
    found = {
        (int(float(x)), int(float(y)))
        for x, y in zip(hot["rlnCoordinateX"], hot["rlnCoordinateY"], strict=True)
    }
    assert found == {(x, y) for y, x in np.argwhere(mask).tolist()}


def test_a_folder_that_holds_something_is_left_alone(night: Path, tmp_path: Path, koma: Any) -> None:
    koma(night)
    with pytest.raises(OutputExistsError, match="not empty"):
        export(night / "koma", night, "warp", OPTICS)


def test_nothing_to_hand_on(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="no outputs of koma"):
        movies_of(tmp_path)


def test_the_pixel_size_is_asked_for(night: Path, tmp_path: Path, koma: Any) -> None:
    for path in night.glob("*.mdoc"):
        path.unlink()
    for path in night.glob("*.mrcz"):
        frames = mrcz_dask.read(path)
        path.unlink()
        mrcz_dask.write(path, frames)
    koma(night)
    with pytest.raises(ParameterError, match="--pixel-size"):
        export(night / "koma", tmp_path / "out", "relion", Optics())


def test_divide_has_no_dark(night: Path, tmp_path: Path, koma: Any) -> None:
    koma(night, form="divide", write="recompressed")
    with pytest.raises(ParameterError, match="--form subtract"):
        export(night / "koma", tmp_path / "out", "motioncor", OPTICS)


@pytest.mark.parametrize("wrong", [{"voltage": 0}, {"cs": -1}, {"contrast": 2}])
def test_optics_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="expected"):
        Optics(**wrong)


def test_with_gain_and_dark_the_counts_become_the_corrected_movie(
    night: Path, tmp_path: Path, koma: Any
) -> None:
    """As MotionCor does it: (frame - dark) * gain; 0 at defects."""
    rng = np.random.default_rng(1)
    shape = mrcz_dask.read(next(night.glob("*.mrcz")), 0).shape
    gain = rng.normal(1, 0.05, shape).astype(np.float32)
    gain[5, 6] = 0
    mrcz_dask.write(tmp_path / "gain.mrc", gain)
    mrcz_dask.write(tmp_path / "dark.mrc", rng.uniform(0, 0.2, shape).astype(np.float32))
    files = {"gain": str(tmp_path / "gain.mrc"), "dark": str(tmp_path / "dark.mrc")}
    options = GainOptions(**files, gamma="1.1", force=True)
    outcome = koma(night, write="recompressed", gain=options)
    out = tmp_path / "out"
    export(night / "koma", out, "motioncor", OPTICS)
    store = SessionStore(night / "koma" / "session.zarr")
    for result in outcome.results:
        stem = Path(result.output).stem
        counts = plain(out / "movies" / f"{stem}.mrcs").astype(np.float32)
        found = (counts - plain(out / "dark" / f"{stem}.mrc")) * plain(out / "gain" / f"{stem}.mrc")
        expected = mrcz_dask.open_stack(night / "koma" / result.output, corrected=True).compute()
        good = (store.load(stem, "weight") == 255) & ~store.mask(stem)
        assert np.allclose(found[:, good], expected[:, good], atol=1e-4)
        assert (found[:, 5, 6] == 0).all()
    assert f"-Gain gain/{Path(outcome.results[0].output).stem}.mrc" in (out / "README.md").read_text()


def test_the_scale_of_method_session_is_part_of_the_gain(night: Path, tmp_path: Path, koma: Any) -> None:
    """(frame - dark) * gain is the corrected frame."""
    outcome = koma(night, method="session", write="recompressed")
    export(night / "koma", tmp_path / "out", "motioncor", OPTICS)
    store = SessionStore(night / "koma" / "session.zarr")
    for result in outcome.results:
        stem = Path(result.output).stem
        factor = store.correction(stem).factor()
        assert factor is not None
        counts = plain(tmp_path / "out" / "movies" / f"{stem}.mrcs").astype(np.float32)
        dark = plain(tmp_path / "out" / "dark" / f"{stem}.mrc")
        found = (counts - dark) * plain(tmp_path / "out" / "gain" / f"{stem}.mrc")
        expected = mrcz_dask.open_stack(night / "koma" / result.output, corrected=True).compute()
        good = (store.load(stem, "weight") == 255) & ~store.mask(stem)
        assert np.allclose(found[:, good], expected[:, good], atol=1e-5)


def test_what_fails_leaves_no_folder(night: Path, tmp_path: Path, koma: Any) -> None:
    koma(night)
    path = sorted((night / "koma").glob("*.mrcz"))[-1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(MrczDaskError):
        export(night / "koma", tmp_path / "out", "warp", OPTICS)
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]


def test_movies_of_tiff_show_what_the_tiff_shows(night: Path, tmp_path: Path, koma: Any) -> None:
    """Programs reverse the rows of TIFF when they read it, and not those of MRC."""
    for path in night.glob("*.mrcz"):
        tifffile.imwrite(path.with_suffix(".tif"), mrcz_dask.read(path))
        path.unlink()
    koma(night, tmp_path / "koma", dtype="float32")
    export(tmp_path / "koma", tmp_path / "out", "relion", OPTICS)
    store = SessionStore(tmp_path / "koma" / "session.zarr")
    for movie in (tmp_path / "out" / "movies").iterdir():
        stem = movie.stem
        ours = mrcz_dask.read(tmp_path / "koma" / f"{stem}.mrcz")
        assert np.array_equal(plain(movie)[:, ::-1], ours)
        shown = plain(tmp_path / "out" / "defects" / f"{stem}.mrc")
        assert np.array_equal(shown[::-1] > 0, store.mask(stem))


def test_outputs_that_were_recompressed_to_tiff_are_shown_alike(
    night: Path, tmp_path: Path, koma: Any
) -> None:
    """The movie and its defects, whatever its rows went through."""
    koma(night, tmp_path / "koma", dtype="float32")
    other = tmp_path / "koma" / "tiff"
    for path in (tmp_path / "koma").glob("*.mrcz"):
        recompress(path, other, "auto", format="tiff")
    shutil.copytree(tmp_path / "koma" / "session.zarr", other / "session.zarr")
    export(tmp_path / "koma", tmp_path / "a", "relion", OPTICS)
    export(other, tmp_path / "b", "relion", OPTICS)
    for path in (p for p in (tmp_path / "a").rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_two_outputs_of_one_stack_are_not_handed_on_twice(night: Path, tmp_path: Path, koma: Any) -> None:
    """An output that was also written as .mrcs beside itself is one movie."""
    outcome = koma(night)
    first = night / "koma" / outcome.results[0].output
    recompress(first, night / "koma", format="plain")
    with pytest.raises(SessionError, match=r"\.mrcs, .*\.mrcz: several outputs of one stack"):
        export(night / "koma", tmp_path / "out", "relion", OPTICS)
    assert not (tmp_path / "out").exists()


def test_outputs_under_the_name_of_another_stack_are_left_out(night: Path, tmp_path: Path, koma: Any) -> None:
    out = koma(night).plan.folder
    first, second, *others = sorted(out.glob("*.mrcz"))
    first.rename(out / "swap")
    second.rename(first)
    (out / "swap").rename(second)
    made = export(out, tmp_path / "movies", "relion", OPTICS)
    assert len(made.movies) == len(others)
    assert set(made.left_out) == {first.name, second.name}
    assert f"made from {second.name}" in made.left_out[first.name]

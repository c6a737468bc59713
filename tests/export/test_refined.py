"""A refined gain and links to the movies: the hand-over that copies nothing."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import mrcfile
import numpy as np
import pytest
import tifffile

import mrcz_dask
from mrcz_dask.engine.clusters import ClientOptions
from mrcz_dask.export.refined import export_refined_gain
from mrcz_dask.export.run import export
from mrcz_dask.export.texts import Optics
from mrcz_dask.formats.defects import read_defects
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.text.star import read_star
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.numerics.simulate import SimulatedSession, named, simulate_session
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.choices import Program
from mrcz_dask.values.errors import ParameterError, PlaceError, SessionError
from mrcz_dask.values.params import InputParams
from tests.inputs import as_eer
from tests.nights import run_koma

OPTICS = Optics(pixel_size=1.05)
PARAMS = named(
    "standard", shape=(160, 192), stacks=20, frames=6, dose=24.0, pixel=0.05, new_gain=(10,), etch=0.0, seed=3
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a session of plain MRC files in two epochs, and what `koma --write references` makes."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "night").mkdir()
    for path in write_session(folder / "mrcz", PARAMS):
        counts = mrcz_dask.read(path).astype(np.int16)
        mrcz_dask.write(folder / "night" / f"{path.stem}.mrcs", counts, footer=False)
        mdoc = path.with_name(f"{path.name}.mdoc")
        (folder / "night" / f"{path.stem}.mrcs.mdoc").write_bytes(mdoc.read_bytes())
    return folder


@pytest.fixture(scope="module")
def references(recorded: Path) -> Path:
    return Path(run_koma(recorded / "night", recorded / "refs", radius=6, write="references").plan.folder)


def gain_of(path: Path) -> np.ndarray[Any, Any]:
    with mrcfile.open(path) as file:
        return np.array(file.data)


def test_each_epoch_has_links_a_gain_and_defects(recorded: Path, references: Path, tmp_path: Path) -> None:
    done = export_refined_gain(references, recorded / "night", tmp_path / "out", "relion", OPTICS)
    assert len(done.movies) == PARAMS.stacks and not done.left_out
    session, out = SimulatedSession(PARAMS), tmp_path / "out"
    for epoch, first, last in (("epoch_1", 0, 9), ("epoch_2", 10, 19)):
        links = read_star((out / f"{epoch}.star").read_text())["movies"]["rlnMicrographMovieName"]
        assert len(links) == 10
        for link in links:
            assert (out / link).is_symlink() and (out / link).samefile(recorded / "night" / Path(link).name)
        gain = gain_of(out / f"{epoch}_gain.mrc")
        bad = read_defects(out / f"{epoch}_defects.mrc", PARAMS.shape).as_frames("bottom")
        assert np.array_equal(gain == 0, bad)
        truth = (session.pattern(first) + session.pattern(last)) / 2
        assert np.std((gain * truth)[~bad]) < 0.5 * np.std(truth[~bad])
        for end in (".txt", "_serialem.txt"):
            same = read_defects(out / f"{epoch}_defects{end}", PARAMS.shape).as_frames("bottom")
            assert np.array_equal(same, bad)
    commands = (out / "run.sh").read_text()
    assert commands.count("relion_run_motioncorr") == 2 and "--gainref epoch_2_gain.mrc" in commands
    assert "no other" in (out / "README.md").read_text()


@pytest.mark.parametrize("program", [name for name in get_args(Program) if name != "aretomo"])
def test_the_script_runs_in_the_folder_wherever_it_is(
    recorded: Path, references: Path, tmp_path: Path, program: Program
) -> None:
    """Programs that only print their arguments stand in: each path that they are given is there."""
    export_refined_gain(references, recorded / "night", tmp_path / "out", program, OPTICS)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("relion_run_motioncorr", "MotionCor3", "WarpTools"):
        (tools / name).write_text('#!/bin/sh\necho "$0" "$@"\n')
        (tools / name).chmod(0o755)
    about = (tmp_path / "out" / "README.md").read_text()
    assert ("on all movies" in about) == (program in ("relion", "motioncor")) and "the inverse" not in about
    env = {"PATH": f"{tools}:/usr/bin:/bin"}
    done = subprocess.run(
        [tmp_path / "out" / "run.sh"], cwd="/", env=env, capture_output=True, text=True, check=True
    )
    for epoch in ("epoch_1", "epoch_2"):
        assert f"{epoch}_gain.mrc" in done.stdout and f"{epoch}" in done.stdout
        assert (tmp_path / "out" / f"{epoch}_gain.mrc").exists()


def test_rows_of_tiff_are_reversed(recorded: Path, references: Path, tmp_path: Path, koma: Any) -> None:
    (tmp_path / "tiff").mkdir()
    for path in sorted((recorded / "night").glob("*.mrcs")):
        tifffile.imwrite(tmp_path / "tiff" / f"{path.stem}.tif", mrcz_dask.read(path)[:, ::-1])
        mdoc = path.with_name(f"{path.name}.mdoc").read_bytes()
        (tmp_path / "tiff" / f"{path.stem}.tif.mdoc").write_bytes(mdoc)
    koma(tmp_path / "tiff", tmp_path / "refs", radius=6, write="references")
    for name, made, session in (
        ("mrc", references, recorded / "night"),
        ("tif", tmp_path / "refs", tmp_path / "tiff"),
    ):
        export_refined_gain(made, session, tmp_path / name, "warp", OPTICS)
    gains = [gain_of(tmp_path / name / "epoch_1_gain.mrc") for name in ("mrc", "tif")]
    assert np.corrcoef(*(gain.ravel() for gain in gains))[0, 1] > 0.99


def test_what_cannot_be_handed_on_is_named(
    recorded: Path, references: Path, tmp_path: Path, koma: Any
) -> None:
    mrcz = tmp_path / "mrcz"
    mrcz.mkdir()
    for path in sorted((recorded / "mrcz").glob("*.mrcz"))[:3]:
        shutil.copy(path, mrcz)
    with pytest.raises(
        SessionError, match=r"only \.mrc, \.mrcs, \.tif, \.tiff, \.eer can be handed on|no movie"
    ):
        koma(mrcz, tmp_path / "refs", radius=6, write="references")
        export_refined_gain(tmp_path / "refs", mrcz, tmp_path / "out", "relion", OPTICS)
    with pytest.raises(PlaceError, match="expected the output folder of koma --write references"):
        export_refined_gain(recorded / "night", recorded / "night", tmp_path / "out", "relion", OPTICS)
    night = tmp_path / "night"
    night.mkdir()
    for path in (recorded / "night").iterdir():
        (night / path.name).write_bytes(re.sub(rb"PixelSpacing.*", b"", path.read_bytes()))
    with pytest.raises(ParameterError, match="--pixel-size"):
        export_refined_gain(references, night, tmp_path / "out", "relion", Optics())
    gone, cut = sorted(night.glob("*.mrcs"))[:2]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1000])
    done = export_refined_gain(references, night, tmp_path / "out", "relion", OPTICS)
    assert set(done.left_out) == {gone.stem, cut.stem} and "copy it again" in done.left_out[cut.stem]
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_an_epoch_whose_first_movie_is_gone_is_still_one(
    recorded: Path, references: Path, tmp_path: Path
) -> None:
    night = tmp_path / "night"
    night.mkdir()
    footers = {p: mrcz_dask.read_footer(p) or {} for p in references.glob("*_reference.mrc")}
    breaks = [one for f in footers.values() for one in f["provenance"][1]["results"]["breaks"]]
    (first,) = {one["first"] for one in breaks}
    for path in (recorded / "night").iterdir():
        if path.name != first:
            (night / path.name).write_bytes(path.read_bytes())
    done = export_refined_gain(references, night, tmp_path / "out", "relion", OPTICS)
    assert set(done.left_out) == {Path(first).stem}
    assert [len(list((tmp_path / "out" / name).iterdir())) for name in ("epoch_1", "epoch_2")] == [10, 9]


def test_what_no_gain_can_do_is_refused(recorded: Path, tmp_path: Path, koma: Any) -> None:
    dark, gain = tmp_path / "dark.mrc", tmp_path / "gain.mrc"
    mrcz_dask.write(dark, np.full((1, *PARAMS.shape), 0.5, np.float32), codec="none")
    mrcz_dask.write(gain, np.full((1, *PARAMS.shape), 2, np.float32), codec="none")
    night, refs = recorded / "night", tmp_path / "refs"
    koma(night, refs, radius=6, write="references", gain=GainOptions(str(gain), dark=str(dark)))
    with pytest.raises(ParameterError, match="took a dark off"):
        export_refined_gain(refs, night, tmp_path / "out", "relion", OPTICS)
    assert not (tmp_path / "out").exists()
    export_refined_gain(refs, night, tmp_path / "out", "motioncor", OPTICS)
    assert (gain_of(tmp_path / "out" / "epoch_2_dark.mrc") == 0.5).all()
    assert (tmp_path / "out" / "run.sh").read_text().count("-Dark epoch_") == 2


@pytest.mark.parametrize("form", ["divide", "subtract-raw"])
def test_every_form_takes_the_pattern_off(tmp_path: Path, form: Any) -> None:
    params, out = replace(PARAMS, shape=(96, 112), stacks=8, new_gain=()), tmp_path / "out"
    for path in write_session(tmp_path / "mrcz", params):
        mrcz_dask.write(tmp_path / f"{path.stem}.mrcs", mrcz_dask.read(path), footer=False)
    run_koma(tmp_path, tmp_path / "refs", radius=4, form=form, write="references")
    export_refined_gain(tmp_path / "refs", tmp_path, out, "motioncor", OPTICS)
    session, gain = SimulatedSession(params), gain_of(out / "epoch_1_gain.mrc")
    dark = gain_of(out / "epoch_1_dark.mrc") if form == "subtract-raw" else 0
    truth, good = (session.pattern(0) + session.pattern(7)) / 2, gain > 0
    corrected = (params.dose * truth - dark) * gain / params.dose
    assert np.std(corrected[good]) < 0.6 * np.std(truth[good])
    assert 0.9 < np.mean(corrected[good]) < 1.1


def test_movies_of_electron_events(tmp_path: Path) -> None:
    """RELION and Warp divide EER by a gain in MRC; every program is told how the run made frames."""
    params = named("standard", shape=(64, 64), frames=40, stacks=4, dose=0.05, seed=2)
    (tmp_path / "eer").mkdir()
    for k, stack in enumerate(simulate_session(params)):
        path = as_eer(tmp_path / "eer", f"s{k}", stack.frames)
    raw = open_source(path).bounds[-1]  # type: ignore[attr-defined]
    session = mrcz_dask.open_session(tmp_path / "eer", inputs=InputParams(eer_frames=20, eer_upsampling=2))
    session.koma(radius=1).run(tmp_path / "refs", ClientOptions(0), report=False)
    expected = {
        "relion": "--eer_grouping 20 --eer_upsampling 2",
        "motioncor": "-FmIntFile epoch_1_fractions.txt -EerSampling 2",
        "cryosparc": f"{raw // 20} EER fractions, EER upsampling 2",
        "warp": "--extension '*.eer' --angpix 1.05 --exposure",
    }
    gains = {}
    for program, options in expected.items():
        out = tmp_path / program
        done = export_refined_gain(tmp_path / "refs", tmp_path / "eer", out, program, OPTICS)  # type: ignore[arg-type]
        assert len(done.movies) == 4 and options in (out / "run.sh").read_text()
        gains[program] = gain_of(out / "epoch_1_gain.mrc")
        assert ("the inverse, 1 / gain" in (out / "README.md").read_text()) == (program in ("relion", "warp"))
        assert gains[program].shape == (128, 128)
    assert "--eer_ngroups -20" in (tmp_path / "warp" / "run.sh").read_text()
    total, each, dose = (tmp_path / "motioncor" / "epoch_1_fractions.txt").read_text().split()
    assert (int(total), int(each)) == (raw // 20 * 20, 20)
    assert float(dose) * 1.05**2 * raw == pytest.approx(2 / 4, rel=0.2)  # four sub-pixels
    good = gains["motioncor"] > 0
    assert np.allclose(gains["relion"][good] * gains["motioncor"][good], 1, rtol=1e-5)
    assert (gains["warp"] == gains["relion"]).all() and (gains["cryosparc"] == gains["motioncor"]).all()


def test_tilt_series_for_aretomo(recorded: Path, references: Path, tmp_path: Path) -> None:
    """A series whose movies are all in one epoch goes with them; another one is named."""
    night = Path(shutil.copytree(recorded / "night", tmp_path / "night"))
    names = [stack.name for stack in discover(night).stacks]
    for series, part in (("ts1", names[:6]), ("ts2", names[6:14]), ("ts3", names[14:])):
        tilts = [
            f"[ZValue = {k}]\nTiltAngle = {3 * k}\nSubFramePath = D:\\frames\\{name}\n"
            for k, name in enumerate(part)
        ]
        (night / f"{series}.mdoc").write_text("PixelSpacing = 1.05\n\n" + "\n".join(tilts))
    done = export_refined_gain(references, night, tmp_path / "out", "aretomo", OPTICS)
    assert len(done.movies) == PARAMS.stacks
    for epoch, series in (("epoch_1", "ts1.mdoc"), ("epoch_2", "ts3.mdoc")):
        folder = tmp_path / "out" / epoch
        assert [path.name for path in folder.glob("ts*.mdoc")] == [series]
        assert (folder / series).samefile(night / series)
    commands = (tmp_path / "out" / "run.sh").read_text()
    assert "ts2.mdoc: left out: 4 of its 8 movies are not in epoch_1" in commands
    assert "-DefectFile epoch_2_defects.txt" in commands and "-Gain epoch_2_gain.mrc" in commands
    with pytest.raises(SessionError, match=r"no \.mdoc of a tilt series"):
        export_refined_gain(references, recorded / "night", tmp_path / "none", "aretomo", OPTICS)
    with pytest.raises(ParameterError, match="--refined-gain SESSION"):
        export(references, tmp_path / "none", "aretomo", OPTICS)


def test_the_table_for_cryosparc_joins_movies_and_gains(
    recorded: Path, references: Path, tmp_path: Path
) -> None:
    export_refined_gain(references, recorded / "night", tmp_path / "out", "cryosparc", OPTICS)
    for epoch in ("epoch_1", "epoch_2"):
        table = np.load(tmp_path / "out" / f"{epoch}.cs")
        assert len(table) == len(set(table["uid"])) == 10
        for name in ("movie_blob/path", "gain_ref_blob/path", "mscope_params/defect_path"):
            assert all((tmp_path / "out" / path.decode().removeprefix(">")).is_file() for path in table[name])
        assert (table["movie_blob/shape"] == (PARAMS.frames, *PARAMS.shape)).all()
        assert (table["gain_ref_blob/path"] == f">{epoch}_gain.mrc".encode()).all()
        assert (tmp_path / "out" / f"{epoch}.csg").read_text().count(f"'>{epoch}.cs'") == 3


def test_movies_of_another_night_are_no_movies_of_the_run(
    recorded: Path, references: Path, tmp_path: Path
) -> None:
    """Cameras number movies anew each night: equal names and sizes, and another time."""
    night = Path(shutil.copytree(recorded / "night", tmp_path / "night"))
    mdoc = sorted(night.glob("*.mdoc"))[3]
    text = mdoc.read_text()
    mdoc.write_text(re.sub(r"(DateTime = \d+-\w+-)\d+", r"\g<1>31", text))
    done = export_refined_gain(references, night, tmp_path / "out", "relion", OPTICS)
    assert list(done.left_out) == [mdoc.name.removesuffix(".mrcs.mdoc")]
    assert "the movie of the run at" in str(done.left_out)

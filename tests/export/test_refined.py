"""A refined gain and links to the movies: the hand-over that copies nothing."""

import subprocess
from pathlib import Path
from typing import Any, get_args

import mrcfile
import numpy as np
import pytest

import mrcz_dask
from mrcz_dask.export.refined import export_refined_gain
from mrcz_dask.export.texts import Optics
from mrcz_dask.formats.defects import read_defects
from mrcz_dask.formats.text.star import read_star
from mrcz_dask.gain.options import GainOptions
from mrcz_dask.numerics.simulate import SimulatedSession, named
from mrcz_dask.session.simulation import write_session
from mrcz_dask.values.choices import Program
from mrcz_dask.values.errors import ParameterError, PlaceError, SessionError
from tests.nights import run_koma

OPTICS = Optics(pixel_size=1.05)
PARAMS = named(
    "standard", shape=(160, 192), stacks=26, frames=6, dose=24.0, pixel=0.05, new_gain=(13,), etch=0.0, seed=3
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
    for epoch, first, last in (("epoch_1", 0, 12), ("epoch_2", 13, 25)):
        links = read_star((out / f"{epoch}.star").read_text())["movies"]["rlnMicrographMovieName"]
        assert len(links) == 13
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


@pytest.mark.parametrize("program", get_args(Program))
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
    env = {"PATH": f"{tools}:/usr/bin:/bin"}
    done = subprocess.run(
        [tmp_path / "out" / "run.sh"], cwd="/", env=env, capture_output=True, text=True, check=True
    )
    for epoch in ("epoch_1", "epoch_2"):
        assert f"{epoch}_gain.mrc" in done.stdout and f"{epoch}" in done.stdout
        assert (tmp_path / "out" / f"{epoch}_gain.mrc").exists()


def test_rows_of_tiff_are_reversed(recorded: Path, references: Path, tmp_path: Path, koma: Any) -> None:
    tifffile = pytest.importorskip("tifffile")
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
    with pytest.raises(SessionError, match=r"only \.mrc, \.mrcs, \.tif, \.tiff can be handed on|no movie"):
        koma(recorded / "mrcz", tmp_path / "mrcz", radius=6, write="references")
        export_refined_gain(tmp_path / "mrcz", recorded / "mrcz", tmp_path / "out", "relion", OPTICS)
    with pytest.raises(PlaceError, match="expected the output folder of koma --write references"):
        export_refined_gain(recorded / "night", recorded / "night", tmp_path / "out", "relion", OPTICS)
    with pytest.raises(ParameterError, match="--pixel-size"):
        export_refined_gain(references, recorded / "night", tmp_path / "out", "relion", Optics())
    night = tmp_path / "night"
    night.mkdir()
    for path in (recorded / "night").iterdir():
        (night / path.name).write_bytes(path.read_bytes())
    gone, cut = sorted(night.glob("*.mrcs"))[:2]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1000])
    done = export_refined_gain(references, night, tmp_path / "out", "relion", OPTICS)
    assert (
        set(done.left_out) == {gone.stem, cut.stem}
        and "bytes, the movie of the run" in done.left_out[cut.stem]
    )
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
    assert [len(list((tmp_path / "out" / name).iterdir())) for name in ("epoch_1", "epoch_2")] == [13, 12]


def test_what_no_gain_can_do_is_refused(recorded: Path, tmp_path: Path, koma: Any) -> None:
    dark, gain = tmp_path / "dark.mrc", tmp_path / "gain.mrc"
    mrcz_dask.write(dark, np.full((1, *PARAMS.shape), 0.5, np.float32), codec="none")
    mrcz_dask.write(gain, np.ones((1, *PARAMS.shape), np.float32), codec="none")
    night, refs = recorded / "night", tmp_path / "refs"
    koma(night, refs, radius=6, write="references", gain=GainOptions(str(gain), dark=str(dark)))
    with pytest.raises(ParameterError, match="took a dark off"):
        export_refined_gain(refs, night, tmp_path / "out", "relion", OPTICS)
    assert not (tmp_path / "out").exists()

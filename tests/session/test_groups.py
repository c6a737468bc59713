"""Stacks that show the same specimen: tilt series, places and holes, from .mdoc files, names or by hand."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from mrcz_dask.api.settings import read_groups
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.entries import Acquired, StackEntry
from mrcz_dask.session.groups import Grouping
from mrcz_dask.values.errors import ParameterError, PlaceError
from mrcz_dask.values.params import Groups, KomaParams

WHEN = Acquired(datetime(2026, 10, 14), "name")


def entry(
    stem: str = "a", tilt: float | None = None, place: tuple[float, float] | None = None, series: str = ""
) -> StackEntry:
    where = Path(f"{stem}.mrcz")
    return StackEntry(
        where,
        where.name,
        (6, 100, 100),
        np.dtype("u1"),
        1,
        1,
        stem,
        WHEN,
        1.0,
        "mdoc",
        None,
        tilt,
        place,
        series,
    )


def numbers(entries: list[StackEntry], groups: Groups = "auto") -> list[list[int]]:
    """The stacks that share a group with each."""
    grouping = Grouping(groups)
    found = [set(grouping.find(one)) for one in entries]
    return [[k for k, other in enumerate(found) if k != i and own & other] for i, own in enumerate(found)]


@pytest.mark.parametrize(
    "stems",
    [
        ("TS_01_000_0.0", "TS_01_001_3.0", "TS_02_000_0.0"),
        ("ts_1_003_-9.0_Oct14_19.06.33", "ts_1_004_9.0_Oct14_19.07.33", "ts_11_003_-9.0_Oct14_19.08.33"),
        (
            "Position_1_001_0.00_20261014_190633_fractions",
            "Position_1_2_-3.01_20261014_190733_fractions",
            "b",
        ),
        ("tomo_1[0.00]-1_fractions", "tomo_1[-3.00]-2_fractions", "tomo_2[0.00]-1_fractions"),
        (
            "FoilHole_12_Data_1_2_20261014_190633",
            "FoilHole_12_Data_1_3_20261014_190733",
            "FoilHole_1_Data_1_2",
        ),
    ],
)
def test_names_tell_tilt_series_and_holes(stems: tuple[str, ...]) -> None:
    assert numbers([entry(stem) for stem in stems]) == [[1], [0], []]


@pytest.mark.parametrize(
    "stems",
    [
        ("a_001", "a_002", "a_003"),
        ("grid_12_31", "grid_12_32", "grid_13_32"),
        ("x_Oct14_19.06.33", "x_Oct14_19.06.43", "x_Oct14_19.07.33"),
        ("FoilHole_105978_Data_2311", "FoilHole_173766_Data_2755", "FoilHole_207640_Data_1647"),
    ],
)
def test_other_names_tell_nothing(stems: tuple[str, ...]) -> None:
    assert numbers([entry(stem) for stem in stems]) == [[], [], []]


def test_an_angle_that_comes_again_begins_a_series() -> None:
    angles = [0, 3, -3, 6, 0, 3, -3, 0.1, 2.9]
    series = [0, 0, 0, 0, 1, 1, 1, 2, 2]
    found = numbers([entry(f"s{k}", angle) for k, angle in enumerate(angles)])
    assert found == [
        [k for k, one in enumerate(series) if one == own and k != i] for i, own in enumerate(series)
    ]


def test_series_that_are_recorded_in_turn_are_one_group() -> None:
    """Nothing tells which stack is of which, and all of them are left out."""
    found = numbers([entry(f"s{k}", angle) for k, angle in enumerate([3, 6, 6, 6, 9, 9, 9])])
    assert all(len(mates) == 6 for mates in found)


def test_no_series_where_the_stage_is_always_at_one_angle() -> None:
    assert numbers([entry(f"s{k}", tilt) for k, tilt in enumerate([0.0, 0.01, -0.02, 0.0])]) == [[]] * 4


def test_the_same_place_within_a_field_of_view() -> None:
    places = [(10.0, 5.0), (10.0, 5.009), (10.0, 5.02), (10.0, 5.0)]  # um; a field is .01
    assert numbers([entry(f"s{k}", 0.0, place) for k, place in enumerate(places)]) == [
        [1, 3],
        [0, 3],
        [],
        [0, 1],
    ]


def test_by_hand_or_not_at_all() -> None:
    entries = [entry("TS_01_000_0.0"), entry("TS_01_001_3.0"), entry("other")]
    assert numbers(entries, "none") == [[], [], []]
    assert numbers(entries, (("TS*_0.0", "x"), ("oth*", "x"))) == [[2], [], [0]]
    assert numbers(entries, (("TS*", "x"), ("*", "y"), ("other", "x"))) == [[1, 2], [0, 2], [0, 1]]


def test_mdoc_files_of_tilts_and_of_series(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).poisson(1, (2, 16, 16)).astype(np.uint8)
    for stem in "abc":
        write(tmp_path / f"{stem}.mrc", frames, codec="none")
    own = "PixelSpacing = 1\n[FrameSet = 0]\nTiltAngle = -9.01\nStagePosition = 1.5 -2\nImageShift = .25 .5\n"
    (tmp_path / "a.mrc.mdoc").write_text(own)
    tilts = [f"[ZValue = {k}]\nTiltAngle = {3 * k}\nSubFramePath = X:\\{s}.mrc\n" for k, s in enumerate("bc")]
    (tmp_path / "TS_7.mrc.mdoc").write_text("\n".join(tilts))
    found = {one.stem: (one.tilt, one.place, one.series) for one in discover(tmp_path).stacks}
    assert found == {"a": (-9.01, (1.75, -1.5), ""), "b": (0, None, "TS_7"), "c": (3, None, "TS_7")}


TOMOSTAR = """data_

loop_
_wrpMovieName #1
_wrpAngleTilt #2
_wrpDose #3
../frames/b.tif   -3.01   2.5
../frames/a.tif    0.00   5.0
"""
RELION = """# version 50001

data_tomo_2

loop_
_rlnMicrographMovieName #1
_rlnTomoTiltMovieFrameCount #2
_rlnTomoNominalStageTiltAngle #3
frames/c.mrc 8 0.0
"frames/d e.mrc" 8 3.0
"""
PARTICLES = "data_movies\n\nloop_\n_rlnMicrographMovieName #1\n_rlnOpticsGroup #2\nMovies/f.mrc 1\n"


def test_star_files_of_warp_and_relion_tell_tilt_series(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).poisson(1, (2, 16, 16)).astype(np.uint8)
    session = tmp_path / "frames"
    session.mkdir()
    for stem in ("a", "b", "c", "d e", "f"):
        write(session / f"{stem}.mrc", frames, codec="none")
    for folder, name, text in (
        (tmp_path / "tomostar", "TS_1.tomostar", TOMOSTAR),
        (tmp_path / "tilt_series", "tomo_2.star", RELION),
        (tmp_path, "movies.star", PARTICLES),
        (session, "broken.star", "data_x\nloop_\n_a #1\n1 2 3\n"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    found = discover(session)
    groups = {one.stem: Grouping().find(one) for one in found.stacks}
    assert {stem: [g.name for g in of] for stem, of in groups.items() if of} == {
        "a": ["tilt series TS_1"], "b": ["tilt series TS_1"],
        "c": ["tilt series tomo_2"], "d e": ["tilt series tomo_2"],
    }  # fmt: skip
    assert groups["a"][0].reason == "as TS_1.tomostar says"
    assert any("broken.star" in text and "line 4" in text for text in found.warnings)


def test_a_file_of_groups(tmp_path: Path) -> None:
    path = tmp_path / "groups.txt"
    path.write_text("# tilts\nTS_01_* TS_01\n\nTS_02_*,TS_02\n")
    assert read_groups(path) == (("TS_01_*", "TS_01"), ("TS_02_*", "TS_02"))
    path.write_text("TS_01_*\n")
    with pytest.raises(
        ParameterError, match=r"line 1 is 'TS_01_\*'; expected a pattern of names and a group"
    ):
        read_groups(path)
    with pytest.raises(PlaceError):
        read_groups(tmp_path / "gone.txt")
    with pytest.raises(ParameterError, match="groups is 'some'; expected auto, none, or pairs"):
        KomaParams(groups="some")  # type: ignore[arg-type]
    assert KomaParams.from_dict(KomaParams(groups=(("a", "b"),)).to_dict()).groups == (("a", "b"),)

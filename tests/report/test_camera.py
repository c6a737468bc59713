"""A camera over many sessions: what is alarmed, when, and what is left out."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask import write
from mrcz_dask.correction.plan import make_plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.numerics.reference.evidence import Mean
from mrcz_dask.numerics.simulate import named, simulate_session
from mrcz_dask.report.camera import CameraData, CameraSession, gather_camera
from mrcz_dask.report.camera_alarms import Alarm, camera_values, judge
from mrcz_dask.report.camera_page import camera_figures, camera_page
from mrcz_dask.values.errors import MrczDaskError, PlaceError
from mrcz_dask.values.params import KomaParams, Settings, WriteParams
from tests.report.camera_nights import BEGAN, Camera, steady, write_night

NIGHTS, HEATS, GAIN, LINE = 60, 15, 30, 40


def camera(seed: int = 1, **more: Any) -> Camera:
    return Camera(np.random.default_rng(seed), **more)


def nights(folder: Path, number: int, one: Camera | None = None) -> list[Path]:
    one = one or camera()
    return [write_night(folder / f"night{k}", one, k) for k in range(number)]


def judged(sessions: tuple[CameraSession, ...]) -> tuple[str, list[Alarm]]:
    found = judge(CameraData(sessions, (4096, 4096), ()))
    return found.sentence, list(found.alarms)


def lights(page: str) -> list[str]:
    """The texts of the lights of a page."""
    return re.findall(r'<a href="#alarms" class="level [^"]*">([^<]*)</a>', page)


@pytest.mark.usefixtures("undrawn")
def test_sixty_nights_with_slow_growth_a_new_gain_and_a_bad_line(tmp_path: Path) -> None:
    one, folders = camera(), []
    for night in range(NIGHTS):
        if night >= HEATS:
            one.heat(4)
        if night == GAIN:
            one.new_gain()
            one.size = 0.006
        one.size += 0.0003 * (night > GAIN)
        one.lines = [[0, 17, 0, 64, 0.2]] if night >= LINE else []
        folders.append(write_night(tmp_path / f"{night}", one, night))

    data = gather_camera(folders)
    found = judge(data)

    assert [k for k, s in enumerate(data.sessions) if s.new_gain] == [GAIN]
    first = {a.quantity: a.first for a in found.alarms}  # the newest alarm comes first
    assert {"hot", "pattern", "lines"} <= set(first) <= {"hot", "hot_births", "pattern", "lines"}
    assert HEATS < first["hot"] <= HEATS + 15
    assert GAIN + 5 < first["pattern"] <= GAIN + 15
    assert [(a.first, a.last) for a in found.alarms if a.quantity == "lines"] == [(LINE, NIGHTS - 1)]
    assert (found.gain.first, found.gain.seen, found.gain.sessions) == (GAIN, True, NIGHTS - GAIN)
    assert found.gain.due and found.sentence.startswith("A new gain reference is due: ")
    assert lights(camera_page(data, found)) == ["Gain reference: act", "Pixels, lines, dose: look at this"]
    births = sum(s.hot_births or 0 for s in data.sessions) - sum(s.hot_deaths or 0 for s in data.sessions)
    assert data.sessions[-1].hot - data.sessions[0].hot == births
    halves = (data.sessions[:GAIN], data.sessions[GAIN:])
    before, after = (np.mean([s.likeness.value for s in half if s.likeness]) for half in halves)
    assert abs(before - 1) < 0.1 and after > 0.9


def test_a_steady_camera_has_no_alarm() -> None:
    """Twenty times sixty nights: five charts, of which two may be wrong once."""
    alarms = [judged(steady(seed)) for seed in range(20)]
    assert sum(len(found) for _, found in alarms) <= 2
    assert sum(sentence == "Nothing is due." for sentence, _ in alarms) >= 18


@pytest.mark.parametrize(
    ("change", "quantity", "word"),
    [
        (lambda s: replace(s, hot=2 * s.hot), "hot", "rose"),
        (lambda s: replace(s, dead=10 * s.dead), "dead", "rose"),
        (lambda s: replace(s, dose=2.5 * s.dose), "dose", "rose"),
        (lambda s: replace(s, dose=0.4 * s.dose), "dose", "fell"),
        (lambda s: replace(s, pattern=Mean(3e-4, 3e-6)), "pattern", "rose"),
        (lambda s: replace(s, lines=("row 7",)), "lines", "new: row 7"),
    ],
)
def test_a_jump_is_alarmed_in_the_same_night(
    change: Callable[[CameraSession], CameraSession], quantity: str, word: str
) -> None:
    sessions = steady(3)
    sentence, alarms = judged(sessions[:56] + tuple(map(change, sessions[56:])))
    assert [(a.quantity, a.first) for a in alarms] == [(quantity, 56)]
    assert alarms[0].text.startswith(word)
    assert ("is due:" in sentence) == (quantity == "pattern")
    assert ("Look at" in sentence) == (quantity != "pattern")


def test_fewer_hot_pixels_are_no_alarm() -> None:
    sessions = steady(3)
    assert judged(sessions[:40] + tuple(replace(s, hot=s.hot // 2) for s in sessions[40:]))[1] == []


def test_a_pattern_that_costs_little_is_not_due() -> None:
    sessions = tuple(replace(s, noise=1.0) for s in steady(3))
    sentence, alarms = judged(
        sessions[:56] + tuple(replace(s, pattern=Mean(3e-4, 3e-6)) for s in sessions[56:])
    )
    assert [a.quantity for a in alarms] == ["pattern"] and sentence == "Nothing is due."


@pytest.mark.usefixtures("undrawn")
def test_few_sessions_say_that_nothing_can_be_known() -> None:
    sessions = steady(3)
    broken = replace(sessions[4], hot=10**6)
    assert judged((*sessions[:4], broken)) == (
        "Nothing can be due yet: there are 5 sessions in all, and growth shows after 6.", []
    )  # fmt: skip
    new = (*sessions[:40], replace(sessions[40], new_gain="another gain file was applied"))
    assert judged(new)[0].startswith("Nothing can be due yet: there is one session of the newest gain")
    page = camera_page(CameraData(sessions[:1], (8, 8), ()), judge(CameraData(sessions[:1], (8, 8), ())))
    assert lights(page) == ["Gain reference: not known", "Pixels, lines, dose: not known"]
    assert "None is possible: it takes 6 sessions." in page and "Camera: 1 session<" in page


def test_another_gain_file_is_a_new_gain(tmp_path: Path) -> None:
    one = camera()
    folders = nights(tmp_path, 2, one)
    one.gain = "4f"
    folders.append(write_night(tmp_path / "later", one, 9))
    found = [s.new_gain for s in gather_camera(folders).sessions]
    assert found == ["", "", "another gain file was applied"]


def test_a_session_of_one_stack_is_said_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = camera()
    folders = nights(tmp_path, 1, one)
    monkeypatch.setattr("tests.report.camera_nights.STACKS", 1)
    folders.append(write_night(tmp_path / "short", one, 5))
    (left,) = gather_camera(folders).left_out
    assert left.name == str(folders[1]) and "one stack alone" in left.reason and not left.rejected
    with pytest.raises(PlaceError, match="expected sessions of two or more"):
        gather_camera(folders[1:])


def test_pixels_that_flicker_do_not_last(tmp_path: Path) -> None:
    one = camera()
    (session,) = gather_camera([write_night(tmp_path / "night", one, 0)]).sessions
    assert abs(session.hot - np.count_nonzero(one.hot)) <= 1


def test_pixels_that_only_the_stacks_around_show_count(tmp_path: Path) -> None:
    one = camera(faint=True)
    (session,) = gather_camera([write_night(tmp_path / "night", one, 0)]).sessions
    assert session.dead == np.count_nonzero(one.dead) and session.hot >= np.count_nonzero(one.hot)


def test_sessions_are_in_order_of_acquisition(tmp_path: Path) -> None:
    folders = nights(tmp_path, 4)
    one, other = (gather_camera(some) for some in (folders, [folders[k] for k in (2, 0, 3, 1)]))
    assert one == other and [s.folder for s in one.sessions] == list(map(str, folders))


def test_nothing_that_can_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="no run is known"):
        gather_camera([tmp_path / "a", tmp_path / "b"])
    folders = nights(tmp_path, 2)
    for folder in folders:
        shutil.rmtree(folder / "session.zarr")
    with pytest.raises(MrczDaskError, match="is not there"):
        gather_camera(folders)


@pytest.mark.usefixtures("undrawn")
def test_page_and_data_say_the_same() -> None:
    sessions = steady(3)
    changed = [replace(s, lines=("row 7",), likeness=Mean(0.9, 0.1)) for s in sessions[50:]]
    data = CameraData((*sessions[:50], *changed), (4096, 4096), ())
    found = judge(data)
    values = json.loads(json.dumps(camera_values(data, found)))
    page = camera_page(data, found)
    assert lights(page) == ["Gain reference: good", "Pixels, lines, dose: look at this"]
    assert values["sentence"] in page and "bad lines new: row 7." in page
    assert values["alarms"][0]["folder"] == "/data/50/koma" and len(values["sessions"]) == NIGHTS
    assert values["sessions"][59]["lost"] == pytest.approx(1e-4 / 0.0201, rel=0.2)
    for figure in camera_figures(data, found):
        assert {len(values) for values in figure.columns.values()} == {NIGHTS}


def test_sessions_without_times_are_counted() -> None:
    data = CameraData(tuple(replace(s, timed=False) for s in steady(3)), (8, 8), ())
    assert {figure.notes["along"] for figure in camera_figures(data, judge(data))} == {"session"}


@pytest.mark.slow
def test_sixty_nights_of_koma(tmp_path: Path) -> None:
    """Hot pixels treble, the gain is new in the middle, and then the pattern grows; all through `koma`."""
    each, folders = 5, []
    params = named(
        "standard", shape=(128, 144), frames=8, stacks=NIGHTS * each, seed=3, hot=(0.004, 0.012),
        hot_median=30.0, hot_log_sigma=0.2, hot_persistence=0.98, dead=0.0005, dose=5, etch=0.0,
        cmos=0.01, new_gain=(GAIN * each,),
    )  # fmt: skip
    for night in range(NIGHTS):
        folder = tmp_path / f"{night}"
        folder.mkdir()
        size = 0.02 if night < GAIN else 0.01 + 0.0006 * (night - GAIN)
        session = simulate_session(replace(params, pixel=size))
        for k in range(each):
            time = BEGAN + timedelta(days=night, minutes=k)
            frames = session.stack(night * each + k).frames
            write(folder / f"{k}.mrcz", frames, meta={"time": time.isoformat()}, durable=False)
        settings = Settings(koma=KomaParams(radius=2), write=WriteParams("references"))
        carry_out(make_plan(folder, None, settings), SerialClient())
        for movie in folder.glob("*.mrcz"):
            movie.unlink()
        folders.append(folder / "koma")

    data = gather_camera(folders)
    found = judge(data)

    assert all(s.timed for s in data.sessions)
    assert [k for k, s in enumerate(data.sessions) if s.new_gain] == [GAIN]
    first = {a.quantity: a.first for a in found.alarms}  # the newest alarm comes first
    assert {"hot", "pattern"} <= set(first) <= {"hot", "hot_births", "pattern"}
    assert (
        first["hot"] <= 45 and GAIN + 5 < min(a.first for a in found.alarms if a.quantity == "pattern") <= 50
    )
    assert found.gain.due and (found.gain.first, found.gain.sessions) == (GAIN, NIGHTS - GAIN)

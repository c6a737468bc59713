"""`report` on the command line, and at the end of `koma`: its data are what `provenance` says."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrcz_dask.report import files
from tests.report.camera_nights import Camera, write_night

SERIAL = ("--workers", 0)


def provenance(mrcz: Any, path: Path) -> dict[str, dict[str, Any]]:
    (steps,) = json.loads(mrcz("provenance", path, "--json").out).values()
    return {step["name"]: step for step in steps}


def number(value: Any) -> float | None:
    return None if value in (None, "inf", "-inf", "nan") else value


@pytest.mark.slow
def test_koma_makes_it_and_its_figures_are_what_provenance_says(
    night: Path, tmp_path: Path, mrcz: Any
) -> None:
    shown = mrcz("koma", night, "--radius", 2, *SERIAL, report=True)
    out = night / "koma"
    assert shown.code == 0 and f"report: {out / 'report.html'}" in shown.out
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    found = json.loads(mrcz("report", out, "--json").out)["figures"]
    names = found["timeline"]["columns"]["name"]
    assert len(names) == 5
    bands = iter(
        zip(*(found["bands"]["columns"][k] for k in ("name", "band", "explained", "modes")), strict=True)
    )
    for k, name in enumerate(names):
        steps = provenance(mrcz, out / name)
        outliers, koma = steps["outliers"]["results"], steps["koma"]["results"]
        mask, pooled = outliers["mask"], outliers["pooled"]
        for figure, column, said in [
            ("timeline", "hot", mask["n_hot"] + pooled["n_hot"]),
            ("timeline", "dead", mask["n_dead"] + pooled["n_dead"]),
            *(("thresholds", one, number(mask[one])) for one in ("t_dark", "t_hot", "misfit", "mu", "sigma")),
            ("dose", "dose", outliers["dose_per_frame"]),
            *(("noise", kind, value) for kind, value in koma["correlated_noise"].items()),
        ]:
            assert found[figure]["columns"][column][k] == said, (figure, column, name)
        for one in koma["bands"]:
            assert next(bands) == (name, one["band"], one["explained"], one["modes"])
    assert next(bands, None) is None
    mrcz("report", out, "--figures", tmp_path / "figures")
    with (tmp_path / "figures" / "timeline.csv").open() as file:
        assert [int(row["hot"]) for row in csv.DictReader(file)] == found["timeline"]["columns"]["hot"]


def test_it_can_be_left_out_and_made_later(night: Path, mrcz: Any) -> None:
    assert mrcz("koma", night, "--radius", 2, *SERIAL, "--no-report", "--json").code == 0
    page = night / "koma" / "report.html"
    assert not page.exists()
    shown = mrcz("report", night / "koma")
    assert shown.code == 0 and shown.out.strip() == str(page) and page.exists()


def test_an_error_in_it_is_a_warning(night: Path, mrcz: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> Path:
        raise ValueError("nothing to draw")

    monkeypatch.setattr(files, "write_page", fail)
    shown = mrcz("koma", night, "--radius", 2, *SERIAL, "--json", report=True)
    assert shown.code == 0 and len(json.loads(shown.out)["results"]) == 5
    assert "warning: no report was made (ValueError: nothing to draw)" in shown.err


def test_a_run_that_was_partly_done_has_one(night: Path, mrcz: Any) -> None:
    broken = sorted(night.glob("*.mrcz"))[1]
    broken.write_bytes(broken.read_bytes()[:4000])
    assert mrcz("koma", night, "--radius", 2, *SERIAL, report=True).code == 3
    assert broken.name in (night / "koma" / "report.html").read_text(encoding="utf-8")


def test_following_ends_with_one(night: Path, mrcz: Any) -> None:
    shown = mrcz(
        "koma",
        night,
        "--radius",
        2,
        *SERIAL,
        "--follow",
        "--settle",
        "0s",
        "--poll",
        "0.1s",
        "--until-idle",
        "0.5s",
        report=True,
    )
    assert shown.code == 0 and (night / "koma" / "report.html").exists()


def test_a_folder_without_a_run(tmp_path: Path, mrcz: Any) -> None:
    shown = mrcz("report", tmp_path)
    assert shown.code == 2 and "no run is known" in shown.err


def test_overwrite_is_of_figures(night: Path, mrcz: Any) -> None:
    assert mrcz("report", night, "--overwrite").code == 2


def camera(seed: int = 1, **more: Any) -> Camera:
    return Camera(np.random.default_rng(seed), **more)


def test_what_cannot_be_used_is_named_and_left_out(tmp_path: Path, mrcz: Any) -> None:
    one = camera()
    folders = [write_night(tmp_path / f"night{k}", one, k) for k in range(3)]
    shutil.copytree(folders[0], tmp_path / "again")
    write_night(tmp_path / "other", camera(shape=(64, 64)), 1)
    for name in ("damaged", "no_store", "no_records", "no_log"):
        write_night(tmp_path / name, camera(len(name)), 7)
    (record,) = (tmp_path / "damaged" / "session.zarr" / "histograms" / "1" / "hot_dead").rglob("zarr.json")
    record.write_bytes(record.read_bytes()[:-9])
    shutil.rmtree(tmp_path / "no_store" / "session.zarr")
    shutil.rmtree(tmp_path / "no_records" / "session.zarr" / "stacks" / "0")
    (tmp_path / "no_log" / "events.jsonl").write_bytes(b"{")
    (tmp_path / "empty").mkdir()
    others = ["again", "other", "damaged", "no_store", "no_records", "no_log", "empty", "not_there"]
    arguments = [*folders, folders[1], *(tmp_path / name for name in others)]

    shown = mrcz("report", *arguments, "--json")

    assert shown.code == 3
    data = json.loads(shown.out)
    assert [s["folder"] for s in data["sessions"]] == list(map(str, folders))
    reasons = {Path(one["name"]).name: (one["reason"], one["rejected"]) for one in data["left_out"]}
    said = {
        "night1": ("named twice", False),
        "again": ("the same movies as", False),
        "other": ("frames of 64 x 64 pixels, most sessions have 64 x 80: another camera", True),
        "damaged": ("hot_dead", True),
        "no_store": ("is not there", True),
        "no_records": ("no record of 0 that", True),
        "no_log": ("no run is known, but its store is there", True),
        "empty": ("no run is known", True),
        "not_there": ("no run is known", True),
    }
    assert set(reasons) == set(said)
    for name, (words, rejected) in said.items():
        assert words in reasons[name][0] and reasons[name][1] == rejected, name
        assert f"left out: {arguments[0].parent / name}" in shown.err


def test_one_that_is_named_twice_is_nothing_wrong(tmp_path: Path, mrcz: Any) -> None:
    folder = write_night(tmp_path / "night", camera(), 0)
    shown = mrcz("report", folder, folder / ".." / folder.name, "-o", tmp_path / "page.html")
    assert shown.code == 0 and "named twice; it counts once" in shown.err
    assert shown.out.splitlines()[-1] == str(tmp_path / "page.html")


def test_folders_of_which_none_can_be_read(tmp_path: Path, mrcz: Any) -> None:
    assert mrcz("report", tmp_path / "a", tmp_path / "b").code == 2
    folders = [write_night(tmp_path / name, camera(), 0) for name in "ab"]
    for folder in folders:
        shutil.rmtree(folder / "session.zarr")
    assert mrcz("report", *folders).code == 1


@pytest.mark.parametrize("wrong", [("-o", "a.html"), ("b", "--figures", "f"), ("b", "--overwrite")])
def test_options_go_with_one_or_several_folders(tmp_path: Path, mrcz: Any, wrong: tuple[str, ...]) -> None:
    shown = mrcz("report", tmp_path, *wrong)
    assert shown.code == 2 and "folder" in shown.err

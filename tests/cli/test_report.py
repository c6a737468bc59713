"""`report` on the command line, and at the end of `koma`: its data are what `provenance` says."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from mrcz_dask.report import files

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
        mask = outliers["mask"]
        for figure, column, said in [
            ("timeline", "hot", mask["n_hot"]),
            ("timeline", "dead", mask["n_dead"]),
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

"""The page, the figures with their data, and all data as JSON."""

import csv
import json
import subprocess
from pathlib import Path

import pytest

from mrcz_dask.report.data import LEAVE_OUT, SessionData
from mrcz_dask.report.figures import figures
from mrcz_dask.report.files import KINDS, NAME, all_data, csv_of, file_name, write_figures, write_page
from mrcz_dask.report.judging import QUESTIONS
from mrcz_dask.session.listing import list_stacks
from mrcz_dask.values.errors import OutputExistsError, PlaceError


def test_the_page_is_in_the_output_folder(copy: Path, undrawn: None) -> None:
    (copy / NAME).write_text("of an earlier run")
    path = write_page(copy)
    assert path == copy / NAME and path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_data_of_a_figure_come_back(data: SessionData) -> None:
    for one in figures(data):
        header, *rows = csv.reader(csv_of(one).decode().splitlines())
        assert header == list(one.columns)
        for name, values in zip(header, zip(*rows, strict=True), strict=True):
            known = ["" if v is None else str(v) for v in one.columns[name]]
            assert list(values) == known, (one.key, name)


def test_every_figure_has_its_files(
    data: SessionData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrcz_dask.report.files.PAPER_DPI", 40)
    expected = {file_name(one, kind) for one in figures(data) for kind in KINDS}
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / max(expected)).write_text("of an earlier run")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_figures(data, folder)
    assert [p.name for p in folder.iterdir()] == [max(expected)]
    paths = write_figures(data, folder, overwrite=True)
    assert {p.name for p in paths} == expected == {p.name for p in folder.iterdir()}
    assert (folder / max(expected)).read_bytes() != b"of an earlier run"


def test_a_folder_that_cannot_be_made(data: SessionData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError):
        write_figures(data, tmp_path / "file" / "figures")


def test_all_data_are_plain(data: SessionData) -> None:
    found = all_data(data)
    assert json.loads(json.dumps(found, allow_nan=True)).keys() == found.keys()
    assert set(found["figures"]) == {one.key for one in figures(data)}
    assert set(found["histograms"]) == {s.name for s in data.stacks}
    assert {one["rule"] for one in found["rules"]} == {question.key for question in QUESTIONS}
    assert found["verdict"] == data.verdict
    assert {*found["lights"]} == {"run", "camera"} and {*found["lights"].values()} <= {"good", "look", "act"}


def test_the_list_of_stacks_to_leave_out_is_read_by_koma_and_grep(
    night: Path, copy: Path, undrawn: None
) -> None:
    write_page(copy)
    path = copy / LEAVE_OUT
    broken = path.read_text().split()
    assert len(broken) == 1
    left = list_stacks(night, exclude=[str(path)])
    assert len(left.files) == 9 and not any(broken[0] in one.name for one in left.files) and not left.warnings
    movies = copy / "movies.star"
    movies.write_text("".join(f"Movies/{one.name} 1\n" for one in (*left.files, night / f"{broken[0]}.mrc")))
    kept = subprocess.run(["grep", "-vwFf", path, movies], capture_output=True, text=True, check=True)
    assert len(kept.stdout.splitlines()) == 9

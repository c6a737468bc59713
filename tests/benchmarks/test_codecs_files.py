import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.codecs.files import NAMES, prepare_folder, write_report
from benchmarks.codecs.results import BenchReport
from mrcz_dask.values.errors import OutputExistsError, PlaceError

pytestmark = pytest.mark.slow


def test_all_files(report: BenchReport, tmp_path: Path) -> None:
    written = write_report(report, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    assert sorted(path.name for path in written) == sorted(NAMES)
    assert json.loads((tmp_path / "codecs.json").read_text()) == json.loads(json.dumps(report.to_dict()))


def test_nothing_of_an_earlier_report_remains(report: BenchReport, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    (tmp_path / "mine.txt").write_text("")
    write_report(replace(report, dose=(), level=(), metadata=()), tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"codecs.json", "codecs.md", "table1.csv", "table1.png", "table1.svg", "mine.txt"}
    assert {"table1.csv", "mine.txt"} <= left


def test_a_report_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "dose.svg").write_text("")
    with pytest.raises(OutputExistsError, match=r"dose.svg.*--overwrite"):
        prepare_folder(tmp_path, overwrite=False)
    prepare_folder(tmp_path, overwrite=True)
    assert (tmp_path / "dose.svg").exists()


def test_the_folder_is_made(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b", overwrite=False)
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError):
        prepare_folder(tmp_path / "file" / "out", overwrite=False)

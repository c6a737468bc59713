"""What is printed of names that a terminal would obey."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrcz_dask.cli.app import app
from mrcz_dask.cli.console import results, table, visible
from mrcz_dask.formats.libraries import one_line


def test_a_name_with_a_line_end_stays_in_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    made = table("stack", "R")
    made.add_row("a\nb\x1b[31m.mrc", "1")
    results().print(made)
    assert capsys.readouterr().out.splitlines()[1].split() == [r"a\nb\x1b[31m.mrc", "1"]
    assert visible("Größe µ 1 × 2.mrc") == "Größe µ 1 × 2.mrc"


def test_verify_names_it_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.mrc"
    path.write_bytes(bytes(2000))
    lines = CliRunner().invoke(app, ["verify", str(path)]).stdout.splitlines()
    assert lines[0].startswith(str(tmp_path)) and r"a\nb.mrc" in lines[0]


def test_an_error_of_a_library_that_is_a_number_gets_its_kind() -> None:
    assert (one_line(KeyError(-10)), one_line(ValueError("no tags")), one_line(EOFError())) == (
        "KeyError -10",
        "no tags",
        "EOFError",
    )

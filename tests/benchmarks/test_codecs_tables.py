import csv
import io
from dataclasses import replace

import pytest

from benchmarks.codecs.results import BenchReport, LeftOut
from benchmarks.codecs.tables import block_name, csv_text, dose_table, markdown, table1, text_tables


def test_every_part_has_a_table_whose_rows_are_as_long_as_its_head(report: BenchReport) -> None:
    tables = list(text_tables(report))
    assert [one.title.split(":")[0] for one in tables] == ["Table 1", "Fig. 2a", "Fig. 2b", "Fig. 3"]
    for one in tables:
        assert {len(cells) for cells in one.rows} == {len(one.columns)}
        assert "limit" in one.columns and "/ limit" in one.columns
    assert list(text_tables(replace(report, table1=(), dose=(), level=(), metadata=()))) == []


def test_numbers_of_threads_stand_side_by_side(report: BenchReport) -> None:
    made = dose_table(report.dose, "Fig. 2a")
    assert made.columns[3:7] == ("write 1t", "read 1t", "write 2t", "read 2t")
    assert len(made.rows) == len(report.dose) / 2
    assert all(all(cells) for cells in made.rows)
    halved = dose_table([row for k, row in enumerate(report.dose) if k != 1], "Fig. 2a")
    assert halved.rows[0][5:7] == ("", "")


def test_what_auto_chose_is_named(report: BenchReport) -> None:
    assert any(cells[0].startswith("auto (") for cells in table1(report.table1).rows)


def test_the_papers_ratio_stands_beside_ours(report: BenchReport) -> None:
    found = {cells[0]: cells[8] for cells in table1(report.table1).rows}
    assert (found["uint4"], found["lz4:9:bit"]) == ("0.50", "0.40")


def test_no_limit_is_a_dash(report: BenchReport) -> None:
    rows = [replace(row, limit=None, poisson_limit=None) for row in report.table1]
    assert {cells[-2:] for cells in table1(rows).rows} == {("-", "-")}
    none_at_all = [replace(row, limit=0.0) for row in report.table1]
    assert {cells[-1] for cells in table1(none_at_all).rows} == {"-"}


@pytest.mark.parametrize(
    ("size", "name"),
    [(0, "own"), (1000, "1000"), (65536, "64 KiB"), (1 << 20, "1 MiB"), (3 << 19, "1536 KiB")],
)
def test_block_names(size: int, name: str) -> None:
    assert block_name(size) == name


def test_csv_reads_back(report: BenchReport) -> None:
    rows = [row.to_dict() for row in report.dose]
    back = list(csv.DictReader(io.StringIO(csv_text(rows))))
    assert [float(one["over_limit"]) for one in back] == [one["over_limit"] for one in rows]
    assert [one["compressor"] for one in back] == [one["compressor"] for one in rows]


def test_markdown_has_tables_versions_and_what_is_missing(report: BenchReport) -> None:
    text = markdown(replace(report, left_out=(LeftOut("xz", "not installed"),)))
    assert text.count("\n| ---") == 4 and "not installed: xz" in text and "numpy" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for head in (k for k, line in enumerate(lines) if line.startswith("| ---")):
        assert lines[head].count("|") == lines[head - 1].count("|") == lines[head + 1].count("|")

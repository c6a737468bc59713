"""The benchmark's results as tables of text: for people (Markdown, terminal) and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from benchmarks.codecs.results import BenchReport, FileRow, MetadataRow
from mrcz_dask.values.texts import readable

Cells = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table for people.

    Attributes
    ----------
    title, caption
        Above and below it.
    columns
        Their names; all but the first `names` of them hold numbers.
    rows
        As many cells each.
    names
        How many columns hold names.
    """

    title: str
    caption: str
    columns: Cells
    rows: tuple[Cells, ...]
    names: int = 1

    def markdown(self) -> str:
        """Return it as Markdown."""
        rule = ["---"] * self.names + ["---:"] * (len(self.columns) - self.names)
        lines = [f"| {' | '.join(cells)} |" for cells in (self.columns, tuple(rule), *self.rows)]
        return "\n".join([f"## {self.title}", "", *lines, "", self.caption])


def text_tables(report: BenchReport) -> Iterator[TextTable]:
    """Yield a table for each part that was measured."""
    if report.table1:
        yield table1(report.table1)
    if report.dose:
        yield dose_table(report.dose, "Fig. 2a: codecs over the dose")
    if report.level:
        yield dose_table(report.level, "Fig. 2b: codecs over the level")
    if report.metadata:
        yield metadata_table(report.metadata)


def table1(rows: Sequence[FileRow]) -> TextTable:
    """Return the compressors on one stack."""
    first = rows[0]
    return TextTable(
        f"Table 1: {readable(first.pixel_bytes)} of counts, {first.dose:.3g} e-/pixel/frame",
        _limits_caption(first) + "; paper: size over pixels in its Table 1; cpu: of all threads together",
        (
            *("compressor", "threads", "write s", "cpu", "read s", "cpu"),
            *("size", "/ pixels", "paper", "limit", "/ limit"),
        ),
        tuple(_table1_cells(row) for row in rows),
    )


def _table1_cells(row: FileRow) -> Cells:
    times = (row.write.wall, row.write.cpu, row.read.wall, row.read.cpu)
    published = row.published
    return (
        _label(row),
        str(row.threads),
        *(f"{seconds:.3g}" for seconds in times),
        readable(row.size),
        f"{row.size / row.pixel_bytes:.3f}",
        f"{published.ratio:.2f}" if published else "",
        *_limit_cells(row.size, row.limit),
    )


def dose_table(rows: Sequence[FileRow], title: str) -> TextTable:
    """Return sizes and speeds of codecs; numbers of threads stand side by side."""
    threads = tuple(sorted({row.threads for row in rows}))
    rates = (f"{what} {count}t" for count in threads for what in ("write", "read"))
    return TextTable(
        title,
        f"write, read: MB/s with so many threads; {_limits_caption(rows[0])}",
        ("dose", "codec", "block", *rates, "size", "bits/pixel", "limit", "/ limit", "Poisson", "/ Poisson"),
        tuple(_dose_cells(list(alike), threads) for _, alike in groupby(rows, _all_but_threads)),
        names=3,
    )


def _all_but_threads(row: FileRow) -> tuple[Any, ...]:
    return row.dose, row.compressor, row.block_size, row.size


def _dose_cells(alike: list[FileRow], threads: Cells | tuple[int, ...]) -> Cells:
    row = alike[0]
    by_threads = {one.threads: one for one in alike}
    rates = (cell for count in threads for cell in _rates(by_threads.get(int(count))))
    return (
        f"{row.dose:.3g}",
        _label(row),
        block_name(row.block_size),
        *rates,
        readable(row.size),
        f"{8 * row.size / row.pixels:.3f}",
        *_limit_cells(row.size, row.limit),
        *_limit_cells(row.size, row.poisson_limit),
    )


def _rates(row: FileRow | None) -> Cells:
    if row is None:
        return "", ""
    return tuple(f"{row.pixel_bytes / one.wall / 1e6:.0f}" for one in (row.write, row.read))


def metadata_table(rows: Sequence[MetadataRow]) -> TextTable:
    """Return the ways to serialize metadata."""
    return TextTable(
        "Fig. 3: nested metadata",
        "limit: Shannon's, of the serialized bytes each for itself; codecs that see repetition go below",
        ("encoding", "codec", "encode s", "cpu", "decode s", "cpu", "size", "/ bare", "limit", "/ limit"),
        tuple(_metadata_cells(row) for row in rows),
        names=2,
    )


def _metadata_cells(row: MetadataRow) -> Cells:
    times = (row.encode.wall, row.encode.cpu, row.decode.wall, row.decode.cpu)
    return (
        row.encoding,
        row.compression,
        *(f"{seconds:.3g}" for seconds in times),
        readable(row.size),
        f"{row.size / row.bare:.3f}",
        *_limit_cells(row.size, row.limit),
    )


def block_name(size: int) -> str:
    """Return a block size for people; 0 is the codec's own."""
    powers = ((1 << 20, "MiB"), (1 << 10, "KiB"))
    return next((f"{size // p} {unit}" for p, unit in powers if size and size % p == 0), str(size or "own"))


def markdown(report: BenchReport) -> str:
    """Return the whole report as Markdown."""
    machine = report.machine
    known = {**machine["packages"], **machine["programs"]}
    versions = ", ".join(f"{name} {version}" for name, version in known.items())
    head = [
        "# Benchmark of codecs",
        f"{machine['cores']} cores, {machine['processor']}, {machine['system']} {machine['architecture']}, "
        f"Python {machine['python']}, mrcz-dask {machine['mrcz-dask']}, {versions}.",
    ]
    remarks = [f"- {text}" for text in (*map(str, report.left_out), *report.notes)]
    parts = [*head, *(one.markdown() for one in text_tables(report)), "\n".join(remarks)]
    return "\n\n".join(parts) + "\n"


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return flat rows as CSV with a line of names; None is empty."""
    text = io.StringIO()
    made = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    made.writeheader()
    made.writerows(rows)
    return text.getvalue()


def _label(row: FileRow) -> str:
    chosen = row.compressor.startswith("auto") and row.codec
    return f"{row.compressor} ({row.codec})" if chosen else row.compressor


def _limits_caption(row: FileRow) -> str:
    known = "limit: Shannon's, the entropy of these counts"
    drawn = "; Poisson: that of the variable they were drawn from"
    return known + (drawn if row.poisson_limit is not None else "")


def _limit_cells(size: int, limit: float | None) -> Cells:
    if limit is None:
        return "-", "-"
    return readable(limit), f"{size / limit:.3f}" if limit else "-"

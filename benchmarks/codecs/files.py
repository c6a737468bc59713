"""The benchmark's results in a folder: JSON, CSV, Markdown, and plots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.codecs.params import PARTS
from benchmarks.codecs.plots import plots
from benchmarks.codecs.results import BenchReport
from benchmarks.codecs.tables import csv_text, markdown
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.session.output_folder import check_space, make_folder
from mrcz_dask.values.errors import OutputExistsError

PLOTS = (*PARTS, "settings")
NAMES = (
    "codecs.json",
    "codecs.md",
    *(f"{part}.csv" for part in PARTS),
    *(f"{name}.{kind}" for name in PLOTS for kind in ("png", "svg")),
)
_ROOM = 16 << 20


def prepare_folder(folder: Path, *, overwrite: bool) -> None:
    """Make the folder if need be, before anything is measured for it.

    Raises
    ------
    OutputExistsError
        An earlier report is in it.
    SpaceError
        It cannot be made or written.
    """
    there = [name for name in NAMES if (folder / name).exists()]
    if there and not overwrite:
        raise OutputExistsError(
            f"{folder / there[0]} is there already; use --overwrite to replace it, or another folder"
        )
    check_space(folder, _ROOM)
    make_folder(folder)


def write_report(report: BenchReport, folder: Path) -> tuple[Path, ...]:
    """Write a report and return its files; those of an earlier one are removed first.

    Raises
    ------
    SpaceError
        The folder is missing, full or cannot be written.
    """
    for name in NAMES:
        (folder / name).unlink(missing_ok=True)
    paths = []
    for name, data in _contents(report):
        write_atomic(folder / name, data)
        paths.append(folder / name)
    return tuple(paths)


def _contents(report: BenchReport) -> Iterator[tuple[str, bytes]]:
    values = report.to_dict()
    yield "codecs.json", (json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    yield "codecs.md", markdown(report).encode()
    for part in PARTS:
        if values[part]:
            yield f"{part}.csv", csv_text(values[part]).encode()
    yield from plots(report)

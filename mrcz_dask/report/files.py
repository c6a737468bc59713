"""Writes reports to files: the web page, figures for a paper, and all data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrcz_dask.assess.files import csv_bytes
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.report.data import LEAVE_OUT, FigureData, SessionData
from mrcz_dask.report.figures import figures
from mrcz_dask.report.gather import gather
from mrcz_dask.report.pictures import histogram
from mrcz_dask.report.questions import answers, light
from mrcz_dask.session.output_folder import make_folder
from mrcz_dask.values.errors import OutputExistsError

NAME = "report.html"
KINDS = ("png", "svg", "csv")
PAPER_DPI = 300


def write_page(folder: Path) -> Path:
    """Write the report ``report.html`` into an output folder, and ``leave-out.txt``, the stacks to leave out.

    Older ones are replaced.

    Parameters
    ----------
    folder
        Where a run of `koma` put its outputs.

    Returns
    -------
    Path
        Path of the page.

    Raises
    ------
    SessionError
        When no run over this folder is known.
    FormatError
        When its log is of another layout.
    SpaceError
        When the folder is full or cannot be written.
    """
    from mrcz_dask.report.page import page

    path, data = folder / NAME, gather(folder)
    names = "".join(f"{name}\n" for name in data.leave_out)
    write_atomic(folder / LEAVE_OUT, names.encode("utf-8", "surrogateescape"))
    write_atomic(path, page(data).encode("utf-8", "backslashreplace"))
    return path


def write_figures(data: SessionData, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write every figure of a report as PNG and SVG, and its data as CSV.

    Parameters
    ----------
    data
        As `gather` found it.
    folder
        Folder of the figures; made if it is missing.
    overwrite
        Whether files that are there are replaced.

    Raises
    ------
    OutputExistsError
        When such a file is there.
    SpaceError
        When the folder cannot be made, is full or cannot be written.
    """
    from mrcz_dask.report.drawing import drawn

    session_figures = list(figures(data))
    names = [file_name(figure, kind) for figure in session_figures for kind in KINDS]
    existing = [name for name in names if (folder / name).exists()]
    if existing and not overwrite:
        raise OutputExistsError(
            f"{folder / existing[0]} is there already; use --overwrite to replace it, or another folder"
        )
    make_folder(folder)
    for figure in session_figures:
        files = drawn(figure, "png", "svg", dpi=PAPER_DPI) | {"csv": csv_of(figure)}
        for kind in KINDS:
            write_atomic(folder / file_name(figure, kind), files[kind])
    return [folder / name for name in names]


def file_name(figure: FigureData, kind: str) -> str:
    """Return the file name of a figure, from its key and the kind of file (``png``, ``svg``, ``csv``)."""
    return f"{figure.key.replace('.', '_')}.{kind}"


def csv_of(figure: FigureData) -> bytes:
    """Return a figure's data as the bytes of a CSV file, with empty fields where values are missing."""
    return csv_bytes([[*figure.columns], *zip(*figure.columns.values(), strict=True)])


def all_data(data: SessionData) -> dict[str, Any]:
    """Return everything that a report shows as a dict for JSON, with histograms of more stacks."""
    found = answers(data)
    by_number = {s.number: s for s in data.stacks}
    samples = [(by_number[k], look) for k, look in data.samples.items() if look.fit is not None]
    return {
        "session": data.session,
        "output": data.folder,
        "version": data.version,
        "platform": data.platform,
        "settings": dict(data.settings),
        "gain": data.gain,
        "running": data.running,
        "error": data.error,
        "verdict": data.verdict,
        "lights": {about: light(some) for about, some in found.items()},
        "rules": [answer.to_dict() for some in found.values() for answer in some],
        "leave_out": data.leave_out,
        "figures": {figure.key: figure.to_dict() for figure in figures(data)},
        "histograms": {s.name: histogram(s, look, "any").to_dict() for s, look in samples},
        "runs": [run.to_dict() for run in data.runs],
        "left_out": [file.to_dict() for file in data.left_out],
        "failures": [{"name": s.name, "reason": s.reason} for s in data.failed],
        "caveats": {s.name: list(s.caveats) for s in data.stacks if s.caveats},
        "warnings": list(data.warnings),
        "problems": list(data.problems),
    }

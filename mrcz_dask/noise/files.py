"""The noise of a session as files: JSON beside the store, tables as CSV, figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.noise.kept import FOLDER
from mrcz_dask.noise.report import FIGURES, SUMS, WAYS, NoiseReport
from mrcz_dask.noise.results import KINDS, VARIANTS
from mrcz_dask.numerics.noise.decay import DecayFit
from mrcz_dask.session.output_folder import make_folder
from mrcz_dask.values.errors import OutputExistsError

Row = Sequence[Any]


def keep_report(report: NoiseReport) -> Path:
    """Write ``OUT/noise/noise.json`` and return its path.

    Raises
    ------
    SpaceError
        The folder is full or cannot be written.
    """
    return keep_json(report.to_dict(), report.plan.folder / FOLDER / "noise.json")


def keep_json(values: dict[str, Any], path: Path) -> Path:
    """Write plain values as JSON, and return the path; see `keep_report`."""
    make_folder(path.parent)
    text = json.dumps(values, indent=1, ensure_ascii=False)
    write_atomic(path, f"{text}\n".encode("utf-8", "backslashreplace"))
    return path


def write_csv(report: NoiseReport, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the tables behind the figures, and the fits.

    Raises
    ------
    OutputExistsError
        A file of that name with other content is there, and must not be replaced.
    SpaceError
        The folder cannot be made, is full or cannot be written.
    """
    return write_files(((f"{name}.csv", as_csv(rows)) for name, rows in tables(report)), folder, overwrite)


def write_files(files: Iterable[tuple[str, bytes]], folder: Path, overwrite: bool) -> list[Path]:
    """Write files into a folder, all or none.

    Raises
    ------
    OutputExistsError, SpaceError
        See `write_csv`.
    """
    new = [(folder / name, data) for name, data in files]
    others = [path.name for path, data in new if path.exists() and path.read_bytes() != data]
    if others and not overwrite:
        raise OutputExistsError(
            f"{folder / others[0]} is there already and differs; use --overwrite to replace it, or another "
            "folder"
        )
    make_folder(folder)
    for path, data in new:
        write_atomic(path, data)
    return [path for path, _ in new]


def as_csv(rows: Iterable[Row]) -> bytes:
    """Return rows as the bytes of a table."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def tables(report: NoiseReport) -> Iterator[tuple[str, list[Row]]]:
    """Yield names and rows, the first one the header, of what the figures show."""
    if report.stacks:
        yield FIGURES[0], list(_stacks(report))
    if report.over_dose is not None:
        yield FIGURES[1], list(_pairs(report))
    if report.over_radius is not None:
        yield FIGURES[2], list(_radii(report))
    fits = list(_fits(report))
    if fits:
        yield "noise_fits", [_FIT_HEADER, *fits]


def _stacks(report: NoiseReport) -> Iterator[Row]:
    columns = [(way, kind) for way in WAYS for kind in KINDS]
    header = [f"{kind}_{way}{ending}" for way, kind in columns for ending in ("", "_error")]
    yield ["stack", "cumulative_dose", "frames", "usable", *header]
    for line in report.stacks:
        scores = [value for way, kind in columns for value in getattr(line.noise, way)[kind]]
        yield [line.noise.name, line.dose, line.noise.frames, int(line.usable), *scores]


def _pairs(report: NoiseReport) -> Iterator[Row]:
    yield ["stack", "other", "dose_between", *SUMS]
    for one in report.over_dose.pairs if report.over_dose else ():
        for row in zip(one.others, one.doses, one.raw, one.filtered, strict=True):
            yield [one.name, *row]


def _radii(report: NoiseReport) -> Iterator[Row]:
    found = report.over_radius
    endings = ("", "_error", "_above", "_above_error")
    yield ["radius", "law", "raw", "raw_error", "filter", "filter_error"] + [
        f"{variant}{ending}" for variant in VARIANTS for ending in endings
    ]
    for k, radius in enumerate(found.radii if found else ()):
        assert found is not None
        curves = [value for variant in VARIANTS for value in found.curves[variant][k]]
        yield [radius, found.law[k], *found.alone["raw"], *found.alone["filter"], *curves]


_FIT_HEADER = ("equation", "of", "a", "a_error", "b", "b_error", "c", "c_error", "cannot_say")


def _fits(report: NoiseReport) -> Iterator[Row]:
    for equation, found in (("12", report.over_dose), ("13", report.over_radius)):
        for name, fit in (found.fits if found else {}).items():
            yield [equation, name, *_numbers(fit), "; ".join(fit.words)]


def _numbers(fit: DecayFit) -> Row:
    if fit.curve is None or fit.errors is None:
        return ["", "", "", "", *fit.constant]
    (a, b, c), (da, db, dc) = (fit.curve.a, fit.curve.b, fit.curve.c), fit.errors
    return [a, da, b, db, c, dc]

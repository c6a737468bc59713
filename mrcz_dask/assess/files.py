"""Writes the results of an assessment: JSON into the output folder, tables as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mrcz_dask.assess.assessment import SUMS, WAYS, Assessment, OverRadius
from mrcz_dask.assess.results import KINDS, VARIANTS
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.numerics.reference.evidence import SCALES
from mrcz_dask.session.output_folder import make_folder
from mrcz_dask.values.errors import OutputExistsError

FOLDER = "assess"  # in the output folder
FITS = ("equation", "of", "a", "a_error", "b", "b_error", "c", "c_error", "cannot_say")
Row = Sequence[Any]


def json_bytes(values: dict[str, Any]) -> bytes:
    """Return a dict as the bytes of a JSON file."""
    return f"{json.dumps(values, indent=1, ensure_ascii=False)}\n".encode("utf-8", "backslashreplace")


def write_json(assessment: Assessment) -> Path:
    """Write all results to ``OUT/assess/assess.json``, and return its path.

    Raises
    ------
    SpaceError
        The folder is full or cannot be written.
    """
    files = [("assess.json", json_bytes(assessment.to_dict()))]
    return write_files(files, assessment.plan.folder / FOLDER, overwrite=True)[0]


def write_csv(assessment: Assessment, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the numbers behind the figures, and the fitted curves, as CSV files.

    Raises
    ------
    OutputExistsError
        A file of that name with other content is there, and must not be replaced.
    SpaceError
        The folder cannot be made, is full or cannot be written.
    """
    files = ((f"{name}.csv", csv_bytes(rows)) for name, rows in tables(assessment))
    return write_files(files, folder, overwrite)


def csv_bytes(rows: Iterable[Row]) -> bytes:
    """Return rows of a table as the bytes of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def write_files(files: Iterable[tuple[str, bytes]], folder: Path, overwrite: bool) -> list[Path]:
    """Write several files into a folder; without `overwrite` none, if one would replace another.

    Raises
    ------
    OutputExistsError, SpaceError
        See `write_csv`.
    """
    new = [(folder / name, data) for name, data in files]
    due = [(path, data) for path, data in new if not path.is_file() or path.read_bytes() != data]
    others = [path for path, _ in due if path.exists()]
    if others and not overwrite:
        raise OutputExistsError(
            f"{others[0]} is there already and differs; use --overwrite to replace it, or another folder"
        )
    make_folder(folder)
    for path, data in due:
        write_atomic(path, data)
    return [path for path, _ in new]


def tables(assessment: Assessment) -> Iterator[tuple[str, list[Row]]]:
    """Yield name and rows (the header first) of each table: pattern, stacks, dose, radius, methods, fits."""
    if assessment.verdict is not None and assessment.verdict.evidence is not None:
        found = assessment.verdict.evidence
        rows = [
            [scale, found.stacks, one.value, one.error, off.value, off.error]
            for scale, one, off in zip(SCALES, found.pattern, found.removed, strict=True)
        ]
        header: Row = ["scale", "stacks", "variance", "variance_error", "removed", "removed_error"]
        yield "assess_pattern", [header, *rows]
    if assessment.stacks:
        yield "assess_stacks", list(_stacks(assessment))
    dose, radius = assessment.over_dose, assessment.over_radius
    if dose is not None:
        header = ["stack", "other", "dose_between", *SUMS]
        rows = [
            [stack.name, *row]
            for stack in dose.pairs
            for row in zip(stack.others, stack.doses, stack.raw, stack.filtered, strict=True)
        ]
        yield "assess_dose", [header, *rows]
    if radius is not None:
        yield "assess_radius", list(_radii(radius))
    if assessment.by_method is not None:
        yield "assess_methods", list(_methods(assessment))
    fits = [*_fits(assessment)]
    if fits:
        yield "assess_fits", [FITS, *fits]


def _stacks(assessment: Assessment) -> Iterator[Row]:
    columns = [(way, kind) for way in WAYS for kind in KINDS]
    header = [f"{kind}_{way}{ending}" for way, kind in columns for ending in ("", "_error")]
    yield ["stack", "cumulative_dose", "frames", "usable", *header]
    for line in assessment.stacks:
        scores = [value for way, kind in columns for value in getattr(line.noise, way)[kind]]
        yield [line.noise.name, line.dose, line.noise.frames, int(line.usable), *scores]


def _radii(over_radius: OverRadius) -> Iterator[Row]:
    endings = ("", "_error", "_above", "_above_error")
    yield ["radius", "law", "raw", "raw_error", "filter", "filter_error"] + [
        f"{variant}{ending}" for variant in VARIANTS for ending in endings
    ]
    alone = [*over_radius.alone["raw"], *over_radius.alone["filter"]]
    for k, radius in enumerate(over_radius.radii):
        curves = [value for variant in VARIANTS for value in over_radius.curves[variant][k]]
        yield [radius, over_radius.law[k], *alone, *curves]


def _methods(assessment: Assessment) -> Iterator[Row]:
    names, methods = assessment.params.methods, assessment.by_method
    assert methods is not None
    endings = ("", "_error", "_above_outliers", "_above_outliers_error")
    yield ["stack", "frames", *(f"{name}{ending}" for name in names for ending in endings)]
    for stack in methods.stacks:
        yield [stack.name, stack.frames, *(value for name in names for value in stack.scores[name])]
    yield ["mean", "", *(value for name in names for value in methods.means[name])]


def _fits(assessment: Assessment) -> Iterator[Row]:
    for equation, part in (("12", assessment.over_dose), ("13", assessment.over_radius)):
        for name, fit in (part.fits if part else {}).items():
            numbers: list[Any] = ["", "", "", "", *fit.constant]
            if fit.curve is not None and fit.errors is not None:
                (a, b, c), (da, db, dc) = (fit.curve.a, fit.curve.b, fit.curve.c), fit.errors
                numbers = [a, da, b, db, c, dc]
            yield [equation, name, *numbers, "; ".join(fit.words)]

"""Sends stored results of live processors as files: ``live/export/NAME.csv``, ``.png``, ``.zarr.zip``."""

from __future__ import annotations

import asyncio
import csv
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from mrcz_dask.formats.metadata import ZARR_FILE, group_attributes, open_group, reading
from mrcz_dask.live.page.plots import LINES, binned, limits, with_unit
from mrcz_dask.live.processors.checking import REMEDY, ROWS, check_rows
from mrcz_dask.live.processors.results import Series
from mrcz_dask.live.session import LiveSession
from mrcz_dask.live.view import PanelState, Result
from mrcz_dask.values.errors import MrczDaskError

AXIS = "_axis"
WIDTH, HEIGHT, DPI = 7.0, 2.8, 120
POINTS = 20_000  # of a series that are drawn
IMAGES = 16  # last images that are searched for one with pixels
LINE = "#0072b2"
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredResults:
    """Reads the results of one live processor from its Zarr group, for export.

    Attributes
    ----------
    arrays
        Arrays by name.
    outputs
        Declarations of the outputs, by name.
    title
        Title of the processor.
    rows
        Number of rows that all arrays have; those that are being written may be longer.
    """

    arrays: dict[str, Any]
    outputs: dict[str, dict[str, Any]]
    title: str
    rows: int

    @classmethod
    def open(cls, folder: Path) -> StoredResults:
        """Open the Zarr group with a processor's results for reading; check numbers and profiles.

        Raises
        ------
        DamagedError
            They are not what was written.
        """
        with reading(str(folder), "results of a processor", REMEDY):
            about, arrays = group_attributes(folder, REMEDY), dict(open_group(folder, REMEDY).arrays())
            outputs = {output["name"]: output for output in about.get("outputs", [])}
            rows = about.get("rows", min((array.shape[0] for array in arrays.values()), default=0))
            check_rows(folder, about, 2)
            return cls(arrays, outputs, str(about.get("title", folder.name)), rows)

    def names(self, ndim: int) -> list[str]:
        """Return names of outputs of one kind, in the order declared: `ndim` 0 numbers, 1 profiles,
        2 images.
        """
        declared = list(self.outputs)
        names = [
            name
            for name, array in self.arrays.items()
            if array.ndim == ndim + 1
            and name not in ("frame", "time")
            and not (name.endswith(AXIS) and name.removesuffix(AXIS) in self.arrays)
        ]
        return sorted(names, key=lambda name: ((*declared, name).index(name), name))

    def blocks(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield a stored output in blocks of rows (frames), so that a long one need not fit into memory."""
        for first in range(0, self.rows, ROWS):
            yield self.arrays[name][first : min(first + ROWS, self.rows)]

    def last(self, name: str, count: int) -> NDArray[Any]:
        """Return the last `count` rows of a stored output of a processor, one row a frame."""
        return np.asarray(self.arrays[name][max(0, self.rows - count) : self.rows])


def write_zip(folder: Path, path: Path) -> None:
    """Write the Zarr group of a processor's results as a zip file that `zarr.storage.ZipStore` opens.

    Parameters
    ----------
    folder
        Folder of the group. It may grow meanwhile: the shapes are read first, so all of their rows are there.
    path
        The zip file.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    files.sort(key=lambda file: file.name != ZARR_FILE)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, file.relative_to(folder).as_posix())


def write_csv(folder: Path, path: Path) -> None:
    """Write a processor's results as CSV, a row a frame: number, time, scalars, profiles;
    images are left out.

    If all rows of a profile have the same positions, these stand in the heads of its columns, otherwise in
    columns of their own. NaN and missing values are empty.

    Parameters
    ----------
    folder
        Folder of the processor's group.
    path
        The CSV file.
    """
    results = StoredResults.open(folder)
    heads: dict[str, list[str]] = {"frame": ["frame"], "time": ["time"]}
    if results.rows:
        heads |= {name: [name] for name in results.names(0)}
    for name in results.names(1) if results.rows else ():
        positions = _common_positions(results, name)
        if positions is not None:
            heads[name] = [f"{name}[{_cell(position)}]" for position in positions]
            continue
        for column in (name + AXIS, name):
            heads[column] = [f"{column}[{k}]" for k in range(results.arrays[column].shape[1])]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([head for column in heads.values() for head in column])
        if not results.rows:
            return
        for blocks in zip(*(results.blocks(name) for name in heads), strict=True):
            columns = [block.reshape(len(block), -1).tolist() for block in blocks]
            for row in zip(*columns, strict=True):
                writer.writerow([_cell(value) for values in row for value in values])


def _common_positions(results: StoredResults, name: str) -> NDArray[Any] | None:
    """Return the positions of a profile if they are the same in all rows."""
    common: NDArray[Any] | None = None
    for block in results.blocks(name + AXIS):
        rows = block[~np.isnan(block).all(axis=1)]
        if common is None and len(rows):
            common = rows[0]
        if common is not None and not all(np.array_equal(common, row, equal_nan=True) for row in rows):
            return None
    return None if common is None or np.isnan(common).any() else common


def _cell(value: float) -> str:
    if value != value:
        return ""
    return repr(value) if isinstance(value, int) else repr(float(value))


def write_png(folder: Path, path: Path) -> None:
    """Draw a processor's results as a PNG: scalars over all frames, the last profiles, and the last image.

    Parameters
    ----------
    folder
        Folder of the processor's group.
    path
        The PNG file.
    """
    results = StoredResults.open(folder)
    draws = (_draw_scalar, _draw_profile, _draw_image)
    parts = [(draw, name) for ndim, draw in enumerate(draws) for name in results.names(ndim)]
    rows = max(1, len(parts))
    figure = Figure(figsize=(WIDTH, HEIGHT * rows + 0.4), layout="constrained")
    figure.suptitle(_escaped(results.title), fontsize=11)
    for axes, (draw, name) in zip(figure.subplots(rows, squeeze=False)[:, 0], parts, strict=False):
        draw(axes, results, name)
    figure.savefig(path, format="png", dpi=DPI)


def _draw_scalar(axes: Axes, results: StoredResults, name: str) -> None:
    every = slice(0, results.rows, max(1, -(-results.rows // POINTS)))
    frames, values = results.arrays["frame"][every], results.arrays[name][every]
    axes.plot(frames, values, ".-", color=LINE, markersize=2, linewidth=0.7)
    axes.set(xlabel="frame", ylabel=_label(results, name))


def _draw_profile(axes: Axes, results: StoredResults, name: str) -> None:
    positions, values = results.last(name + AXIS, LINES), results.last(name, LINES)
    colors = colormaps["Blues"](np.linspace(0.25, 1, len(values)))
    for x, y, color in zip(positions, values, colors, strict=True):
        axes.plot(x, y, color=color, linewidth=0.9)
    output = results.outputs.get(name, {})
    axis = with_unit(str(output.get("axis", "place")), str(output.get("axis_unit", "")))
    axes.set(xlabel=_escaped(axis), ylabel=_label(results, name))


def _draw_image(axes: Axes, results: StoredResults, name: str) -> None:
    """Draw the last image that has pixels, without the rows and columns that pad it."""
    images = [image for image in results.last(name, IMAGES) if np.isfinite(image).any()]
    if not images:
        return
    is_pixel = np.isfinite(images[-1])
    rows, columns = np.flatnonzero(is_pixel.any(axis=1)), np.flatnonzero(is_pixel.any(axis=0))
    small, block = binned(images[-1][: rows[-1] + 1, : columns[-1] + 1])
    low, high = limits(small, clipped=True)
    extent = (0, block * small.shape[1], block * small.shape[0], 0)
    shown = axes.imshow(small, vmin=low, vmax=high, extent=extent, interpolation="nearest")
    y, x = results.outputs.get(name, {}).get("axes", ("y", "x"))
    axes.set(xlabel=_escaped(str(x)), ylabel=_escaped(str(y)))
    figure: Any = axes.figure
    figure.colorbar(shown, ax=axes, label=_label(results, name))


def _label(results: StoredResults, name: str) -> str:
    return _escaped(with_unit(name, str(results.outputs.get(name, {}).get("unit", ""))))


def _escaped(text: str) -> str:
    """Return a text in which Matplotlib sees no formula."""
    return text.replace("$", r"\$")


WRITERS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "csv": ("text/csv; charset=utf-8", write_csv),
    "png": ("image/png", write_png),
    "zarr.zip": ("application/zip", write_zip),
}


def write_results(folder: Path, kind: str, path: Path) -> None:
    """Write the results in a processor's Zarr group as a file of one of the kinds in `WRITERS`.

    Raises
    ------
    DamagedError
        They cannot be read.
    """
    with reading(str(folder), "results of a processor", REMEDY):
        WRITERS[kind][1](folder, path)


class ExportHandler(RequestHandler):
    """Sends the results of one live processor as CSV, PNG or zipped Zarr."""

    def initialize(self, view: LiveSession, store: Path | None, threads: Executor) -> None:
        """Keep the session, the folder of its results, and the threads that write export files."""
        self._view, self._store, self._threads = view, store, threads

    async def get(self, name: str, kind: str) -> None:
        """Write and send the results of a processor; 404 if no processor has that name."""
        panel = next((panel for panel in self._view.panels() if panel.name == name), None)
        if panel is None:
            raise HTTPError(404)
        with tempfile.TemporaryDirectory(prefix="mrcz-dask-") as folder:
            path = Path(folder) / "results"
            try:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._threads, self._write, panel, kind, path)
            except MrczDaskError as error:
                self.set_status(500)
                self.set_header("Content-Type", "text/plain; charset=utf-8")
                self.write(f"{error}\n")
                return
            self.set_header("Content-Type", WRITERS[kind][0])
            file_name = quote(f"{name}.{kind}", safe="")
            self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{file_name}")
            with path.open("rb") as file:
                while piece := file.read(PIECE):
                    self.write(piece)
                    try:
                        await self.flush()
                    except StreamClosedError:  # the browser has gone
                        return

    def _write(self, panel: PanelState, kind: str, path: Path) -> None:
        """Write the file from the processor's group in the store, or from one made of what is in memory."""
        if self._store is not None and (self._store / panel.name / ZARR_FILE).exists():
            write_results(self._store / panel.name, kind, path)
            return
        with tempfile.TemporaryDirectory(prefix="mrcz-dask-") as folder:
            series = Series(Path(folder) / "results", panel.file)
            if panel.spec is not None:
                series.declare(panel.spec)
                axes = {output.name: output.ndim for output in panel.spec.outputs}
                for result in self._view.results(panel.name, 0)[1]:
                    # before an edit of the file outputs may have been of another kind
                    values = {
                        name: value
                        for name, value in result.values.items()
                        if axes.get(name) == (1 if isinstance(value, tuple) else np.ndim(value))
                    }
                    if values:
                        series.append(Result(result.number, result.time, values))
            series.close()
            write_results(series.path, kind, path)

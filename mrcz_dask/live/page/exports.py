"""Sends the results of live processors as files: ``/live/export/NAME.csv``, ``.png``, ``.zarr.zip``."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from mrcz_dask.formats.metadata import reading
from mrcz_dask.live.page.export_files import write_csv, write_png, write_zip
from mrcz_dask.live.processors.checking import REMEDY
from mrcz_dask.live.processors.results import Series
from mrcz_dask.live.session import Session
from mrcz_dask.live.view import PanelState, Result
from mrcz_dask.values.errors import MrczDaskError

PIECE = 1 << 20
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

    def initialize(self, view: Session, store: Path | None, threads: Executor) -> None:
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
        with self._group(panel) as group:
            write_results(group, kind, path)

    @contextmanager
    def _group(self, panel: PanelState) -> Iterator[Path]:
        """Give the folder of a processor's group: that of the store, or one made from memory."""
        if self._store is not None and (self._store / panel.name / "zarr.json").exists():
            yield self._store / panel.name
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
            yield series.path

"""Results to take away, ``/live/export/NAME.csv``, ``.png``, ``.zarr.zip``, from the store or from memory."""

from __future__ import annotations

import asyncio
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from mrcz_dask.live.page.export_csv import write_csv
from mrcz_dask.live.page.export_png import write_png
from mrcz_dask.live.processors.declare import Spec
from mrcz_dask.live.processors.results import Series
from mrcz_dask.live.view import LiveView, PanelState, Result

PIECE = 1 << 20
TYPES = {"csv": "text/csv; charset=utf-8", "png": "image/png", "zarr.zip": "application/zip"}


def routes(
    view: LiveView, store: Path | None, threads: Executor
) -> tuple[tuple[str, type[RequestHandler], dict[str, Any]], ...]:
    """Return what a server answers beside the page.

    Parameters
    ----------
    view
        The session.
    store
        Folder of the results' Zarr store; None = what the session keeps in memory is exported.
    threads
        Where files are made.
    """
    wanted = {"view": view, "store": store, "threads": threads}
    return ((r"/live/export/(.+)\.(csv|png|zarr\.zip)", ExportHandler, wanted),)


def write_zip(group: Path, path: Path) -> None:
    """Write a Zarr group as a zip file that `zarr.storage.ZipStore` opens.

    Parameters
    ----------
    group
        Its folder; it may grow meanwhile: the shapes are read first, so all of their rows are there.
    path
        Of the file.
    """
    files = sorted(one for one in group.rglob("*") if one.is_file())
    files.sort(key=lambda one: one.name != "zarr.json")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as made:
        for one in files:
            made.write(one, one.relative_to(group).as_posix())


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "csv": write_csv,
    "png": write_png,
    "zarr.zip": write_zip,
}


def export(view: LiveView, store: Path | None, panel: PanelState, kind: str, folder: Path) -> Path:
    """Write the results of a processor as a file, and return its path.

    Parameters
    ----------
    view
        The session.
    store
        Folder of the results' Zarr store, or None.
    panel
        Which processor.
    kind
        ``csv``, ``png`` or ``zarr.zip``.
    folder
        Where to.
    """
    path = folder / f"results.{kind}"
    with _group(view, store, panel) as group:
        WRITERS[kind](group, path)
    return path


@contextmanager
def _group(view: LiveView, store: Path | None, panel: PanelState) -> Iterator[Path]:
    """Give the folder of a processor's group: that of the store, or one made of what is in memory."""
    if store is not None and (store / panel.name / "zarr.json").exists():
        yield store / panel.name
        return
    with tempfile.TemporaryDirectory(prefix="mrcz-dask-") as folder:
        series = Series(Path(folder) / "results", panel.file)
        if panel.spec is not None:
            series.declare(panel.spec)
            for one in _fitting(panel.spec, view.results(panel.name, 0)[1]):
                series.append(one)
        series.close()
        yield series.path


def _fitting(spec: Spec, results: Sequence[Result]) -> Iterator[Result]:
    """Yield results as far as they are what a processor declares now."""
    kinds = {one.name: one.ndim for one in spec.outputs}
    for one in results:
        values = {name: value for name, value in one.values.items() if kinds.get(name) == _ndim(value)}
        if values:
            yield Result(one.number, one.time, values)


def _ndim(value: Any) -> int:
    return 1 if isinstance(value, tuple) else getattr(value, "ndim", 0)


class ExportHandler(RequestHandler):
    """Answers with a file."""

    def initialize(self, view: LiveView, store: Path | None, threads: Executor) -> None:
        """Take the session and its store."""
        self._view, self._store, self._threads = view, store, threads

    async def get(self, name: str, kind: str) -> None:
        """Write the file; 404 if no processor has that name."""
        panel = next((one for one in self._view.panels() if one.name == name), None)
        if panel is None:
            raise HTTPError(404)
        with tempfile.TemporaryDirectory(prefix="mrcz-dask-") as folder:
            loop = asyncio.get_running_loop()
            arguments = (self._view, self._store, panel, kind, Path(folder))
            path = await loop.run_in_executor(self._threads, export, *arguments)
            self.set_header("Content-Type", TYPES[kind])
            file = quote(f"{name}.{kind}", safe="")
            self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{file}")
            await self._send(path)

    async def _send(self, path: Path) -> None:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                self.write(piece)
                try:
                    await self.flush()
                except StreamClosedError:  # whoever asked has gone
                    return

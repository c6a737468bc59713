"""The page of a session in Bokeh: one for each browser that looks, kept up to date by its own document."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor, Future
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.events import ConnectionLost
from bokeh.models import ColumnDataSource, CustomJS, DataRange1d, InlineStyleSheet
from bokeh.models.widgets import Div
from numpy.typing import NDArray

from mrcz_dask.correction.tasks import STORE_NAME, output_stem
from mrcz_dask.monitor import figures
from mrcz_dask.monitor.columns import Row, columns
from mrcz_dask.monitor.live import Cursor, Live
from mrcz_dask.monitor.report import Fact, Report, Trouble, clock, facts, headline
from mrcz_dask.monitor.snapshot import Snapshot
from mrcz_dask.monitor.state import STATES, State
from mrcz_dask.monitor.template import TEXT_STYLE, TITLE
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import MrczDaskError

PERIOD_MS = 1000
NO_IMAGES: dict[str, list[Any]] = {name: [] for name in ("image", "x", "y", "dw", "dh", "label")}
# Of what could not be done, so many are listed.
LISTED = 20
# Above so many changed stacks sending all of them takes less.
PATCHED = 500
LOST = (
    "<p class='bad' data-fact='lost'>No connection: the command has ended, or the tunnel is closed. What "
    "follows was so then; mrcz-dask status tells from the output folder.</p>"
)
SAY_LOST = "if (!headline.text.startsWith(text)) headline.text = text + headline.text"

Thumbnails = tuple[str, NDArray[np.uint8]]


class Page:
    """The page in one document; all but reading thumbnails happens in the document's own thread.

    Parameters
    ----------
    live
        What knows how the session stands.
    reader
        Where thumbnails are read: a folder that does not answer must not stop the server.
    """

    def __init__(self, live: Live, reader: Executor) -> None:
        self._live, self._reader = live, reader
        self._cursor = Cursor()
        self._stacks = ColumnDataSource(columns(()), name="stacks")
        self._images = ColumnDataSource(NO_IMAGES, name="images")
        self._headline, self._troubles = _text("headline"), _text("troubles")
        x = DataRange1d(range_padding=0.02)
        plots = (figures.timeline, figures.outliers, figures.noise, figures.thresholds, figures.dose)
        self._plots = [plot(self._stacks, x) for plot in plots]
        self._thumbnails = figures.thumbnails(self._images)
        self._shown: tuple[str, str] | None = None
        self._reading: Future[Thumbnails | None] | None = None

    def attach(self, document: Document) -> None:
        """Put the page into a document, and keep it up to date."""
        for root in (self._headline, *self._plots, self._thumbnails, self._troubles):
            document.add_root(root)
        document.title = TITLE
        lost = CustomJS(args={"headline": self._headline, "text": LOST}, code=SAY_LOST)
        document.js_on_event(ConnectionLost, lost)
        self.update()
        document.add_periodic_callback(self.update, PERIOD_MS)

    def update(self) -> None:
        """Show what is new."""
        self._update_stacks()
        self._unfold()
        self._update_texts(self._live.report())
        self._update_thumbnails()

    def _update_stacks(self) -> None:
        changes = self._live.changes(self._cursor)
        self._cursor = changes.cursor
        if changes.all_anew:
            self._stacks.data = columns(changes.rows.values())
            return
        known = len(self._stacks.data["name"])
        changed = {place: row for place, row in changes.rows.items() if place < known}
        new = [row for place, row in changes.rows.items() if place >= known]
        self._change(changed)
        if new:
            self._stacks.stream(columns(new))

    def _change(self, rows: dict[int, Row]) -> None:
        if len(rows) > PATCHED:
            self._stacks.data = _with(self._stacks.data, rows)
        elif rows:
            names = self._stacks.column_names
            self._stacks.patch({name: [(place, r[name]) for place, r in rows.items()] for name in names})

    def _unfold(self) -> None:
        """Show plots that there is something of."""
        for plot in self._plots:
            if not plot.visible:
                plot.visible = bool(np.isfinite(self._stacks.data[figures.SHOWS[plot.name]]).any())

    def _update_texts(self, report: Report) -> None:
        _set(self._headline, _head(report))
        _set(self._troubles, _table(report.troubles))

    def _update_thumbnails(self) -> None:
        if self._reading is not None and self._reading.done():
            self._show(self._reading.result())
            self._reading = None
        newest = self._live.newest()
        if self._reading is None and newest is not None and newest != self._shown:
            self._shown = newest
            self._reading = self._reader.submit(read_thumbnails, Path(newest[0]), newest[1])

    def _show(self, found: Thumbnails | None) -> None:
        if found is None:
            return
        name, images = found
        self._images.data = _images(images)
        self._thumbnails.visible = True
        self._thumbnails.title.text = f"Mean of {name}"


def read_thumbnails(folder: Path, output: str) -> Thumbnails | None:
    """Return an output's name and its thumbnails, (2, y, x) uint8; None where none can be read.

    Nothing outside the output folder is read.

    Parameters
    ----------
    folder
        The output folder.
    output
        Name of the output.
    """
    stem = output_stem(output)
    if stem in ("", ".", ".."):
        return None
    try:
        found = SessionStore(folder / STORE_NAME).thumbnails(stem)
    except (MrczDaskError, OSError, KeyError):
        return None
    return None if found is None else (output, found[0])


def _text(name: str) -> Div:
    return Div(name=name, sizing_mode="stretch_width", stylesheets=[InlineStyleSheet(css=TEXT_STYLE)])


def _set(div: Div, text: str) -> None:
    if div.text != text:
        div.text = text


def _head(report: Report) -> str:
    numbers = report.numbers
    bad = " class='bad'" if numbers.running in ("stopped", "lost") else ""
    return (
        f"<h1{bad} data-fact='headline'>{escape(headline(numbers))}</h1>"
        f"<div class='where'>{escape(report.session)} &rarr; {escape(report.output)}, "
        f"begun {clock(numbers.began)}</div>"
        f"{_bar(numbers)}<dl class='facts'>{''.join(map(_fact, facts(numbers)))}</dl>"
        f"{_last(report.troubles)}"
    )


def _bar(numbers: Snapshot) -> str:
    counts, total = numbers.stacks, max(1, numbers.stacks["all"])
    order: tuple[State, ...] = ("done", "failed", "provisional", "summed")
    colours = dict(zip(STATES, figures.COLOURS, strict=True))
    spans = (
        f"<span style='width: {100 * counts[name] / total:.2f}%; background: {colours[name]}' "
        f"title='{counts[name]} {name}'></span>"
        for name in order
    )
    return f"<div class='bar'>{''.join(spans)}</div>"


def _fact(fact: Fact) -> str:
    bad = " class='bad'" if fact.key == "failed" and fact.text != "none" else ""
    return f"<div><dt>{escape(fact.label)}</dt><dd{bad} data-fact='{fact.key}'>{escape(fact.text)}</dd></div>"


def _last(troubles: tuple[Trouble, ...]) -> str:
    if not troubles:
        return ""
    one = troubles[0]
    return f"<p class='where'>last failure: <b>{escape(one.name)}</b>: {escape(one.reason)}</p>"


def _table(troubles: tuple[Trouble, ...]) -> str:
    if not troubles:
        return "<h2>Not done</h2><div class='where'>nothing</div>"
    rows = "".join(
        f"<tr><td><b>{escape(t.name)}</b><div class='where'>{escape(_when(t))}</div></td>"
        f"<td>{escape(t.reason)}</td></tr>"
        for t in troubles[:LISTED]
    )
    more = f"<div class='where'>and {len(troubles) - LISTED} more</div>" if len(troubles) > LISTED else ""
    head = "<tr><th>stack</th><th>reason</th></tr>"
    return f"<h2>Not done</h2><table>{head}{rows}</table>{more}"


def _when(trouble: Trouble) -> str:
    return trouble.phase if trouble.time is None else f"{trouble.phase}, {clock(trouble.time)}"


def _with(data: Any, rows: dict[int, Row]) -> dict[str, Any]:
    """Return columns with other rows in some places."""
    places = list(rows)
    fresh = columns(rows.values())
    return {name: _replaced(column, places, fresh[name]) for name, column in data.items()}


def _replaced(column: Any, places: list[int], values: Iterable[Any]) -> Any:
    changed = column.copy()
    for place, value in zip(places, values, strict=True):
        changed[place] = value
    return changed


def _images(images: NDArray[np.uint8]) -> dict[str, Any]:
    """Return both images as rows, the second one to the right of the first."""
    height, width = images.shape[1:]
    return {
        "image": list(images),
        "x": [0.0, 1.04 * width],
        "y": [0.0, 0.0],
        "dw": [float(width)] * 2,
        "dh": [float(height)] * 2,
        "label": ["before", "after"],
    }

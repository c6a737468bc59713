"""The session's web page in Bokeh: headline, plots, thumbnails and failures, updated each second."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.models import ColumnDataSource, DataRange1d
from numpy.typing import NDArray
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from mrcz_dask.correction.tasks import STORE_NAME, output_stem
from mrcz_dask.monitor import figures
from mrcz_dask.monitor.listener import Row, SessionListener, columns
from mrcz_dask.monitor.snapshot import NotDone, Snapshot, clock, facts, headline
from mrcz_dask.monitor.state import STATES
from mrcz_dask.pages.server import Documents, Routes, Site, call, put, say_when_lost, text, url
from mrcz_dask.pages.template import BOKEH, VARIABLES, Markup, element, html_page, joined
from mrcz_dask.session.log import NAME as LOG
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import MrczDaskError

PERIOD_MS = 1000
NAME, TITLE = "session", "mrcz-dask"
REPORT = "report.html"
LINKS = ((REPORT, "report"), (LOG, "log"))
FILES = "/({})".format("|".join(re.escape(name) for name, _ in LINKS))
STYLE = (Path(__file__).parent / "monitor.css").read_text("utf-8")
CONTENT = """
{% from macros import embed %}
<div class="session">
  <div>{{ embed(roots.headline) }}</div>
  <div class="plots">
    <div class="whole">{{ embed(roots.timeline) }}</div>
    {% for name in ("outliers", "noise", "thresholds", "dose", "thumbnails", "not_done") %}
    <div>{{ embed(roots[name]) }}</div>
    {% endfor %}
  </div>
</div>
{{ plot_script }}
"""
# In the words of Dask's own pages, whose frame and navigation it takes.
IN_DASHBOARD = (
    '{% extends "base.html" %}\n'
    f"{{% block extra_resources %}}<style>{VARIABLES}{STYLE}</style>{{% endblock %}}\n"
    f"{{% block content %}}{CONTENT}{{% endblock %}}"
)
# Without it (the extra `metrics`) Dask has no metrics either.
HAS_METRICS = find_spec("prometheus_client") is not None
NO_IMAGES: dict[str, list[Any]] = {name: [] for name in ("image", "x", "y", "dw", "dh", "label")}
# So many stacks are listed that are not done.
LISTED = 20
# If more stacks have changed, sending all takes less.
PATCHED = 500

Thumbnails = tuple[str, NDArray[np.uint8]]


def monitor_site(session: SessionListener) -> Site:
    """Return the session's page for a server, with ``/metrics`` where prometheus-client is installed."""
    routes: Routes = ()
    if HAS_METRICS:
        from mrcz_dask.monitor.metrics import MetricsHandler

        routes = ((r"/metrics", MetricsHandler, {"session": session}),)
    template = html_page(TITLE, CONTENT, STYLE, BOKEH)
    routes = (*routes, (FILES, FileHandler, {"session": session}))
    return Site(NAME, template, lambda reader: MonitorPage(session, reader), routes)


class FileHandler(RequestHandler):
    """Answers requests for the report and the log of the run, which the page links to."""

    def initialize(self, session: SessionListener) -> None:
        """Set the listener that knows the output folder."""
        self._session = session

    async def get(self, name: str) -> None:
        """Answer with a file of the output folder; a folder that does not answer stops no other request."""
        path = Path(self._session.snapshot().output) / name
        try:
            content = await IOLoop.current().run_in_executor(None, path.read_bytes)
        except OSError:
            self.set_status(404)
            content = f"{name} is not there yet; a run writes its report at its end".encode()
        html = name == REPORT and self.get_status() != 404
        self.set_header("Content-Type", f"text/{'html' if html else 'plain'}; charset=utf-8")
        self.finish(content)


class MonitorPage:
    """The session's page in one browser, which updates itself each second.

    Parameters
    ----------
    session
        Knows how the session stands.
    reader
        Where thumbnails are read: a folder that does not answer must not stop the server.
    """

    def __init__(self, session: SessionListener, reader: Executor) -> None:
        self._session, self._reader = session, reader
        self._rows: list[Row] = []
        self._stacks = ColumnDataSource(columns([]), name="stacks")
        self._images = ColumnDataSource(NO_IMAGES, name="images")
        self._headline, self._not_done = (text(name=name, style=STYLE) for name in ("headline", "not_done"))
        x = DataRange1d(range_padding=0.02)
        plots = (figures.timeline, figures.outliers, figures.noise, figures.thresholds, figures.dose)
        self._plots = [plot(self._stacks, x) for plot in plots]
        self._thumbnails = figures.thumbnails(self._images)
        self._shown: tuple[str, str, str] | None = None
        self._reading: Future[Thumbnails | None] | None = None

    def attach(self, document: Document) -> None:
        """Put plots and texts into a browser's Bokeh document, and update them each second."""
        for root in (self._headline, *self._plots, self._thumbnails, self._not_done):
            document.add_root(root)
        document.title = TITLE
        say_when_lost(document, self._headline, "; mrcz-dask status tells from the output folder")
        self.update()
        document.add_periodic_callback(self.update, PERIOD_MS)

    def update(self) -> None:
        """Show stacks, texts and thumbnails that have changed since the last update."""
        self._update_stacks()
        for plot in self._plots:
            if not plot.visible:
                plot.visible = bool(np.isfinite(self._stacks.data[figures.SHOWS[plot.name]]).any())
        snapshot = self._session.snapshot()
        put(self._headline, "text", str(_head(snapshot)))
        put(self._not_done, "text", str(joined(_table(snapshot.not_done))))
        self._update_thumbnails()

    def _update_stacks(self) -> None:
        rows, known = self._session.rows(), self._rows
        changed = [k for k, (row, before) in enumerate(zip(rows, known, strict=False)) if row is not before]
        self._rows = rows
        if len(rows) < len(known) or len(changed) + len(rows) - len(known) > PATCHED:
            self._stacks.data = columns(rows)
            return
        if changed:
            names = known[0]
            self._stacks.patch({name: [(k, rows[k][name]) for k in changed] for name in names})
        if len(rows) > len(known):
            self._stacks.stream(columns(rows[len(known) :], len(known)))

    def _update_thumbnails(self) -> None:
        """Show the thumbnails that were read, and begin to read the next ones."""
        if self._reading is not None and self._reading.done():
            thumbnails, self._reading = self._reading.result(), None
            if thumbnails is not None:
                name, images = thumbnails
                height, width = (float(size) for size in images.shape[1:])
                place = {"x": [0.0, 1.04 * width], "y": [0.0, 0.0], "dw": [width] * 2, "dh": [height] * 2}
                self._images.data = {"image": list(images), **place, "label": ["before", "after"]}
                self._thumbnails.visible = True
                self._thumbnails.title.text = f"{name}: mean of its frames"
        newest = self._session.newest()
        if self._reading is None and newest is not None and newest != self._shown:
            self._shown = newest
            folder, output, name = newest
            self._reading = self._reader.submit(read_thumbnails, Path(folder), output, name)


def read_thumbnails(folder: Path, output: str, name: str) -> Thumbnails | None:
    """Read a stack's small images before and after correction, (2, y, x) uint8; return them with its name.

    They are in the session store; None if there are none.

    Nothing outside the output folder is read.

    Parameters
    ----------
    folder
        The output folder.
    output, name
        Names of the output, and of the stack with its time.
    """
    stem = output_stem(output)
    if stem in ("", ".", ".."):
        return None
    try:
        kept = SessionStore(folder / STORE_NAME).thumbnails(stem)
    except (MrczDaskError, OSError, KeyError):
        return None
    return None if kept is None else (name, kept[0][:2])


def _head(snapshot: Snapshot) -> Markup:
    stacks, total = snapshot.stacks, max(1, snapshot.stacks["all"])
    colors = dict(zip(STATES, figures.COLORS, strict=True))
    bar, shown = [], []
    for name in ("done", "failed", "provisional", "summed"):
        style = f"width: {100 * stacks[name] / total:.2f}%; background: {colors[name]}"
        bar.append(element("span", style=style, title=f"{stacks[name]} {name}"))
    for fact in facts(snapshot):
        bad = "bad" if fact.key == "failed" and fact.text != "none" else None
        text = element("dd", fact.text, class_=bad, data_fact=fact.key)
        shown.append(element("div", element("dt", fact.label), text))
    bad = "bad" if snapshot.running in ("stopped", "lost") else None
    where = f"{snapshot.session} → {snapshot.output}, begun {clock(snapshot.began)}"
    parts = [
        element("h1", headline(snapshot), class_=bad, data_fact="headline"),
        element("div", where, class_="quiet"),
        element("div", *(element("a", label, href=name) for name, label in LINKS), class_="links"),
        element("div", *bar, class_="bar"),
        element("dl", *shown, class_="facts"),
    ]
    for last in snapshot.not_done[:1]:
        name = element("b", last.name)
        parts.append(element("p", "last failure: ", name, f": {last.reason}", class_="quiet"))
    return joined(parts)


def _table(not_done: tuple[NotDone, ...]) -> Iterator[Markup]:
    yield element("h2", "Not done")
    if not not_done:
        yield element("div", "nothing", class_="quiet")
        return
    rows = [element("tr", element("th", "stack"), element("th", "reason"))]
    for stack in not_done[:LISTED]:
        when = stack.phase if stack.time is None else f"{stack.phase}, {clock(stack.time)}"
        name = element("td", element("b", stack.name), element("div", when, class_="quiet"))
        rows.append(element("tr", name, element("td", stack.reason)))
    yield element("table", *rows)
    if len(not_done) > LISTED:
        yield element("div", f"and {len(not_done) - LISTED} more", class_="quiet")


class InDashboard:
    """Serves the session's page and metrics as part of a Dask scheduler's dashboard.

    Parameters
    ----------
    session
        Knows how the session stands.
    scheduler
        In this process.

    Attributes
    ----------
    address
        URL of the page.
    """

    def __init__(self, session: SessionListener, scheduler: Any) -> None:
        self._scheduler, self._metrics = scheduler, ExitStack()
        self._loop = scheduler.loop.asyncio_loop
        server = scheduler.http_server
        call(self._loop, self._open(session, server.address))
        if HAS_METRICS:
            from prometheus_client import REGISTRY  # Dask's dashboard serves what is in it

            from mrcz_dask.monitor.metrics import Metrics

            metrics = Metrics(session)
            REGISTRY.register(metrics)
            self._metrics.callback(REGISTRY.unregister, metrics)
        self.address = url(server.address, server.port, NAME)

    async def _open(self, session: SessionListener, host: str) -> None:
        from distributed.dashboard.components.scheduler import env
        from distributed.dashboard.scheduler import template_variables

        variables = template_variables(self._scheduler)
        # the list is that of all pages of this dashboard
        self._links: list[str] = variables["pages"]
        self._links.insert(0, NAME)
        self._documents = Documents(monitor_site(session), env.from_string(IN_DASHBOARD), variables)
        self._application = self._documents.application(host)
        self._application.add_handlers(r".*", [(FILES, FileHandler, {"session": session})])
        self._scheduler.http_application.add_application(self._application)
        self._application.initialize(IOLoop.current())
        self._application.start()

    def close(self) -> None:
        """Show the last state in open browsers, and remove the page from the dashboard."""
        self._metrics.close()
        with suppress(TimeoutError, RuntimeError):  # a scheduler that is gone shows nothing any more
            call(self._loop, self._close())

    async def _close(self) -> None:
        await self._documents.finish()
        self._scheduler.http_application.applications.remove(self._application)
        self._links.remove(NAME)
        self._application.stop()
